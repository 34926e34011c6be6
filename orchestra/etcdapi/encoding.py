"""Events as bytes, made once for however many watches they go to."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from orchestra.etcdapi.header import varint
from orchestra.etcdapi.responses import kv_message
from orchestra.mvcc.model import Event, EventType
from orchestra.pb import etcd_kv_pb2 as kv_pb

# A response is cut at this size where it can be: etcd's bound of a request, and gRPC's overhead.
RESPONSE_BYTES: Final = 2 * 1024 * 1024
# What is kept for the next watch.
_KEPT_BYTES: Final = 4 * 1024 * 1024

_EVENTS_FIELD: Final = b"\x5a"


class Piece(NamedTuple):
    """Encoded events for one response. revision: of the last one; last: nothing of the batch follows."""

    events: bytes
    revision: int
    last: bool


class EventEncoder:
    """Encodes events as fields of a WatchResponse. Bound: keeps _KEPT_BYTES, and an event more."""

    def __init__(self) -> None:
        # By identity, the event itself kept beside it: an id is given again when its owner is gone.
        self._plain: dict[int, tuple[Event, bytes]] = {}
        self._with_prev: dict[int, tuple[Event, bytes]] = {}
        self._kept = 0

    def encoded(self, event: Event, prev_kv: bool) -> bytes:
        """One event, with what was there before or without."""
        known = self._with_prev if prev_kv else self._plain
        found = known.get(id(event))
        if found is not None:
            return found[1]
        message = kv_pb.Event(kv=kv_message(event.kv))
        if event.type is EventType.DELETE:
            message.type = kv_pb.Event.DELETE
        if prev_kv and event.prev_kv is not None:
            message.prev_kv.CopyFrom(kv_message(event.prev_kv))
        body = message.SerializeToString()
        data = _EVENTS_FIELD + varint(len(body)) + body
        if self._kept > _KEPT_BYTES:
            self._plain.clear()
            self._with_prev.clear()
            self._kept = 0
        known[id(event)] = (event, data)
        self._kept += 2 * len(data) + 256
        return data

    def pieces(self, events: Sequence[Event], prev_kv: bool, *, within_revision: bool) -> Iterator[Piece]:
        """A batch in pieces of about RESPONSE_BYTES; a revision is cut only if `within_revision`."""
        if len(events) == 1:
            yield Piece(self.encoded(events[0], prev_kv), events[0].kv.mod_revision, True)
            return
        gathered: list[bytes] = []
        size = revision = 0
        for event in events:
            data = self.encoded(event, prev_kv)
            whole = within_revision or event.kv.mod_revision != revision
            if gathered and whole and size + len(data) > RESPONSE_BYTES:
                yield Piece(b"".join(gathered), revision, False)
                gathered, size = [], 0
            gathered.append(data)
            size += len(data)
            revision = event.kv.mod_revision
        yield Piece(b"".join(gathered), revision, True)
