"""Snapshots: what the log's beginning came to, so that the log can be cut.

One file each, named by the index of the last entry it holds, made under another name and renamed when it is
safe. A file that is not whole is passed over for the one before; two are kept for that.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from orchestra.base.log import get_logger
from orchestra.storage.disk import NO_SPACE, Disk
from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, StorageError
from orchestra.storage.identity import Identity
from orchestra.storage.records import (
    HEAD_BYTES,
    HEADER_BYTES,
    RecordReader,
    decode_header,
    encode_header,
    encode_records,
    rest_bytes,
)

MAGIC = b"ORCHSNP\n"
KEEP = 2
CHUNK = 1
END = 2
_SYNC_BYTES = 4 * 1024 * 1024
_REMEDY = "Remove the file to start from the snapshot before it, if the log still reaches back that far."

T = TypeVar("T")

log = get_logger("storage.snapshots")


class SnapshotWriter:
    """A snapshot being written. `commit` or `abort` ends it."""

    def __init__(self, disk: Disk, directory: Path, identity: Identity, index: int) -> None:
        self._disk = disk
        self._path = directory / f"{index:016x}.snapshot"
        self._unfinished = self._path.with_name(self._path.name + ".tmp")
        self._written = 0
        self._unsynced = 0
        self._chunks = 0
        try:
            self._file = disk.create(self._unfinished)
        except OSError as error:
            raise _failure(self._path, error) from error
        try:
            self._write(encode_header(identity.header(MAGIC, index)))
        except StorageError:
            self.abort()
            raise

    def write(self, chunk: bytes) -> None:
        """Adds a chunk. Raises: DiskFull, DiskFailed."""
        self._chunks += 1
        self._write(encode_records(CHUNK, self._chunks, (chunk,)))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._written += len(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_BYTES:
                # Little by little: one large sync at the end would hold up the log's.
                self._file.sync()
                self._unsynced = 0
        except OSError as error:
            raise _failure(self._path, error) from error

    def commit(self) -> int:
        """Puts the snapshot in place, safe on return; its size in bytes. Raises: DiskFull, DiskFailed."""
        self._write(encode_records(END, self._chunks + 1, (b"",)))
        try:
            self._file.sync()
            self._file.close()
            self._disk.rename(self._unfinished, self._path)
            self._disk.sync_directory(self._path.parent)
        except OSError as error:
            raise _failure(self._path, error) from error
        return self._written

    def abort(self) -> None:
        """Leaves no trace of it."""
        try:
            self._file.close()
            self._disk.remove(self._unfinished)
        except OSError as error:
            log.warning("left an unfinished snapshot behind", file=self._unfinished, error=error)


class Snapshots:
    """The snapshots of a data directory."""

    def __init__(self, disk: Disk, directory: Path, identity: Identity) -> None:
        self._disk = disk
        self._directory = directory
        self._identity = identity

    def open(self) -> None:
        """Makes the directory, and removes what an interrupted writer left in it."""
        self._disk.make_directory(self._directory)
        for name in self._disk.names(self._directory):
            if name.endswith(".tmp"):
                self._disk.remove(self._directory / name)

    def indices(self) -> list[int]:
        """The indices there are snapshots at, ascending."""
        names = self._disk.names(self._directory)
        return [int(name.removesuffix(".snapshot"), 16) for name in names if name.endswith(".snapshot")]

    def size(self, index: int) -> int:
        """Bytes of the snapshot at an index."""
        return self._disk.size(self._path(index))

    def _path(self, index: int) -> Path:
        return self._directory / f"{index:016x}.snapshot"

    def load(self, restore: Callable[[Iterator[bytes]], T]) -> tuple[int, T] | None:
        """What `restore` makes of the newest snapshot that is whole, and its index; None without any.

        Raises: WrongIdentity.
        """
        for index in reversed(self.indices()):
            try:
                return index, restore(self.chunks(index))
            except Damaged as error:
                log.warning("passed over a damaged snapshot for the one before it", error=error)
        return None

    def chunks(self, index: int) -> Iterator[bytes]:
        """The chunks of a snapshot. Bound: one is in memory at a time. Raises: Damaged, WrongIdentity."""
        path = self._path(index)
        header = decode_header(self._disk.read(path, 0, HEADER_BYTES))
        if header is None:
            raise Damaged(path, 0, "the head of the file is not whole", _REMEDY)
        self._identity.check(path, header, MAGIC)
        offset, expected = HEADER_BYTES, 1
        while True:
            head = self._disk.read(path, offset, HEAD_BYTES)
            length = rest_bytes(head)
            if length is None:
                raise Damaged(path, offset, "the head of a chunk is not whole", _REMEDY)
            reader = RecordReader(head + self._disk.read(path, offset + HEAD_BYTES, length), 0, expected)
            record = next(reader, None)
            if record is None or record.index != expected:
                found = reader.fault.found if reader.fault else "a chunk is missing"
                raise Damaged(path, offset, found, _REMEDY)
            if record.type == END:
                return
            yield record.payload
            offset, expected = offset + reader.offset, expected + 1

    def begin(self, index: int) -> SnapshotWriter:
        """Starts the snapshot of a state. Raises: DiskFull, DiskFailed."""
        return SnapshotWriter(self._disk, self._directory, self._identity, index)

    def prune(self) -> int:
        """Removes all but the newest KEEP; the index of the oldest that is kept, 0 if fewer than KEEP are.

        The log up to that index is of no more use. Raises: DiskFailed.
        """
        indices = self.indices()
        try:
            for index in indices[:-KEEP]:
                self._disk.remove(self._path(index))
            if indices[:-KEEP]:
                self._disk.sync_directory(self._directory)
        except OSError as error:
            raise _failure(self._directory, error) from error
        return indices[-KEEP] if len(indices) >= KEEP else 0


def _failure(path: Path, error: OSError) -> DiskFull | DiskFailed:
    if error.errno in NO_SPACE:
        return DiskFull(f"no space left for {path} ({error.strerror})")
    return DiskFailed(f"{path}: writing failed ({error.strerror or error}): check the disk, then start again")
