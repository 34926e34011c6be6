"""The store's results as etcd's responses."""

from collections.abc import Sequence

from orchestra.mvcc.model import DeleteResult, KeyValue, OpResult, PutResult, RangeResult, TxnResult
from orchestra.pb import etcd_kv_pb2 as kv_pb
from orchestra.pb import etcd_rpc_pb2 as pb


def kv_message(kv: KeyValue) -> kv_pb.KeyValue:
    """A key as etcd's message."""
    message = kv_pb.KeyValue()
    _fill_kv(message, kv)
    return message


def _fill_kv(message: kv_pb.KeyValue, kv: KeyValue) -> None:
    # Field by field and in place: half as dear as a message of keywords that is copied then.
    message.key = kv.key
    message.create_revision = kv.create_revision
    message.mod_revision = kv.mod_revision
    message.version = kv.version
    message.value = kv.value
    if kv.lease:
        message.lease = kv.lease


def fill_range(response: pb.RangeResponse, result: RangeResult) -> None:
    """Everything but the header."""
    add = response.kvs.add
    for kv in result.kvs:
        _fill_kv(add(), kv)
    if result.more:
        response.more = True
    response.count = result.count


def fill_put(response: pb.PutResponse, result: PutResult) -> None:
    """Everything but the header."""
    if result.prev_kv is not None:
        response.prev_kv.CopyFrom(kv_message(result.prev_kv))


def fill_delete(response: pb.DeleteRangeResponse, result: DeleteResult) -> None:
    """Everything but the header."""
    response.deleted = result.deleted
    if result.prev_kvs:
        response.prev_kvs.extend(map(kv_message, result.prev_kvs))


def fill_txn(response: pb.TxnResponse, result: TxnResult) -> None:
    """Everything but the header. Within, headers have a revision only, and a nested transaction's not even
    that: as etcd answers."""
    response.succeeded = result.succeeded
    _fill_ops(response, result.responses)


def _fill_ops(response: pb.TxnResponse, results: Sequence[OpResult]) -> None:
    for result in results:
        op = response.responses.add()
        if isinstance(result, PutResult):
            op.response_put.header.revision = result.revision
            fill_put(op.response_put, result)
        elif isinstance(result, RangeResult):
            op.response_range.header.revision = result.revision
            fill_range(op.response_range, result)
        elif isinstance(result, DeleteResult):
            op.response_delete_range.header.revision = result.revision
            fill_delete(op.response_delete_range, result)
        elif isinstance(result, TxnResult):
            op.response_txn.header.SetInParent()
            fill_txn(op.response_txn, result)
