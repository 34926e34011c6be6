"""A container's view of the file system: volumes where the manifest wants them, nothing left on the host.

Everything here runs in the container's own mount namespace, after fork and before exec. A mountPath that is
there on the node is simply covered by the volume. One that is not there needs a mount point, and the host's
directories are not ours to write into: the nearest directory that exists is covered by a small tmpfs which
shows each of its entries (bind mounts, symlinks copied) and has room for mount points. For `/` the tmpfs
becomes the new root. What a container creates directly in such a covered directory lives as long as it does.
"""

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from agents.runtime.spawner import syscalls as sys

# A directory with more entries is refused rather than mirrored mount by mount.
_ENTRIES_MAX = 2048


class Mount(NamedTuple):
    """source: an existing file or directory. inside: the volume's root, which source must not leave."""

    source: str
    target: str
    read_only: bool
    inside: str


def build(mounts: Sequence[Mount], scratch: str, *, own_pids: bool) -> None:
    """Mounts all volumes. `scratch` is an empty directory of the pod for a new root, if one is needed."""
    if own_pids:
        sys.mount("proc", "/proc", "proc", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC)
    writable: list[str] = []
    if any(_anchor(os.path.normpath(mount.target)) == "/" for mount in mounts):
        # First of all: what was opened under the old root cannot be bound under the new one.
        _new_root(scratch)
        writable.append("/")
    # Opened now, because a covered ancestor hides them later.
    sources = [(_open_source(mount), mount) for mount in mounts]
    for fd, mount in sorted(sources, key=lambda pair: pair[1].target.count("/")):
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        target = os.path.normpath(mount.target)
        if not os.path.exists(target):
            _make_mount_point(target, is_directory, writable)
        elif os.path.isdir(target) != is_directory:
            raise NotADirectoryError(20, f"volume and mountPath {target} are not both directories")
        sys.mount(f"/proc/self/fd/{fd}", target, "", sys.MS_BIND | sys.MS_REC)
        if mount.read_only:
            sys.mount("", target, "", sys.MS_BIND | sys.MS_REMOUNT | sys.MS_RDONLY)
        else:
            writable.append(target)
        os.close(fd)


def _open_source(mount: Mount) -> int:
    real = os.path.realpath(mount.source)
    inside = os.path.realpath(mount.inside)
    if real != inside and not real.startswith(inside.rstrip("/") + "/"):
        raise PermissionError(1, f"subPath of the volume at {mount.target} leads out of the volume")
    fd = os.open(real, os.O_PATH | os.O_CLOEXEC)
    # A container that writes in the volume may have put a symlink in the way meanwhile.
    if os.readlink(f"/proc/self/fd/{fd}") != real:
        raise PermissionError(1, f"subPath of the volume at {mount.target} has changed while it was opened")
    return fd


def _anchor(target: str) -> str:
    """The nearest directory above a missing target that exists, "" if the target does."""
    if os.path.exists(target):
        return ""
    anchor = os.path.dirname(target)
    while not os.path.isdir(anchor):
        if os.path.lexists(anchor):
            raise NotADirectoryError(20, f"mountPath {target}: {anchor} is not a directory")
        anchor = os.path.dirname(anchor)
    return os.path.realpath(anchor)


def _make_mount_point(target: str, is_directory: bool, writable: list[str]) -> None:
    anchor = _anchor(target)
    # In the root only what stands directly in the tmpfs is ours to write.
    covered = any(anchor == place or (place != "/" and anchor.startswith(place + "/")) for place in writable)
    if not covered:
        _cover(anchor, anchor)
        writable.append(anchor)
    os.makedirs(target if is_directory else os.path.dirname(target), exist_ok=True)
    if not is_directory:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _cover(directory: str, at: str) -> None:
    names = os.listdir(directory)
    if len(names) > _ENTRIES_MAX:
        raise OSError(
            7, f"{directory} has {len(names)} entries, too many to add a mount point: make it on the node"
        )
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.mount("orchestra", at, "tmpfs", sys.MS_NOSUID | sys.MS_NODEV, f"mode={mode:o},size=16m")
    for name in names:
        source, target = f"/proc/self/fd/{fd}/{name}", f"{at.rstrip('/')}/{name}"
        try:
            found = os.lstat(source)
        except OSError:
            continue
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(source), target)
            continue
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        sys.mount(source, target, "", sys.MS_BIND | sys.MS_REC)
    os.close(fd)


def _new_root(scratch: str) -> None:
    _cover("/", scratch)
    os.chdir(scratch)
    try:
        sys.pivot_root(".", ".")
    except OSError:
        # The machine runs from its initial ramdisk, which cannot be pivoted away from.
        os.chroot(".")
    else:
        sys.unmount(".")
    os.chdir("/")
