"""The disk, as the few operations that durability is made of.

All of them block; callers run them on a thread of their own. Errors are OSError, as the system gives them.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class File(Protocol):
    """An open file that is written from front to back."""

    def write(self, data: bytes) -> None:
        """Writes all of it after what was written before. After an error any part of it may be there."""
        ...

    def allocate(self, size: int) -> None:
        """Makes the file as long as that, with zeros where nothing is; writing goes on where it was."""
        ...

    def sync(self) -> None:
        """Returns when what was written is safe."""
        ...

    def truncate(self, size: int) -> None:
        """Cuts the file; what is written next follows there."""
        ...

    def close(self) -> None:
        """Closes it, safe or not."""
        ...


class Lock(Protocol):
    """A held lock; it ends with the process at the latest."""

    def release(self) -> None:
        """Lets others have it."""
        ...


class Disk(Protocol):
    """Files by path."""

    @property
    def bytes_written(self) -> int:
        """How many bytes have been written through this since its making."""
        ...

    def make_directory(self, path: Path) -> None:
        """Makes a directory and its parents, safe on return."""
        ...

    def names(self, path: Path) -> list[str]:
        """The names in a directory, ascending."""
        ...

    def create(self, path: Path) -> File:
        """A new, empty file, in place of one of that name. Its name is not safe before `sync_directory`."""
        ...

    def append(self, path: Path, offset: int) -> File:
        """An existing file, to be written from an offset on."""
        ...

    def size(self, path: Path) -> int:
        """Bytes in a file."""
        ...

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Bytes of a file from `offset` on, at most `length` (-1: to its end)."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Gives a file another name, in place of what had it."""
        ...

    def remove(self, path: Path) -> None:
        """Removes a file."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Returns when the names in a directory are safe."""
        ...

    def lock(self, path: Path) -> Lock | None:
        """Locks a file, which is made if need be and says who has it; None when another process has."""
        ...


class SystemDisk:
    """The machine's file systems."""

    def __init__(self) -> None:
        self.bytes_written = 0

    def make_directory(self, path: Path) -> None:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            self.sync_directory(path.parent)

    def names(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def create(self, path: Path) -> File:
        return _SystemFile(self, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))

    def append(self, path: Path, offset: int) -> File:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.lseek(descriptor, offset, os.SEEK_SET)
        return _SystemFile(self, descriptor)

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> Lock | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        return _SystemLock(descriptor)


class _SystemFile:
    def __init__(self, disk: SystemDisk, descriptor: int) -> None:
        self._disk = disk
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        self._disk.bytes_written += written
        while written < len(data):
            more = os.write(self._descriptor, memoryview(data)[written:])
            self._disk.bytes_written += more
            written += more

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._descriptor, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)

    def close(self) -> None:
        os.close(self._descriptor)


class _SystemLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def write_whole(disk: Disk, path: Path, data: bytes) -> None:
    """Puts a file in place so that after a crash it is there wholly, or not, or as it was before."""
    unfinished = path.with_name(path.name + ".tmp")
    file = disk.create(unfinished)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    disk.rename(unfinished, path)
    disk.sync_directory(path.parent)
