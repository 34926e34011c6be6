"""The model's words as etcd's messages, and back. No decision is taken here."""

from collections.abc import Callable, Mapping, Sequence

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
from orchestra.pb import etcd_kv_pb2 as kv
from orchestra.pb import etcd_rpc_pb2 as rpc

_PUT, _DELETE = EventType.PUT, EventType.DELETE


def range_request(request: Range) -> rpc.RangeRequest:
    """A range to be read."""
    return rpc.RangeRequest(
        key=request.key,
        range_end=request.range_end,
        limit=request.limit,
        revision=request.revision,
        sort_order=rpc.RangeRequest.SortOrder.ValueType(request.sort_order),
        sort_target=rpc.RangeRequest.SortTarget.ValueType(request.sort_target),
        serializable=request.serializable,
        keys_only=request.keys_only,
        count_only=request.count_only,
        min_mod_revision=request.min_mod_revision,
        max_mod_revision=request.max_mod_revision,
        min_create_revision=request.min_create_revision,
        max_create_revision=request.max_create_revision,
    )


def txn_request(txn: Txn) -> rpc.TxnRequest:
    """A transaction to be done."""
    return rpc.TxnRequest(
        compare=[_compare(compare) for compare in txn.compare],
        success=[_operation(op) for op in txn.success],
        failure=[_operation(op) for op in txn.failure],
    )


def _operation(op: Op) -> rpc.RequestOp:
    if isinstance(op, Put):
        put = rpc.PutRequest(
            key=op.key,
            value=op.value,
            lease=op.lease,
            prev_kv=op.prev_kv,
            ignore_value=op.ignore_value,
            ignore_lease=op.ignore_lease,
        )
        return rpc.RequestOp(request_put=put)
    if isinstance(op, Range):
        return rpc.RequestOp(request_range=range_request(op))
    if isinstance(op, DeleteRange):
        delete = rpc.DeleteRangeRequest(key=op.key, range_end=op.range_end, prev_kv=op.prev_kv)
        return rpc.RequestOp(request_delete_range=delete)
    return rpc.RequestOp(request_txn=txn_request(op))


def _compare(compare: Compare) -> rpc.Compare:
    made = rpc.Compare(
        result=rpc.Compare.CompareResult.ValueType(compare.result),
        target=rpc.Compare.CompareTarget.ValueType(compare.target),
        key=compare.key,
        range_end=compare.range_end,
    )
    # Set even when it is 0 or empty: etcd refuses a comparison with nothing.
    setattr(made, _OPERANDS[compare.target], compare.value)
    return made


_OPERANDS: Mapping[Target, str] = {
    Target.VERSION: "version",
    Target.CREATE: "create_revision",
    Target.MOD: "mod_revision",
    Target.VALUE: "value",
    Target.LEASE: "lease",
}


def key_value(message: kv.KeyValue) -> KeyValue:
    """One key as etcd tells it."""
    return KeyValue(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def event(message: kv.Event) -> Event:
    """One change as a watch tells it."""
    before = key_value(message.prev_kv) if message.HasField("prev_kv") else None
    if message.type == kv.Event.DELETE:
        return Event(_DELETE, KeyValue(message.kv.key, b"", 0, message.kv.mod_revision, 0), before)
    return Event(_PUT, key_value(message.kv), before)


def range_result(message: rpc.RangeResponse) -> RangeResult:
    """What was read."""
    kvs = [key_value(found) for found in message.kvs]
    return RangeResult(message.header.revision, kvs, message.count, message.more)


def txn_result(message: rpc.TxnResponse) -> TxnResult:
    """What a transaction did. Those within it have its revision: etcd leaves theirs out."""
    return _txn_result(message, message.header.revision)


def _txn_result(message: rpc.TxnResponse, revision: int) -> TxnResult:
    responses = [_result(response, revision) for response in message.responses]
    return TxnResult(revision, message.succeeded, responses)


def _put_result(message: rpc.PutResponse) -> PutResult:
    before = key_value(message.prev_kv) if message.HasField("prev_kv") else None
    return PutResult(message.header.revision, before)


def _delete_result(message: rpc.DeleteRangeResponse) -> DeleteResult:
    gone: Sequence[KeyValue] = [key_value(before) for before in message.prev_kvs]
    return DeleteResult(message.header.revision, message.deleted, gone)


_RESULTS: Mapping[str, Callable[[rpc.ResponseOp, int], OpResult]] = {
    "response_put": lambda op, _: _put_result(op.response_put),
    "response_range": lambda op, _: range_result(op.response_range),
    "response_delete_range": lambda op, _: _delete_result(op.response_delete_range),
    "response_txn": lambda op, revision: _txn_result(op.response_txn, revision),
}


def _result(op: rpc.ResponseOp, revision: int) -> OpResult:
    return _RESULTS[op.WhichOneof("response") or ""](op, revision)
