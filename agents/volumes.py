"""A pod's directories on the node: volumes, logs, work; and how a container's mounts come out of them.

Under data_dir/pods/<namespace>_<name>_<uid>/: volumes/<volume>, logs/<container>/<run>.log, work/<container>,
root (an empty directory for the spawner to mount on). All of it goes with the pod.

Without namespaces nothing can be mounted: a program finds each volume by VOLUME_<NAME>, which is set in both
runtimes, so one manifest serves both.
"""

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.environment import expand
from agents.ownership import PASSABLE
from agents.runtime.contract import VolumeMount
from orchestra.base.errors import OrchestraError
from orchestra.objects.quantity import parse_quantity
from orchestra.pb import core

_NAME_MAX = 120


class VolumeFailure(OrchestraError):
    """A volume cannot be provided here."""


@dataclass(frozen=True, slots=True)
class PodDirectory:
    """One pod's place in the data directory."""

    path: Path

    @classmethod
    def of(cls, data_dir: Path, pod: core.Pod) -> "PodDirectory":
        """Where a pod's things are, existing or not."""
        found = pod.metadata
        return cls(data_dir / "pods" / f"{found.namespace}_{found.name[:_NAME_MAX]}_{found.uid}")

    @property
    def scratch(self) -> Path:
        """For the spawner to mount on."""
        return self.path / "root"

    def volume(self, name: str) -> Path:
        """Where an emptyDir is."""
        return self.path / "volumes" / name

    def work(self, container: str) -> Path:
        """The working directory of a container that names none."""
        return self.path / "work" / container

    def log(self, container: str, run: int) -> Path:
        """The newest log file of one run."""
        return self.path / "logs" / container / f"{run}.log"

    def make(self, pod: core.Pod, *, work: bool) -> None:
        """Makes all directories. Safe to repeat."""
        self.path.parent.mkdir(mode=PASSABLE, parents=True, exist_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        for volume in pod.spec.volumes:
            if volume.volumeSource.HasField("emptyDir"):
                place = self.volume(volume.name)
                place.mkdir(parents=True, exist_ok=True)
                # As Kubernetes: whoever a container runs as may write.
                place.chmod(0o777)
        for container in (*pod.spec.initContainers, *pod.spec.containers):
            self.log(container.name, 1).parent.mkdir(parents=True, exist_ok=True)
            if work:
                self.work(container.name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Removes everything, as far as it may be. (shutil's rmtree costs an agent half a megabyte.)"""
        with contextlib.suppress(OSError):
            top = _opened(str(self.path))
            try:
                _empty(top)
            finally:
                os.close(top)
            os.rmdir(self.path)


def remove_others(data_dir: Path, uids: set[str]) -> None:
    """Removes what is left of pods that are not among these, from times when nobody could."""
    pods = data_dir / "pods"
    try:
        names = os.listdir(pods)
    except OSError:
        # None has been here yet, or nobody can tell: then nothing can be removed either.
        return
    for name in names:
        if name.rpartition("_")[2] not in uids:
            PodDirectory(pods / name).remove()


def _opened(name: str, at: int | None = None) -> int:
    """A directory, ours to change now: a container may have left it read-only, as Go leaves its modules."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    with contextlib.suppress(OSError):
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    return fd


def _empty(top: int) -> None:
    """Removes what is in a directory, by descriptors: a name that becomes a symlink meanwhile leads nowhere.

    A directory's directories are moved up before it is removed, so however deep a container has made them,
    two are open at a time. Ends when a round changes nothing.
    """
    numbers = itertools.count()
    changed = True
    while changed:
        changed = False
        for name in os.listdir(f"/proc/self/fd/{top}"):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=top)
                changed = True
                continue
            with contextlib.suppress(OSError):
                fd = _opened(name, top)
                try:
                    changed |= _flatten(fd, top, numbers)
                finally:
                    os.close(fd)
                os.rmdir(name, dir_fd=top)
                changed = True


def _flatten(folder: int, top: int, numbers: Iterator[int]) -> bool:
    """Removes a directory's files and moves its directories to the top. Whether anything was done."""
    changed = False
    for name in os.listdir(f"/proc/self/fd/{folder}"):
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
            changed = True
            continue
        with contextlib.suppress(OSError):
            # Who moves a directory has to be allowed to write in it.
            os.close(_opened(name, folder))
            os.rename(name, f".{next(numbers)}", src_dir_fd=folder, dst_dir_fd=top)
            changed = True
    return changed


def memory_volumes(pod: core.Pod, place: PodDirectory) -> tuple[tuple[str, int], ...]:
    """(directory, bytes or 0) of every emptyDir that is to be in memory."""
    found = []
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if source.HasField("emptyDir") and source.emptyDir.medium == "Memory":
            limit = source.emptyDir.sizeLimit.string
            found.append((str(place.volume(volume.name)), parse_quantity(limit).value() if limit else 0))
    return tuple(found)


def volume_root(volume: core.Volume, place: PodDirectory) -> Path:
    """Where a volume's files are on the node. Raises: VolumeFailure."""
    source = volume.volumeSource
    if source.HasField("emptyDir"):
        return place.volume(volume.name)
    if source.HasField("hostPath"):
        return _host_path(volume.name, source.hostPath)
    kinds = [field.name for field, _ in source.ListFields()]
    raise VolumeFailure(f'volume "{volume.name}": this node cannot provide {", ".join(kinds) or "it"}')


def _host_path(name: str, source: core.HostPathVolumeSource) -> Path:
    path = Path(source.path)
    kind = source.type
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(0o644)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise VolumeFailure(f'volume "{name}": hostPath {path}: {error.strerror}') from None
    checks = {
        "Directory": stat.S_ISDIR,
        "DirectoryOrCreate": stat.S_ISDIR,
        "File": stat.S_ISREG,
        "FileOrCreate": stat.S_ISREG,
        "Socket": stat.S_ISSOCK,
        "CharDevice": stat.S_ISCHR,
        "BlockDevice": stat.S_ISBLK,
    }
    if kind in checks and not checks[kind](mode):
        raise VolumeFailure(f'volume "{name}": hostPath {path} is not a {kind}')
    return path


def mounts_of(
    pod: core.Pod, container: core.Container, place: PodDirectory, environment: dict[str, str]
) -> list[VolumeMount]:
    """The mounts of one container, sub-directories of emptyDirs made. Raises: VolumeFailure."""
    volumes = {volume.name: volume for volume in pod.spec.volumes}
    found = []
    for mount in container.volumeMounts:
        volume = volumes.get(mount.name)
        if volume is None:
            raise VolumeFailure(f'volumeMount "{mount.name}" names no volume of the pod')
        root = volume_root(volume, place)
        below = mount.subPath or expand(mount.subPathExpr, environment)
        if below.startswith("/") or ".." in below.split("/"):
            raise VolumeFailure(f'volumeMount "{mount.name}": subPath {below} leads out of the volume')
        source = root / below if below else root
        if below and not os.path.lexists(source):
            _make_below(root, source, mount.name)
        found.append(VolumeMount(str(source), mount.mountPath, mount.readOnly, str(root)))
    return found


def _make_below(root: Path, wanted: Path, name: str) -> None:
    """Makes a directory in a volume, and never one outside: a container may have put symlinks there."""
    real_root, real = os.path.realpath(root), os.path.realpath(wanted)
    if os.path.commonpath((real_root, real)) != real_root:
        raise VolumeFailure(f'volumeMount "{name}": subPath leads out of the volume by a symlink')
    fd = os.open(real_root, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in os.path.relpath(real, real_root).split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=fd)
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
    finally:
        os.close(fd)


def told_paths(container: core.Container, mounts: list[VolumeMount], *, mounted: bool) -> dict[str, str]:
    """Where a container finds each volume: its mountPath, or its directory where nothing is mounted."""
    found: dict[str, str] = {}
    for wanted, mount in zip(container.volumeMounts, mounts, strict=True):
        found.setdefault(wanted.name, mount.target if mounted else mount.source)
    return found
