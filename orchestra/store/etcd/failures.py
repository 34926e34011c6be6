"""What etcd's errors mean: a refusal, a full disk, or a store that cannot be reached; and whether the request
was certainly not done.

Source: etcd 3.4, etcdserver/api/v3rpc/rpctypes/error.go. etcd tells errors apart by their sentence only.
"""

from collections.abc import Callable, Iterable, Mapping

import grpc
import grpc.aio

from orchestra.aio.rpc.status import plain_cause
from orchestra.mvcc.errors import (
    Compacted,
    Corrupt,
    DuplicateKey,
    EmptyKey,
    FutureRevision,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    LeaseTtlTooLarge,
    Refused,
    RequestTooLarge,
    TooManyOperations,
)
from orchestra.mvcc.model import Op, Put, Range, Txn
from orchestra.store.contract import NoSpace, StoreUnavailable

COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE_REVISION = "etcdserver: mvcc: required revision is a future revision"
LEASE_NOT_FOUND = "etcdserver: requested lease not found"
LEASE_EXISTS = "etcdserver: lease already exists"

_REFUSALS: Mapping[str, Callable[[str], Refused]] = {
    "etcdserver: key is not provided": lambda _: EmptyKey(),
    "etcdserver: duplicate key given in txn request": lambda _: DuplicateKey(b""),
    "etcdserver: too many operations in txn request": TooManyOperations,
    "etcdserver: request is too large": RequestTooLarge,
    "etcdserver: too large lease TTL": LeaseTtlTooLarge,
    "etcdserver: key not found": lambda _: KeyNotFound(b""),
    "etcdserver: corrupt cluster": lambda _: Corrupt(),
    # Without what etcd leaves out.
    COMPACTED: lambda _: Compacted(0),
    FUTURE_REVISION: lambda _: FutureRevision(0, 0),
    LEASE_NOT_FOUND: lambda _: LeaseNotFound(0),
    LEASE_EXISTS: lambda _: LeaseExists(0),
}
_NO_SPACE = "etcdserver: mvcc: database space exceeded"
# Refused before anything was proposed.
_NOT_PROPOSED = frozenset({"etcdserver: no leader", "etcdserver: too many requests"})
# How gRPC's C core words a call that found no connection to be sent on; it has no code for that.
_NOT_CONNECTED = ("failed to connect", "dns resolution failed", "domain name not found")
_TOO_LARGE = "larger than max"
# etcd itself answers so when its cluster is not able to; so does gRPC when the connection goes.
_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DATA_LOSS,
    }
)


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC here refused a message for its size."""
    return (
        error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or "").lower()
    )


def not_done(error: grpc.aio.AioRpcError) -> bool:
    """Whether the request certainly had and will have no effect, so that it may be sent again."""
    details = error.details() or ""
    if details in _NOT_PROPOSED:
        return True
    return error.code() == grpc.StatusCode.UNAVAILABLE and any(
        word in details.lower() for word in _NOT_CONNECTED
    )


def is_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether another member, or the same one later, may answer."""
    return error.code() in _AWAY or (error.details() or "") in _NOT_PROPOSED


def store_error(error: grpc.aio.AioRpcError, address: str, asked: Txn | Range | None = None) -> Exception:
    """The Store's error for etcd's. asked: where the revision or lease that is refused is looked for."""
    details = error.details() or ""
    made = _REFUSALS.get(details)
    if made is not None:
        return _named(made(details), asked)
    if details == _NO_SPACE:
        return NoSpace(
            f"etcd at {address} has used up its quota: compact and defragment it, then disarm its alarm"
        )
    if is_too_large(error):
        return RequestTooLarge(f"request or answer is too large for etcd at {address}: {details}")
    if is_away(error):
        unknown = "" if not_done(error) else "; whether a write took effect is not known"
        return StoreUnavailable(f"etcd at {address} does not answer: {_sentence(error)}{unknown}")
    return Refused(f"etcd at {address} refuses: {_sentence(error)}")


def _sentence(error: grpc.aio.AioRpcError) -> str:
    said = error.details() or ""
    return said if said.startswith("etcdserver") else plain_cause(error)


def _named(refusal: Refused, asked: Txn | Range | None) -> Refused:
    """The refusal, with the first lease or key in the request that it can be about."""
    puts = [op for op in _flat([asked] if asked is not None else []) if isinstance(op, Put)]
    if isinstance(refusal, LeaseNotFound):
        return LeaseNotFound(next((put.lease for put in puts if put.lease), 0))
    if isinstance(refusal, KeyNotFound):
        return KeyNotFound(next((put.key for put in puts if put.ignore_value or put.ignore_lease), b""))
    return refusal


def asked_revision(asked: Txn | Range) -> int:
    """The newest revision that a request reads at; 0 for the newest there is."""
    return max((op.revision for op in _flat([asked]) if isinstance(op, Range)), default=0)


def _flat(ops: Iterable[Op]) -> Iterable[Op]:
    for op in ops:
        if isinstance(op, Txn):
            yield from _flat(op.success)
            yield from _flat(op.failure)
        else:
            yield op
