"""Disks that fail when told to: the real one, with faults let in where the Disk protocol lets a world in."""

from pathlib import Path

from orchestra.storage.disk import File, SystemDisk


class FaultyDisk(SystemDisk):
    """Real files. Each fault is raised for as long as it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.write_error: OSError | None = None
        self.sync_error: OSError | None = None
        # How much of a failing write reaches the file all the same.
        self.written_before_error = 0
        # Faults concern files with this in their names.
        self.only = ""
        self.syncs = 0

    def create(self, path: Path) -> File:
        return _FaultyFile(self, path, super().create(path))

    def append(self, path: Path, offset: int) -> File:
        return _FaultyFile(self, path, super().append(path, offset))


class _FaultyFile:
    def __init__(self, disk: FaultyDisk, path: Path, file: File) -> None:
        self._disk = disk
        self._path = path
        self._file = file

    def write(self, data: bytes) -> None:
        if self._disk.write_error is not None and self._disk.only in self._path.name:
            self._file.write(data[: self._disk.written_before_error])
            raise self._disk.write_error
        self._file.write(data)

    def sync(self) -> None:
        if self._disk.sync_error is not None and self._disk.only in self._path.name:
            raise self._disk.sync_error
        self._disk.syncs += 1
        self._file.sync()

    def allocate(self, size: int) -> None:
        if self._disk.write_error is not None and self._disk.only in self._path.name:
            raise self._disk.write_error
        self._file.allocate(size)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()
