"""The disk of one machine, in memory: it forgets what was not synced, tears, fills up, fails and rots.

After a crash each file has what was synced, and of later writes any of the sectors; each directory has the
names that were synced, and of later changes any beginning.
"""

import errno
import random
from pathlib import Path

from orchestra.storage.disk import File, Lock

SECTOR_BYTES = 512


class PowerLoss(BaseException):
    """The machine has lost its power in the middle of an operation. Nothing of the process catches it."""


class _Inode:
    """A file. `old` holds what synced sectors were before they were written over; `safe_size` its length."""

    __slots__ = ("content", "old", "safe_size")

    def __init__(self) -> None:
        self.content = bytearray()
        self.safe_size = 0
        self.old: dict[int, bytes] = {}

    def touch(self, start: int, end: int) -> None:
        for sector in range(start // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            if sector not in self.old:
                at = sector * SECTOR_BYTES
                self.old[sector] = bytes(self.content[at : at + SECTOR_BYTES])

    def synced(self) -> None:
        self.old.clear()
        self.safe_size = len(self.content)


class Disk:
    """Survives its processes.

    Faults: `full`; `sync_fails`; `fuse`: so many changes from now the power goes; `crash`.
    """

    def __init__(self, rng: random.Random) -> None:
        self.full = False
        # Bytes that are left for snapshots; None: as many as they need.
        self.room_for_snapshots: int | None = None
        self.sync_fails = False
        self.fuse: int | None = None
        self.bytes_written = 0
        self._rng = rng
        self._names: dict[Path, _Inode] = {}
        self._safe_names: dict[Path, _Inode] = {}
        self._unsafe: list[list[tuple[Path, _Inode | None]]] = []

    # Faults.

    def crash(self, *, power: bool) -> None:
        """Its processes are dead. power: what was not synced may be lost; else the system still has it."""
        self.fuse = None
        if not power:
            for inode in self._names.values():
                inode.synced()
            self._safe_names, self._unsafe = dict(self._names), []
            return
        names = dict(self._safe_names)
        for change in self._unsafe[: self._rng.randint(0, len(self._unsafe))]:
            for path, inode in change:
                _set(names, path, inode)
        self._names, self._safe_names, self._unsafe = names, dict(names), []
        for inode in names.values():
            self._tear(inode)

    def _tear(self, inode: _Inode) -> None:
        size = self._rng.choice((inode.safe_size, len(inode.content)))
        for sector in sorted(inode.old):
            if self._rng.random() < 0.5:
                at = sector * SECTOR_BYTES
                was = inode.old[sector].ljust(SECTOR_BYTES, b"\0")
                inode.content[at : at + SECTOR_BYTES] = was[: max(len(inode.content) - at, 0)]
        del inode.content[size:]
        inode.content.extend(bytes(size - len(inode.content)))
        inode.synced()

    # What files are made of.

    def step(self) -> None:
        """A change has been made, and is not safe. Raises: PowerLoss, once."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                raise PowerLoss

    def room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def can_sync(self) -> None:
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")

    def _change(self, *changes: tuple[Path, _Inode | None]) -> None:
        for path, inode in changes:
            _set(self._names, path, inode)
        self._unsafe.append(list(changes))
        self.step()

    # The protocol.

    def make_directory(self, path: Path) -> None: ...

    def names(self, path: Path) -> list[str]:
        return sorted({each.relative_to(path).parts[0] for each in self._names if each.is_relative_to(path)})

    def create(self, path: Path) -> File:
        self.room()
        inode = _Inode()
        self._change((path, inode))
        return _File(self, inode, 0, is_snapshot=".snapshot" in path.name)

    def append(self, path: Path, offset: int) -> File:
        return _File(self, self._inode(path), offset)

    def size(self, path: Path) -> int:
        return len(self._inode(path).content)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        content = self._inode(path).content
        return bytes(content[offset:] if length < 0 else content[offset : offset + length])

    def rename(self, old: Path, new: Path) -> None:
        self._change((new, self._inode(old)), (old, None))

    def remove(self, path: Path) -> None:
        self._inode(path)
        self._change((path, None))

    def sync_directory(self, path: Path) -> None:
        self.can_sync()
        self.step()
        kept = []
        for change in self._unsafe:
            if change[0][0].parent == path:
                for name, inode in change:
                    _set(self._safe_names, name, inode)
            else:
                kept.append(change)
        self._unsafe = kept

    def lock(self, path: Path) -> Lock | None:
        # A dead process holds no lock, and a data directory has one process at a time.
        return _Lock()

    def _inode(self, path: Path) -> _Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
        return self._names[path]


class _Lock:
    def release(self) -> None: ...


class _File:
    def __init__(self, disk: Disk, inode: _Inode, offset: int, *, is_snapshot: bool = False) -> None:
        self._is_snapshot = is_snapshot
        self._disk = disk
        self._inode = inode
        self._offset = offset

    def write(self, data: bytes) -> None:
        inode, end = self._inode, self._offset + len(data)
        if end > len(inode.content) or self._disk.full:
            self._disk.room()
        if self._is_snapshot and self._disk.room_for_snapshots is not None:
            self._disk.room_for_snapshots -= len(data)
            if self._disk.room_for_snapshots < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        inode.touch(self._offset, end)
        if self._offset > len(inode.content):
            inode.content.extend(bytes(self._offset - len(inode.content)))
        inode.content[self._offset : end] = data
        self._disk.bytes_written += len(data)
        self._offset = end
        self._disk.step()

    def allocate(self, size: int) -> None:
        if size > len(self._inode.content):
            self._disk.room()
            self._inode.content.extend(bytes(size - len(self._inode.content)))

    def sync(self) -> None:
        self._disk.can_sync()
        self._disk.step()
        self._inode.synced()

    def truncate(self, size: int) -> None:
        self._inode.touch(size, len(self._inode.content))
        del self._inode.content[size:]
        self._offset = size
        self._disk.step()

    def close(self) -> None: ...


def _set(names: dict[Path, _Inode], path: Path, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode
