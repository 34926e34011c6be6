"""What etcd's errors mean."""

import grpc
import grpc.aio
import pytest

from orchestra.mvcc.errors import (
    Compacted,
    FutureRevision,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    Refused,
    RequestTooLarge,
    TooManyOperations,
)
from orchestra.mvcc.model import Put, Range, Txn
from orchestra.store.contract import NoSpace, StoreUnavailable
from orchestra.store.etcd.failures import asked_revision, is_away, not_done, store_error

Code = grpc.StatusCode


def error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


MEANT = (
    (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
    (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", FutureRevision),
    (Code.NOT_FOUND, "etcdserver: requested lease not found", LeaseNotFound),
    (Code.FAILED_PRECONDITION, "etcdserver: lease already exists", LeaseExists),
    (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", TooManyOperations),
    (Code.INVALID_ARGUMENT, "etcdserver: request is too large", RequestTooLarge),
    (Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max (5 vs. 4)", RequestTooLarge),
    (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", NoSpace),
    (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", StoreUnavailable),
    (Code.UNAVAILABLE, "etcdserver: no leader", StoreUnavailable),
    (
        Code.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to previous leader failure",
        StoreUnavailable,
    ),
    (Code.UNAVAILABLE, "failed to connect to all addresses", StoreUnavailable),
    (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", StoreUnavailable),
    (Code.PERMISSION_DENIED, "etcdserver: permission denied", Refused),
    (Code.UNIMPLEMENTED, "unknown service", Refused),
)


@pytest.mark.parametrize(("code", "details", "meant"), MEANT)
def test_each_is_the_stores_own(code: grpc.StatusCode, details: str, meant: type[Exception]) -> None:
    made = store_error(error(code, details), "e1:2379")
    assert type(made) is meant


@pytest.mark.parametrize(
    ("code", "details", "again"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader", True),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", True),
        (Code.UNAVAILABLE, "failed to connect to all addresses; last error: refused", True),
        (Code.UNAVAILABLE, "Socket closed", False),
        (Code.UNAVAILABLE, "etcdserver: request timed out", False),
        (Code.UNAVAILABLE, "etcdserver: server stopped", False),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", False),
    ],
)
def test_a_write_is_sent_again_only_when_it_was_not_done(
    code: grpc.StatusCode, details: str, again: bool
) -> None:
    failure = error(code, details)
    assert is_away(failure)
    assert not_done(failure) is again
    assert ("is not known" in str(store_error(failure, "e1:2379"))) is not again


def test_a_refusal_says_what_it_is_about() -> None:
    asked = Txn((), (Put(b"a", b""), Txn((), (Put(b"b", b"", lease=7), Range(b"c", revision=9)))))
    missing = store_error(error(Code.NOT_FOUND, "etcdserver: requested lease not found"), "e1:2379", asked)
    assert isinstance(missing, LeaseNotFound)
    assert missing.lease == 7
    kept = Txn((), (Put(b"b", b"", ignore_value=True),))
    nothing = store_error(error(Code.INVALID_ARGUMENT, "etcdserver: key not found"), "e1:2379", kept)
    assert isinstance(nothing, KeyNotFound)
    assert "b'b'" in str(nothing)
    assert asked_revision(asked) == 9
    assert asked_revision(Txn()) == 0
