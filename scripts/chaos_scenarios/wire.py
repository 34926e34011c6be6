"""etcd's messages as the key-value machine's words, in which a history is checked."""

from collections.abc import Sequence

from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    DeleteResult,
    Event,
    EventType,
    KeyValue,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)
from orchestra.pb import etcd_kv_pb2 as kv_pb
from orchestra.pb import etcd_rpc_pb2 as pb

_UNION = ("version", "create_revision", "mod_revision", "value", "lease")


def range_request(ask: Range) -> pb.RangeRequest:
    """A read."""
    return pb.RangeRequest(
        key=ask.key,
        range_end=ask.range_end,
        limit=ask.limit,
        revision=ask.revision,
        serializable=ask.serializable,
    )


def put_request(put: Put) -> pb.PutRequest:
    """A write of one key."""
    return pb.PutRequest(key=put.key, value=put.value, lease=put.lease, prev_kv=put.prev_kv)


def txn_request(txn: Txn) -> pb.TxnRequest:
    """A transaction."""
    request = pb.TxnRequest()
    for compare in txn.compare:
        request.compare.append(_compare(compare))
    request.success.extend(map(_op, txn.success))
    request.failure.extend(map(_op, txn.failure))
    return request


def _compare(compare: Compare) -> pb.Compare:
    made = pb.Compare(
        key=compare.key,
        target=pb.Compare.CompareTarget.ValueType(compare.target),
        result=pb.Compare.CompareResult.ValueType(compare.result),
    )
    setattr(made, _UNION[Target(compare.target)], compare.value)
    return made


def _op(op: Op) -> pb.RequestOp:
    if isinstance(op, Put):
        return pb.RequestOp(request_put=put_request(op))
    if isinstance(op, Range):
        return pb.RequestOp(request_range=range_request(op))
    if isinstance(op, DeleteRange):
        return pb.RequestOp(
            request_delete_range=pb.DeleteRangeRequest(key=op.key, range_end=op.range_end, prev_kv=op.prev_kv)
        )
    return pb.RequestOp(request_txn=txn_request(op))


def key_value(kv: kv_pb.KeyValue) -> KeyValue:
    """A key at a revision."""
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def range_result(response: pb.RangeResponse, revision: int = 0) -> RangeResult:
    """What was read."""
    revision = response.header.revision or revision
    return RangeResult(revision, tuple(map(key_value, response.kvs)), response.count, response.more)


def put_result(response: pb.PutResponse) -> TxnResult:
    """What was written, as the transaction that it is."""
    return TxnResult(response.header.revision, True, (_put(response, response.header.revision),))


def _put(response: pb.PutResponse, revision: int) -> PutResult:
    return PutResult(revision, key_value(response.prev_kv) if response.HasField("prev_kv") else None)


def txn_result(response: pb.TxnResponse, revision: int = 0) -> TxnResult:
    """What a transaction did."""
    revision = response.header.revision or revision
    return TxnResult(revision, response.succeeded, _op_results(response.responses, revision))


def _op_results(responses: Sequence[pb.ResponseOp], revision: int) -> Sequence[OpResult]:
    results: list[OpResult] = []
    for each in responses:
        kind = each.WhichOneof("response")
        if kind == "response_put":
            results.append(_put(each.response_put, revision))
        elif kind == "response_range":
            results.append(range_result(each.response_range, revision))
        elif kind == "response_delete_range":
            deleted = each.response_delete_range
            results.append(DeleteResult(revision, deleted.deleted, tuple(map(key_value, deleted.prev_kvs))))
        else:
            results.append(txn_result(each.response_txn, revision))
    return tuple(results)


def event(told: kv_pb.Event) -> Event:
    """A change, as a watch tells it."""
    kind = EventType.DELETE if told.type == kv_pb.Event.DELETE else EventType.PUT
    return Event(kind, key_value(told.kv), key_value(told.prev_kv) if told.HasField("prev_kv") else None)
