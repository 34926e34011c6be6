"""The write-ahead log: records in segments, safe when `append` returns.

A segment is named by the index of its first record, which is its head: what all segments before came to, in
the owner's words, so that they can go. A segment appears under its name only with its head in it and all
before it safe. So an interrupted write can be found at the end of the last segment and nowhere else: there it
is cut and said, elsewhere the log refuses to open. What `append` was given is one write and one sync.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.base.log import get_logger
from orchestra.storage.disk import NO_SPACE, Disk, File
from orchestra.storage.errors import Damaged, DiskFailed, DiskFull
from orchestra.storage.identity import Identity
from orchestra.storage.records import (
    HEAD_BYTES,
    HEADER_BYTES,
    Record,
    RecordReader,
    decode_header,
    encode_header,
    encode_records,
    rest_bytes,
)

_CANNOT_ALLOCATE = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
MAGIC = b"ORCHWAL\n"
SEGMENT_BYTES = 16 * 1024 * 1024
# Room is made ahead, so that most syncs need not make a new length of the file safe: a third less time.
ALLOCATE_BYTES = 1024 * 1024
# The type of a segment's first record. All others are the owner's.
HEAD = 1

REMEDY = (
    "The log is not used, so that nothing is made worse: restore the data directory from a backup or a "
    "snapshot, or move it away to start this member empty."
)

log = get_logger("storage.wal")


@dataclass(slots=True)
class _Segment:
    path: Path
    first_index: int
    head: bytes
    # To the end of its records; and of the room made for more.
    size: int
    allocated: int


class Wal:
    """One log. `create`, or `open` and `replay` to its end; then `append`. Not for two threads at once.

    head: what all records so far came to, asked for when a segment begins.
    """

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        identity: Identity,
        head: Callable[[], bytes],
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._identity = identity
        self._head = head
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._file: File | None = None
        self._failure: str | None = None
        # The index of the newest record.
        self.last_index = 0
        # Bytes of records appended since the opening.
        self.appended_bytes = 0

    # Opening.

    def create(self) -> None:
        """Makes a log with nothing but its head, in place of what an interrupted making left.

        Raises: OSError, DiskFull, DiskFailed.
        """
        self._disk.make_directory(self._directory)
        for name in self._disk.names(self._directory):
            self._disk.remove(self._directory / name)
        self._begin_segment()

    def open(self) -> Sequence[bytes]:
        """The heads of all segments. Raises: Damaged, WrongIdentity, OSError."""
        self._disk.make_directory(self._directory)
        for name in self._disk.names(self._directory):
            if name.endswith(".tmp"):
                self._disk.remove(self._directory / name)
        names = [name for name in self._disk.names(self._directory) if _is_segment(name)]
        if not names:
            raise Damaged(self._directory, 0, "the log is missing", REMEDY)
        self._segments = [self._opened(name) for name in names]
        return [segment.head for segment in self._segments]

    def replay(self, start: int) -> Iterator[tuple[int, Record]]:
        """Every record from the start-th segment on but the heads, with the position of its segment, having
        repaired what a crash left behind.

        Raises: Damaged, OSError.
        """
        expected = self._segments[start].first_index
        last = len(self._segments) - 1
        for position in range(start, last + 1):
            segment = self._segments[position]
            if segment.first_index != expected:
                found = f"it begins at record {segment.first_index} where {expected} should follow"
                raise Damaged(segment.path, 0, found, REMEDY)
            for record in self._records(segment, is_last=position == last):
                expected = record.index + 1
                if record.type != HEAD:
                    yield position, record
        self.last_index = expected - 1

    def place(self, position: int) -> Path:
        """The file of a segment."""
        return self._segments[position].path

    @property
    def segment_count(self) -> int:
        """How many segments there are."""
        return len(self._segments)

    def _opened(self, name: str) -> _Segment:
        path = self._directory / name
        header = decode_header(self._disk.read(path, 0, HEADER_BYTES))
        if header is None:
            raise Damaged(path, 0, "the head of the file is not whole", REMEDY)
        self._identity.check(path, header, MAGIC)
        if header.first_index != int(name.removesuffix(".wal"), 16):
            raise Damaged(path, 0, "the file does not have the name it was made with", "Rename it back.")
        head = self._disk.read(path, HEADER_BYTES, HEAD_BYTES)
        rest = self._disk.read(path, HEADER_BYTES + HEAD_BYTES, rest_bytes(head) or 0)
        record = next(RecordReader(head + rest, 0, header.first_index), None)
        if record is None or record.type != HEAD or record.index != header.first_index:
            raise Damaged(path, HEADER_BYTES, "the first record is not whole", REMEDY)
        size = self._disk.size(path)
        return _Segment(path, header.first_index, record.payload, size, size)

    def _records(self, segment: _Segment, is_last: bool) -> Iterator[Record]:
        reader = RecordReader(self._disk.read(segment.path), HEADER_BYTES, segment.first_index)
        expected = segment.first_index
        offset = HEADER_BYTES
        for record in reader:
            if record.index != expected:
                found = f"record {record.index} stands where {expected} should"
                raise Damaged(segment.path, offset, found, REMEDY)
            yield record
            expected, offset = expected + 1, reader.offset
        segment.size = reader.offset
        fault = reader.fault
        if fault is None:
            return
        if not (is_last and fault.torn):
            raise Damaged(segment.path, fault.offset, fault.found, REMEDY)
        file = self._disk.append(segment.path, fault.offset)
        try:
            file.truncate(fault.offset)
            file.sync()
        finally:
            file.close()
        log.warning(
            "left out a record that was being written when the machine stopped",
            file=segment.path,
            offset=fault.offset,
            bytes=segment.allocated - fault.offset,
            found=fault.found,
        )
        segment.allocated = segment.size

    # Writing.

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Writes records (type, payload) after the last one; they are safe on return.

        Raises: DiskFull, having kept nothing; DiskFailed, after which the log takes no more.
        """
        if self._failure is not None:
            raise DiskFailed(self._failure)
        segment, file = self._at_end()
        data = encode_records(self.last_index + 1, records)
        self._make_room(segment, file, len(data))
        try:
            file.write(data)
        except OSError as error:
            self._undo(segment, file, error)
            raise DiskFull(_full(segment.path, error)) from error
        try:
            file.sync()
        except OSError as error:
            raise self._failed("sync", segment.path, error) from error
        segment.size += len(data)
        self.appended_bytes += len(data)
        self.last_index += len(records)

    def _at_end(self) -> tuple[_Segment, File]:
        """The segment to write to and its file: the last one, or a new one when that is long enough."""
        if self._segments and self._segments[-1].size < self._segment_bytes:
            segment = self._segments[-1]
            if self._file is None:
                try:
                    self._file = self._disk.append(segment.path, segment.size)
                except OSError as error:
                    raise self._failed("opening", segment.path, error) from error
            return segment, self._file
        return self._begin_segment()

    def _begin_segment(self) -> tuple[_Segment, File]:
        first_index = self.last_index + 1
        path = self._directory / f"{first_index:016x}.wal"
        unfinished = path.with_name(path.name + ".tmp")
        head = self._head()
        data = encode_header(self._identity.header(MAGIC, first_index))
        data += encode_records(first_index, ((HEAD, head),))
        try:
            file = self._disk.create(unfinished)
            try:
                file.write(data)
                file.sync()
                self._disk.rename(unfinished, path)
                self._disk.sync_directory(self._directory)
            except OSError:
                file.close()
                raise
        except OSError as error:
            if error.errno in NO_SPACE:
                raise DiskFull(_full(path, error)) from error
            raise self._failed("making", path, error) from error
        self.close()
        self._file = file
        self._segments.append(_Segment(path, first_index, head, len(data), len(data)))
        self.last_index = first_index
        return self._segments[-1], file

    def _make_room(self, segment: _Segment, file: File, size: int) -> None:
        """Makes room ahead where the file system can. Where it cannot, the write itself will tell."""
        wanted = segment.size + size
        if wanted <= segment.allocated:
            return
        try:
            file.allocate(wanted + ALLOCATE_BYTES)
            segment.allocated = wanted + ALLOCATE_BYTES
        except OSError as error:
            if error.errno not in NO_SPACE and error.errno not in _CANNOT_ALLOCATE:
                raise self._failed("making room", segment.path, error) from error

    def _undo(self, segment: _Segment, file: File, error: OSError) -> None:
        """Takes back a write that failed for want of space. Any other failure is final."""
        if error.errno not in NO_SPACE:
            raise self._failed("write", segment.path, error) from error
        try:
            file.truncate(segment.size)
        except OSError as second:
            raise self._failed("cutting", segment.path, second) from second
        segment.allocated = segment.size

    def _failed(self, doing: str, path: Path, error: OSError) -> DiskFailed:
        self._failure = (
            f"{path}: {doing} failed ({error.strerror or error}): the disk or its file system has a fault. "
            "Check it, then start again"
        )
        return DiskFailed(self._failure)

    # Bounding.

    def drop(self, count: int) -> None:
        """Removes the first `count` segments, oldest first; never the last one. Raises: DiskFailed."""
        for _ in range(min(count, len(self._segments) - 1)):
            segment = self._segments[0]
            try:
                self._disk.remove(segment.path)
                # One by one: two removals that become safe in the other order would leave a hole.
                self._disk.sync_directory(self._directory)
            except OSError as error:
                raise self._failed("removing", segment.path, error) from error
            del self._segments[0]

    def close(self) -> None:
        """Gives back the room that was not needed, and closes. What was appended is safe already."""
        if self._file is None:
            return
        segment = self._segments[-1]
        if segment.allocated > segment.size and self._failure is None:
            try:
                self._file.truncate(segment.size)
                segment.allocated = segment.size
            except OSError as error:
                log.warning("left unneeded room in the log", file=segment.path, error=error)
        self._file.close()
        self._file = None


def _is_segment(name: str) -> bool:
    return name.endswith(".wal") and len(name) == 20


def _full(path: Path, error: OSError) -> str:
    return f"no space left for {path} ({error.strerror}): writes are refused until there is; reads go on"
