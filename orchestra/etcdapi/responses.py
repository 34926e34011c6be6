"""The store's results as etcd's responses."""

from collections.abc import Sequence

from orchestra.mvcc.model import DeleteResult, KeyValue, OpResult, PutResult, RangeResult, TxnResult
from orchestra.pb import etcd_kv_pb2 as kv_pb
from orchestra.pb import etcd_rpc_pb2 as pb


def kv_message(kv: KeyValue) -> kv_pb.KeyValue:
    """A key as etcd's message."""
    return kv_pb.KeyValue(
        key=kv.key,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        value=kv.value,
        lease=kv.lease,
    )


def fill_range(response: pb.RangeResponse, result: RangeResult) -> None:
    """Everything but the header."""
    if result.kvs:
        response.kvs.extend(map(kv_message, result.kvs))
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
