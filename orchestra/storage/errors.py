"""What can be wrong with a data directory or its disk. Each says which file, and what to do about it."""

from pathlib import Path

from orchestra.base.errors import OrchestraError


class StorageError(OrchestraError):
    """The data directory cannot be used, or no longer."""


class DirectoryInUse(StorageError):
    """Another process holds the data directory."""


class WrongIdentity(StorageError):
    """A file belongs to another member, cluster or version."""


class Damaged(StorageError):
    """Bytes that had been safe on disk are not what was written."""

    def __init__(self, path: Path, offset: int, found: str, remedy: str) -> None:
        super().__init__(f"{path}: damaged at offset {offset}: {found}. {remedy}")
        self.path = path
        self.offset = offset


class DiskFailed(StorageError):
    """A write or a sync failed. What is on disk is not known any more; only a restart can find out."""


class DiskFull(StorageError):
    """There is no space for the write. Nothing of it was kept; it may be tried again."""
