"""Snapshots: what the log's beginning came to, so that the log can be cut.

    header, chunk, chunk, …, end

Each part is a record of its own; the end holds a digest of everything before it. One file each, named by the
index of the last entry it holds, made under another name and renamed when it is safe. A file that is not
whole is passed over for the one before; two are kept for that. The same file, wherever it lies, is a backup.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from orchestra.base.log import get_logger
from orchestra.storage.disk import NO_SPACE, Disk
from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, StorageError
from orchestra.storage.identity import Identity
from orchestra.storage.records import (
    HEAD_BYTES,
    HEADER_BYTES,
    FileHeader,
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
DIGEST_BYTES = 32
_SYNC_BYTES = 4 * 1024 * 1024
_REMEDY = "Remove the file to start from the snapshot before it, if the log still reaches back that far."

T = TypeVar("T")

log = get_logger("storage.snapshots")


class SnapshotEncoder:
    """The bytes of a snapshot file, part by part: `begin`, `chunk` for each, `end`."""

    def __init__(self, identity: Identity, index: int) -> None:
        self._header = encode_header(identity.header(MAGIC, index))
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._parts = 0

    def begin(self) -> bytes:
        """What the file begins with."""
        self._digest.update(self._header)
        return self._header

    def chunk(self, chunk: bytes) -> bytes:
        """The next chunk."""
        return self._part(CHUNK, chunk)

    def end(self) -> bytes:
        """What the file ends with."""
        return self._part(END, self._digest.digest())

    def _part(self, type_: int, payload: bytes) -> bytes:
        self._parts += 1
        data = encode_records(self._parts, ((type_, payload),))
        self._digest.update(data)
        return data


class SnapshotWriter:
    """A snapshot being written. `commit` or `abort` ends it."""

    def __init__(self, disk: Disk, directory: Path, identity: Identity, index: int) -> None:
        self.index = index
        self._disk = disk
        self._identity = identity
        self._path = directory / f"{index:016x}.snapshot"
        self._unfinished = self._path.with_name(self._path.name + ".tmp")
        self._encoder = SnapshotEncoder(identity, index)
        self._written = 0
        self._unsynced = 0
        self._sealed = False
        self._closed = False
        try:
            self._file = disk.create(self._unfinished)
        except OSError as error:
            raise disk_failure(self._path, error) from error
        try:
            self._write(self._encoder.begin())
        except StorageError:
            self.abort()
            raise

    def write(self, chunk: bytes) -> None:
        """Adds a chunk. Raises: DiskFull, DiskFailed."""
        self._write(self._encoder.chunk(chunk))

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
            raise disk_failure(self._path, error) from error

    def seal(self) -> None:
        """Ends the file, safe on return, but under no name that counts yet. Raises: DiskFull, DiskFailed."""
        if self._sealed:
            return
        self._write(self._encoder.end())
        try:
            self._file.sync()
        except OSError as error:
            raise disk_failure(self._path, error) from error
        self._sealed = True

    def chunks(self) -> Iterator[bytes]:
        """Reads the sealed file back. Raises: Damaged."""
        return read_chunks(self._disk, self._unfinished, self._identity)

    def commit(self) -> int:
        """Puts the snapshot in place, safe on return; its size in bytes. Raises: DiskFull, DiskFailed."""
        self.seal()
        try:
            self._close()
            self._disk.rename(self._unfinished, self._path)
            self._disk.sync_directory(self._path.parent)
        except OSError as error:
            raise disk_failure(self._path, error) from error
        return self._written

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._file.close()

    def abort(self) -> None:
        """Leaves no trace of it."""
        try:
            self._close()
            self._disk.remove(self._unfinished)
        except OSError as error:
            log.warning("left an unfinished snapshot behind", file=self._unfinished, error=error)


class Snapshots:
    """The snapshots of a data directory."""

    def __init__(self, disk: Disk, directory: Path, identity: Identity) -> None:
        self._disk = disk
        self._directory = directory
        self._identity = identity
        self._reading: Counter[int] = Counter()

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
        return self._disk.size(self.place(index))

    def place(self, index: int) -> Path:
        """The file of the snapshot at an index."""
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

    def chunks(self, index: int) -> Generator[bytes]:
        """The chunks of a snapshot, which stays until they have been read or the iterator is closed.

        Bound: one is in memory at a time. Raises: Damaged, WrongIdentity, DiskFailed.
        """
        self._reading[index] += 1
        try:
            yield from read_chunks(self._disk, self.place(index), self._identity)
        finally:
            self._reading[index] -= 1

    def begin(self, index: int) -> SnapshotWriter:
        """Starts the snapshot of a state. Raises: DiskFull, DiskFailed."""
        return SnapshotWriter(self._disk, self._directory, self._identity, index)

    def discard(self, index: int) -> None:
        """Removes one that was put in place and is of no use. Raises: DiskFailed."""
        try:
            self._disk.remove(self.place(index))
            self._disk.sync_directory(self._directory)
        except OSError as error:
            raise disk_failure(self._directory, error) from error

    def prune(self) -> int:
        """Removes all but the newest KEEP and those being read; the oldest index of the KEEP, 0 if fewer are.

        The log up to that index is of no more use. Raises: DiskFailed.
        """
        indices = self.indices()
        useless = [index for index in indices[:-KEEP] if not self._reading[index]]
        try:
            for index in useless:
                self._disk.remove(self.place(index))
            if useless:
                self._disk.sync_directory(self._directory)
        except OSError as error:
            raise disk_failure(self._directory, error) from error
        return indices[-KEEP] if len(indices) >= KEEP else 0


def read_header(disk: Disk, path: Path, remedy: str = _REMEDY) -> FileHeader:
    """The header of a snapshot file, whoever's it is. Raises: Damaged, DiskFailed."""
    header = decode_header(_read(disk, path, 0, HEADER_BYTES))
    if header is None:
        raise Damaged(path, 0, "the head of the file is not whole", remedy)
    return header


