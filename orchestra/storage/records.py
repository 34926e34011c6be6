"""Records: how bytes stand in a file so that damage is found.

    file    header, record, record, …
    header  magic 8s · format u32 · cluster 16s · member 8s · first index u64 · CRC32C of these u32
    record  payload length u32 · payload CRC32C u32 · type u8 · index u64 · batch u64
            · CRC32C of these u32 · payload · an end mark that is not 0
    zeros   to the end of the file, where room was made for records to come

All little-endian. The head of a record has a checksum of its own, so that a length can be believed: a record
whose head is right and whose end is missing was being written, one whose head is wrong was damaged. `batch`
is the index of the first record that was written and synced together with this one: a good record of a
later batch proves that everything before that batch had been safe.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from google_crc32c import value as crc32c

_HEADER = struct.Struct("<8sI16s8sQ")
_HEAD = struct.Struct("<IIBQQ")
_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")
_END_MARK = b"\xa5"
HEADER_BYTES = _HEADER.size + _CRC.size
HEAD_BYTES = _HEAD.size + _CRC.size
RECORD_BYTES = HEAD_BYTES + len(_END_MARK)
FORMAT = 2
SECTOR_BYTES = 512
# A zeroed piece shorter than this may well have been written so.
_TORN_BYTES = 4


@dataclass(frozen=True, slots=True)
class FileHeader:
    """Whose file it is, and the index of its first record."""

    magic: bytes
    cluster_id: bytes
    member_id: bytes
    first_index: int
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read. offset: where it stands in its file."""

    type: int
    index: int
    payload: bytes
    offset: int


def encode_header(header: FileHeader) -> bytes:
    """The first HEADER_BYTES of a file."""
    data = _HEADER.pack(header.magic, header.format, header.cluster_id, header.member_id, header.first_index)
    return data + _CRC.pack(crc32c(data))


def decode_header(data: bytes) -> FileHeader | None:
    """The header at the start of a file; None when it is not whole."""
    if len(data) < HEADER_BYTES or _CRC.unpack_from(data, _HEADER.size)[0] != crc32c(data[: _HEADER.size]):
        return None
    magic, version, cluster_id, member_id, first_index = _HEADER.unpack_from(data)
    return FileHeader(magic, cluster_id, member_id, first_index, version)


def encode_records(first_index: int, records: Sequence[tuple[int, bytes]]) -> bytes:
    """Records (type, payload) with consecutive indices, to be written and synced together."""
    parts: list[bytes] = []
    for index, (type_, payload) in enumerate(records, first_index):
        head = _HEAD.pack(len(payload), crc32c(payload), type_, index, first_index)
        parts += (head, _CRC.pack(crc32c(head)), payload, _END_MARK)
    return b"".join(parts)


def rest_bytes(head: bytes) -> int | None:
    """How many bytes follow a record's head; None when the head is not whole."""
    if len(head) < HEAD_BYTES or _CRC.unpack_from(head, _HEAD.size)[0] != crc32c(head[: _HEAD.size]):
        return None
    return int(_HEAD.unpack_from(head)[0]) + len(_END_MARK)


@dataclass(frozen=True, slots=True)
class Fault:
    """Where and why reading stopped. torn: a crash while writing explains it, and nothing safe is lost."""

    offset: int
    found: str
    torn: bool


class RecordReader:
    """Reads the records of one file's bytes up to its end or its first fault."""

    def __init__(self, data: bytes, offset: int, first_index: int) -> None:
        self._data = data
        self.offset = offset
        self.fault: Fault | None = None
        self._next_index = first_index

    def __iter__(self) -> "RecordReader":
        return self

    def __next__(self) -> Record:
        data, offset = self._data, self.offset
        if offset == len(data):
            raise StopIteration
        found = self._read_at(offset)
        if isinstance(found, str):
            if self._is_zeroed(offset):
                raise StopIteration
            self.fault = Fault(offset, found, self._is_torn(offset))
            raise StopIteration
        record, _ = found
        self.offset = offset + RECORD_BYTES + len(record.payload)
        self._next_index = record.index + 1
        return record

    def _read_at(self, offset: int) -> tuple[Record, int] | str:
        """The record at an offset and its batch, or why there is none."""
        data = self._data
        start = offset + HEAD_BYTES
        if start > len(data):
            return "the record ends before its head does"
        if rest_bytes(data[offset:start]) is None:
            return "the checksum of the record's head does not match"
        length, crc, type_, index, batch = _HEAD.unpack_from(data, offset)
        end = start + length
        if end + len(_END_MARK) > len(data):
            return f"the record has {len(data) - start} of {length} bytes"
        payload = data[start:end]
        if crc32c(payload) != crc or data[end : end + 1] != _END_MARK:
            return "the checksum of the record's content does not match"
        return Record(type_, index, payload, offset), batch

    def _is_torn(self, offset: int) -> bool:
        """Whether an interrupted write explains the fault.

        It leaves a file that ends too soon, or zeros to the end, or zeros where whole sectors were not
        written; and nothing was written after it.
        """
        data = self._data
        if self._was_synced(offset):
            return False
        start = offset + HEAD_BYTES
        if start > len(data):
            return True
        rest = rest_bytes(data[offset:start])
        end = start if rest is None else start + rest
        # A whole record ends in a byte that is not 0, and its head in a checksum that hardly ever does.
        if end > len(data) or self._is_zeroed(end - 1) or self._has_zeroed_sector(offset, end):
            return True
        return rest is None and self._has_lost_its_start(offset)

    def _is_zeroed(self, offset: int) -> bool:
        return self._data.count(0, offset) == len(self._data) - offset

    def _has_zeroed_sector(self, offset: int, end: int) -> bool:
        """Whether a sector of the record was not written. What follows in it is of the same write or room."""
        while offset < end:
            piece = self._data[offset : offset - offset % SECTOR_BYTES + SECTOR_BYTES]
            if len(piece) >= _TORN_BYTES and not any(piece):
                return True
            offset += len(piece)
        return False

    def _has_lost_its_start(self, offset: int) -> bool:
        """Whether a head is whole but for its first few bytes, at the end of a sector that was not written.

        Zeros as few as that prove nothing; that a length in their place makes the checksum right does.
        """
        data = self._data
        missing = -offset % SECTOR_BYTES
        if not 0 < missing < _TORN_BYTES or any(data[offset : offset + missing]):
            return False
        head = data[offset : offset + HEAD_BYTES]
        known = int.from_bytes(head[: _LENGTH.size], "little")
        longest = min(known + (1 << 8 * missing), len(data.rstrip(b"\0")) - offset)
        return any(
            rest_bytes(_LENGTH.pack(length) + head[_LENGTH.size :]) for length in range(known, longest)
        )

    def _was_synced(self, offset: int) -> bool:
        """Whether a good record of a later batch follows somewhere."""
        missing = self._next_index
        # Indices and batches near this one have its upper bytes (or the next ones), which is rare elsewhere.
        high = b"|".join(re.escape(struct.pack("<I", (missing >> 32) + step)) for step in (0, 1))
        likely = re.compile(b"(?=.{8}[\x00-\xff].{4}(?:%b).{4}(?:%b))" % (high, high), re.DOTALL)
        for match in likely.finditer(self._data.rstrip(b"\0"), offset + 1):
            found = self._read_at(match.start())
            if not isinstance(found, str):
                record, batch = found
                if record.index >= batch > missing:
                    return True
        return False
