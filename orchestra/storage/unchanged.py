"""Looking at a data directory without touching it."""

import fcntl
import os
from pathlib import Path

from orchestra.storage.disk import File, Lock, SystemDisk


class UnchangedDisk(SystemDisk):
    """The machine's file systems as they were; whatever is changed through this is so for its user only.

    What would be repaired on disk is repaired in memory, so a directory is opened in the same way as by its
    owner, and may be on a file system that is mounted read-only. Bound: the files changed, in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        # None: removed.
        self._files: dict[Path, bytearray | None] = {}
        self._directories: set[Path] = set()

    def make_directory(self, path: Path) -> None:
        if not path.is_dir():
            self._directories.add(path)

    def names(self, path: Path) -> list[str]:
        names = set() if path in self._directories else set(super().names(path))
        for file, content in self._files.items():
            if file.parent == path:
                (names.discard if content is None else names.add)(file.name)
        return sorted(names)

    def create(self, path: Path) -> File:
        content = self._files[path] = bytearray()
        return _FileInMemory(self, content, 0)

    def append(self, path: Path, offset: int) -> File:
        content = self._files.get(path)
        if content is None:
            content = self._files[path] = bytearray(self.read(path))
        return _FileInMemory(self, content, offset)

    def size(self, path: Path) -> int:
        if path in self._files:
            return len(self._content(path))
        return super().size(path)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        if path in self._files:
            return bytes(self._content(path)[offset : None if length < 0 else offset + length])
        return super().read(path, offset, length)

    def rename(self, old: Path, new: Path) -> None:
        content = bytearray(self.read(old))
        self._files[old], self._files[new] = None, content

    def remove(self, path: Path) -> None:
        self.size(path)
        self._files[path] = None

    def sync_directory(self, path: Path) -> None:
        """Nothing of it is to be safe."""

    def lock(self, path: Path) -> Lock | None:
        """Locks a file against its owner, who locks it alone. One that is not there locks nothing."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _NoLock()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return _SharedLock(descriptor)

    def _content(self, path: Path) -> bytearray:
        content = self._files[path]
        if content is None:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return content


class _FileInMemory:
    def __init__(self, disk: UnchangedDisk, content: bytearray, offset: int) -> None:
        self._disk = disk
        self._content = content
        self._offset = offset

    def write(self, data: bytes) -> None:
        self._disk.bytes_written += len(data)
        self.allocate(self._offset)
        self._content[self._offset : self._offset + len(data)] = data
        self._offset += len(data)

    def allocate(self, size: int) -> None:
        self._content.extend(bytes(max(size - len(self._content), 0)))

    def sync(self) -> None:
        """Nothing of it is to be safe."""

    def truncate(self, size: int) -> None:
        del self._content[size:]
        self.allocate(size)
        self._offset = size

    def close(self) -> None:
        """What was written stays."""


class _NoLock:
    def release(self) -> None:
        """There was none."""


class _SharedLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)
