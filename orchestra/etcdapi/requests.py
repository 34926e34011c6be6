"""etcd's requests as the store's, refused in etcd's order where etcd refuses by looking at them alone.

Source: etcd's server/etcdserver/api/v3rpc/key.go.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from orchestra.etcdapi.errors import (
    EMPTY_KEY,
    INVALID_SORT_OPTION,
    KEY_NOT_FOUND,
    LEASE_PROVIDED,
    REQUEST_TOO_LARGE,
    TOO_MANY_OPS,
    UNREADABLE,
    VALUE_PROVIDED,
    EtcdError,
    Said,
)
from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    Op,
    Put,
    Range,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
)
from orchestra.pb import etcd_rpc_pb2 as pb

# etcd's defaults: --max-txn-ops and --max-request-bytes.
TXN_OPERATIONS_MAX: Final = 128
REQUEST_BYTES_MAX: Final = 1536 * 1024

M = TypeVar("M", bound=Message)

_ORDERS: Final = tuple(SortOrder)
_SORT_TARGETS: Final = tuple(SortTarget)
_TARGETS: Final = tuple(Target)
_RESULTS: Final = tuple(Result)


def decoded(message: type[M], encoded: bytes) -> M:
    """A request as it came over the wire. Raises: EtcdError."""
    try:
        return message.FromString(encoded)
    except DecodeError as error:
        raise EtcdError(UNREADABLE) from error


def check_size(encoded: bytes) -> None:
    """Raises: EtcdError for a write larger than etcd takes."""
    if len(encoded) > REQUEST_BYTES_MAX:
        raise EtcdError(REQUEST_TOO_LARGE)


def range_of(request: pb.RangeRequest) -> Range:
    """Raises: EtcdError."""
    if not request.key:
        raise EtcdError(EMPTY_KEY)
    order, target = request.sort_order, request.sort_target
    if not (0 <= order < len(_ORDERS) and 0 <= target < len(_SORT_TARGETS)):
        raise EtcdError(INVALID_SORT_OPTION)
    return Range(
        request.key,
        request.range_end,
        request.limit,
        request.revision,
        request.keys_only,
        request.count_only,
        request.serializable,
        _ORDERS[order],
        _SORT_TARGETS[target],
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    )


def put_of(request: pb.PutRequest) -> Put:
    """Raises: EtcdError."""
    if not request.key:
        raise EtcdError(EMPTY_KEY)
    if request.ignore_value and request.value:
        raise EtcdError(VALUE_PROVIDED)
    if request.ignore_lease and request.lease:
        raise EtcdError(LEASE_PROVIDED)
    return Put(
        request.key,
        request.value,
        request.lease,
        request.prev_kv,
        request.ignore_value,
        request.ignore_lease,
    )


def delete_of(request: pb.DeleteRangeRequest) -> DeleteRange:
    """Raises: EtcdError."""
    if not request.key:
        raise EtcdError(EMPTY_KEY)
    return DeleteRange(request.key, request.range_end, request.prev_kv)


def txn_of(request: pb.TxnRequest, operations_max: int = TXN_OPERATIONS_MAX) -> Txn:
    """Raises: EtcdError."""
    most = max(len(request.compare), len(request.success), len(request.failure))
    if most > operations_max:
        raise EtcdError(TOO_MANY_OPS)
    left = operations_max - most
    return Txn(
        [_compare_of(compare) for compare in request.compare],
        _ops_of(request.success, left),
        _ops_of(request.failure, left),
    )


def _ops_of(requests: Sequence[pb.RequestOp], operations_max: int) -> list[Op]:
    ops: list[Op] = []
    for request in requests:
        which = request.WhichOneof("request")
        if which == "request_put":
            put = request.request_put
            key = put.key
            # Spelled out for the usual one: large transactions are made of them.
            if not key or put.ignore_value or put.ignore_lease:
                ops.append(put_of(put))
            else:
                ops.append(Put(key, put.value, put.lease, put.prev_kv))
        elif which == "request_range":
            ops.append(range_of(request.request_range))
        elif which == "request_delete_range":
            ops.append(delete_of(request.request_delete_range))
        elif which == "request_txn":
            ops.append(txn_of(request.request_txn, operations_max))
        else:
            raise EtcdError(KEY_NOT_FOUND)
    return ops


def _compare_of(request: pb.Compare) -> Compare:
    """What the comparison is with is looked for where its target is: anything else said counts as nothing."""
    if not request.key:
        raise EtcdError(EMPTY_KEY)
    if not (0 <= request.target < len(_TARGETS) and 0 <= request.result < len(_RESULTS)):
        raise EtcdError(Said(EMPTY_KEY.code, "etcdserver: invalid comparison"))
    target = _TARGETS[request.target]
    value: int | bytes
    if target is Target.MOD:
        value = request.mod_revision
    elif target is Target.CREATE:
        value = request.create_revision
    elif target is Target.VERSION:
        value = request.version
    elif target is Target.VALUE:
        value = request.value
    else:
        value = request.lease
    return Compare(request.key, target, _RESULTS[request.result], value, request.range_end)
