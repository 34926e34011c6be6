"""A disk in memory that forgets what was not synced, and stops at any operation.

After a crash each file has what was synced, and of the later writes any of the sectors; each directory has
the names that were synced, and of the later changes any beginning of them.
"""

import random
from pathlib import Path

from orchestra.storage.disk import File, Lock
from orchestra.storage.records import SECTOR_BYTES


class Crash(Exception):
    """The machine has lost its power."""


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.safe = b""


class CrashingDisk:
    """`operations_left` operations from now the power goes; None: never."""

    def __init__(self, rng: random.Random) -> None:
        self.operations_left: int | None = None
        self.bytes_written = 0
        self._rng = rng
        self._names: dict[Path, _Inode] = {}
        # Changes of names since the directory was synced: path, what it names now (None: nothing).
        self._unsafe: list[tuple[Path, _Inode | None]] = []
        self._safe_names: dict[Path, _Inode] = {}

    def step(self) -> None:
        """One operation that changes something. Raises: Crash when it is the last."""
        if self.operations_left is not None:
            self.operations_left -= 1
            if self.operations_left < 0:
                raise Crash

    def crash(self) -> None:
        """Comes back as a disk does after a loss of power."""
        self.operations_left = None
        names = dict(self._safe_names)
        for path, inode in self._unsafe[: self._rng.randint(0, len(self._unsafe))]:
            _set(names, path, inode)
        self._names, self._safe_names, self._unsafe = names, dict(names), []
        for inode in names.values():
            inode.content = bytearray(self._surviving(inode))
            inode.safe = bytes(inode.content)

    def _surviving(self, inode: _Inode) -> bytes:
        size = self._rng.choice((len(inode.safe), len(inode.content)))
        safe = inode.safe[:size].ljust(size, b"\0")
        new = bytes(inode.content[:size]).ljust(size, b"\0")
        sectors = range(0, size, SECTOR_BYTES)
        kept = (self._rng.choice((safe, new))[at : at + SECTOR_BYTES] for at in sectors)
        return b"".join(kept)

    def _name(self, path: Path, inode: _Inode | None) -> None:
        _set(self._names, path, inode)
        self._unsafe.append((path, inode))

    # The protocol.

    def make_directory(self, path: Path) -> None:
        pass

    def names(self, path: Path) -> list[str]:
        below = {each.relative_to(path).parts[0] for each in self._names if each.is_relative_to(path)}
        return sorted(below)

    def create(self, path: Path) -> File:
        self.step()
        inode = _Inode()
        self._name(path, inode)
        return _CrashingFile(self, inode, 0)

    def append(self, path: Path, offset: int) -> File:
        return _CrashingFile(self, self._names[path], offset)

    def size(self, path: Path) -> int:
        return len(self._names[path].content)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        content = self._names[path].content
        return bytes(content[offset:] if length < 0 else content[offset : offset + length])

    def rename(self, old: Path, new: Path) -> None:
        self.step()
        inode = self._names[old]
        self._name(new, inode)
        self._name(old, None)

    def remove(self, path: Path) -> None:
        self.step()
        self._name(path, None)

    def sync_directory(self, path: Path) -> None:
        self.step()
        for name, inode in self._unsafe:
            if name.parent == path:
                _set(self._safe_names, name, inode)
        self._unsafe = [each for each in self._unsafe if each[0].parent != path]

    def lock(self, path: Path) -> Lock | None:
        return _Unlocked()


class _Unlocked:
    def release(self) -> None:
        pass


class _CrashingFile:
    def __init__(self, disk: CrashingDisk, inode: _Inode, offset: int) -> None:
        self._disk = disk
        self._inode = inode
        self._offset = offset

    def write(self, data: bytes) -> None:
        end = self._offset + len(data)
        self._inode.content[self._offset : end] = data
        # The power may go with the write half done: what is in `content` is not safe.
        self._disk.step()
        self._offset = end

    def allocate(self, size: int) -> None:
        self._disk.step()
        self._inode.content.extend(bytes(max(size - len(self._inode.content), 0)))

    def sync(self) -> None:
        self._disk.step()
        self._inode.safe = bytes(self._inode.content)

    def truncate(self, size: int) -> None:
        self._disk.step()
        del self._inode.content[size:]
        self._offset = size

    def close(self) -> None:
        pass


def _set(names: dict[Path, _Inode], path: Path, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode
