"""Responses put together from stored bytes: an object is sent without being decoded and encoded again.

A response made here is protobuf's wire format of the message named; the tests hold both to be equal.
Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterable, Sequence
from typing import Final

from orchestra.objects.kinds import ApiObject, Kind, kind_of
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import meta
from orchestra.store.objects import ObjectEvent

_LENGTH_DELIMITED: Final = 2
# Every kind's number is below 16, so that its tag is one byte; the same holds for all tags used here.
_FIRST: Final = b"\x0a"  # field 1, length-delimited: ListResponse.items, WatchResponse.events
_SECOND: Final = b"\x12"  # field 2: ListResponse.metadata, WatchEvent.object, WatchResponse.resource_version
_INITIAL_END: Final = b"\x18\x01"  # field 3: true
_EVENT_TYPES: Final = {
    name: bytes((0x08, api.WatchEvent.Type.Value(name))) for name in ("ADDED", "MODIFIED", "DELETED")
}


def varint(number: int) -> bytes:
    """A non-negative number as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def envelope(kind: Kind, encoded: bytes) -> bytes:
    """api.Object around the bytes of an object."""
    return bytes((kind.number << 3 | _LENGTH_DELIMITED,)) + varint(len(encoded)) + encoded


def envelope_of(obj: ApiObject) -> bytes:
    """api.Object around an object."""
    return envelope(kind_of(obj), obj.SerializeToString())


def list_response(kind: Kind, items: Iterable[bytes], metadata: meta.ListMeta) -> bytes:
    """api.ListResponse of encoded objects."""
    parts: list[bytes] = []
    for item in items:
        wrapped = envelope(kind, item)
        parts += (_FIRST, varint(len(wrapped)), wrapped)
    said = metadata.SerializeToString()
    parts += (_SECOND, varint(len(said)), said)
    return b"".join(parts)


def watch_event(kind: Kind, event: ObjectEvent) -> bytes:
    """One entry of api.WatchResponse.events, with its tag."""
    wrapped = envelope(kind, event.encoded())
    body = b"".join((_EVENT_TYPES[event.type], _SECOND, varint(len(wrapped)), wrapped))
    return b"".join((_FIRST, varint(len(body)), body))


def watch_response(events: Sequence[bytes], revision: int | None, initial_end: bool) -> bytes:
    """api.WatchResponse of entries made by watch_event(); without a revision, no place to resume from."""
    parts = list(events)
    if revision is not None:
        said = b"%d" % revision
        parts += (_SECOND, varint(len(said)), said)
    if initial_end:
        parts.append(_INITIAL_END)
    return b"".join(parts)