def read_chunks(
    disk: Disk, path: Path, identity: Identity | None, remedy: str = _REMEDY, end: int | None = None
) -> Iterator[bytes]:
    """The chunks of a snapshot file, checked against its digest at their end. identity None: anyone's.

    end: nothing but zeros may follow, up to there; None: nothing at all.
    Bound: one is in memory at a time. Raises: Damaged, WrongIdentity, DiskFailed.
    """
    header = read_header(disk, path, remedy)
    if identity is not None:
        identity.check(path, header, MAGIC)
    digest = blake2b(encode_header(header), digest_size=DIGEST_BYTES)
    offset, expected = HEADER_BYTES, 1
    while True:
        head = _read(disk, path, offset, HEAD_BYTES)
        length = rest_bytes(head)
        if length is None:
            raise Damaged(path, offset, "the head of a chunk is not whole", remedy)
        data = head + _read(disk, path, offset + HEAD_BYTES, length)
        reader = RecordReader(data, 0, expected)
        record = next(reader, None)
        if record is None or record.index != expected:
            found = reader.fault.found if reader.fault else "a chunk is missing"
            raise Damaged(path, offset, found, remedy)
        if record.type == END:
            if record.payload != digest.digest():
                raise Damaged(path, offset, "the checksum of the whole file does not match", remedy)
            offset += len(data)
            following = (disk.size(path) if end is None else end) - offset
            if following and (end is None or any(_read(disk, path, offset, following))):
                raise Damaged(path, offset, "something follows the end", remedy)
            return
        yield record.payload
        digest.update(data)
        offset, expected = offset + len(data), expected + 1


def _read(disk: Disk, path: Path, offset: int, length: int) -> bytes:
    try:
        return disk.read(path, offset, length)
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be read ({error.strerror or error})") from error


def disk_failure(path: Path, error: OSError) -> DiskFull | DiskFailed:
    """What an error of the system's while writing a file means."""
    if error.errno in NO_SPACE:
        return DiskFull(f"no space left for {path} ({error.strerror})")
    return DiskFailed(f"{path}: writing failed ({error.strerror or error}): check the disk, then start again")
