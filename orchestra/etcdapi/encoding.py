"""Answers as bytes: events made once for however many watches they go to, keys for however many reads."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from orchestra.etcdapi.header import varint
from orchestra.etcdapi.responses import fill_range, fill_txn, kv_message
from orchestra.mvcc.model import Event, EventType, KeyValue, PutResult, RangeResult, TxnResult
from orchestra.pb import etcd_kv_pb2 as kv_pb
from orchestra.pb import etcd_rpc_pb2 as pb

# A response is cut at this size where it can be: etcd's bound of a request, and gRPC's overhead.
RESPONSE_BYTES: Final = 2 * 1024 * 1024
# What is kept for the next watch.
_KEPT_BYTES: Final = 4 * 1024 * 1024

# Of a larger answer nothing is kept: reading everything once would put out what is read often.
_KEPT_KEYS: Final = 1024
_KEPT_ANSWER_BYTES: Final = 512 * 1024

_EVENTS_FIELD: Final = b"\x5a"
_KVS_FIELD: Final = b"\x12"
_MORE: Final = b"\x18\x01"
_COUNT_FIELD: Final = b"\x20"
_SUCCEEDED: Final = b"\x10\x01"
_RESPONSES_FIELD: Final = b"\x1a"


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


class KeyValueEncoder:
    """Encodes what ranges answer. Bound: keeps _KEPT_BYTES of encoded keys, and an answer more."""

    def __init__(self) -> None:
        # By identity, as events are: a key that is written again is another object.
        self._known: dict[int, tuple[KeyValue, bytes]] = {}
        self._kept = 0

    def encoded_range(self, result: RangeResult, *, keep: bool) -> bytes:
        """A RangeResponse but for its header. keep: it may be asked for again."""
        kvs = result.kvs
        if not (keep and 0 < len(kvs) <= _KEPT_KEYS) or _value_bytes(kvs) > _KEPT_ANSWER_BYTES:
            response = pb.RangeResponse()
            fill_range(response, result)
            return response.SerializeToString()
        known = self._known
        parts: list[bytes] = []
        for kv in kvs:
            found = known.get(id(kv))
            parts.append(self._encode(kv) if found is None else found[1])
        if result.more:
            parts.append(_MORE)
        if result.count:
            parts.append(_COUNT_FIELD + varint(result.count))
        if self._kept > _KEPT_BYTES:
            known.clear()
            self._kept = 0
        return b"".join(parts)

    def _encode(self, kv: KeyValue) -> bytes:
        body = kv_message(kv).SerializeToString()
        data = _KVS_FIELD + varint(len(body)) + body
        self._known[id(kv)] = (kv, data)
        # The key is kept beside it, though it may have been overwritten.
        self._kept += 2 * len(data) + 256
        return data


def _value_bytes(kvs: Sequence[KeyValue]) -> int:
    return sum([len(kv.value) for kv in kvs])


def encoded_txn(result: TxnResult) -> bytes:
    """A TxnResponse but for its header."""
    results = result.responses
    if not results or not all(type(each) is PutResult and each.prev_kv is None for each in results):
        response = pb.TxnResponse()
        fill_txn(response, result)
        return response.SerializeToString()
    # The puts of a transaction are all answered with the same.
    op = pb.ResponseOp()
    op.response_put.header.revision = results[0].revision
    body = op.SerializeToString()
    plain = _RESPONSES_FIELD + varint(len(body)) + body
    return (_SUCCEEDED if result.succeeded else b"") + plain * len(results)
