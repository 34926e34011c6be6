"""What is refused by looking at the request alone: etcd's limits, each with its own class."""

import pytest

from orchestra.mvcc.checks import (
    MAX_COMMAND_BYTES,
    MAX_DEPTH,
    MAX_LEASE_TTL_SECONDS,
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    check_command_size,
    check_lease_ttl,
    check_range,
    check_txn,
)
from orchestra.mvcc.commands import encode
from orchestra.mvcc.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidCompare,
    LeaseProvided,
    LeaseTtlTooLarge,
    RequestTooLarge,
    TooManyOperations,
    ValueProvided,
)
from orchestra.mvcc.model import Compare, DeleteRange, Op, Put, Range, Result, Target, Txn

A = Put(b"a", b"")


def nested(txn: Op, levels: int) -> Op:
    for _ in range(levels):
        txn = Txn((), (txn,))
    return txn


def puts(number: int, prefix: bytes = b"") -> tuple[Put, ...]:
    return tuple(Put(b"%s%d" % (prefix, n), b"") for n in range(number))


REFUSED: tuple[tuple[Txn, type[Exception]], ...] = (
    (Txn((), (Put(b"", b""),)), EmptyKey),
    (Txn((), (), (Range(b""),)), EmptyKey),
    (Txn((), (Txn((), (DeleteRange(b""),)),)), EmptyKey),
    (Txn((Compare(b"", Target.LEASE, Result.EQUAL, 0),)), EmptyKey),
    (Txn((Compare(b"a", Target.VALUE, Result.EQUAL, 0),)), InvalidCompare),
    (Txn((Compare(b"a", Target.LEASE, Result.EQUAL, b""),)), InvalidCompare),
    (Txn((), (Put(b"a", b"1", ignore_value=True),)), ValueProvided),
    (Txn((), (Txn((), (), (Put(b"a", b"1", ignore_value=True),)),)), ValueProvided),
    (Txn((), (Put(b"a", b"1", 7, ignore_lease=True),)), LeaseProvided),
    (Txn((), (A, A)), DuplicateKey),
    (Txn((), (A, DeleteRange(b"a", b"b"))), DuplicateKey),
    (Txn((), (DeleteRange(b"\0", b"\0"), A)), DuplicateKey),
    (Txn((), (Txn((), (A,)), Txn((), (), (A,)))), DuplicateKey),
    (Txn((), (Txn((), (DeleteRange(b"a"),)), Txn((), (A,)))), DuplicateKey),
    (Txn((), puts(MAX_OPERATIONS + 1)), TooManyOperations),
    (Txn((), (), puts(MAX_OPERATIONS + 1)), TooManyOperations),
    (Txn((Compare(b"a", Target.MOD, Result.EQUAL, 0),) * (MAX_OPERATIONS + 1)), TooManyOperations),
    # What is nested shares with what it is nested in.
    (Txn((), (*puts(64), Txn((), puts(64, b"n")))), TooManyOperations),
    (Txn((), (nested(A, MAX_DEPTH + 1),)), TooManyOperations),
    (Txn((), (Put(b"a", bytes(MAX_VALUE_BYTES + 1)),)), RequestTooLarge),
)


@pytest.mark.parametrize(
    ("txn", "error"), REFUSED, ids=[f"{n}-{error.__name__}" for n, (_, error) in enumerate(REFUSED)]
)
def test_refused(txn: Txn, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_txn(txn)


ALLOWED = (
    Txn(),
    Txn((), puts(MAX_OPERATIONS), puts(MAX_OPERATIONS)),
    Txn((), (*puts(63), Txn((), puts(64, b"n")))),
    Txn((), (nested(A, MAX_DEPTH),)),
    Txn((), (A,), (A,)),
    Txn((), (Txn((), (A,), (A,)),)),
    Txn((), (DeleteRange(b"a", b"b"), Put(b"b", b""))),
    Txn((), (DeleteRange(b"a"), DeleteRange(b"a"), Range(b"a"))),
    Txn((), (Put(b"a", b"", ignore_value=True, ignore_lease=True),)),
    Txn((), (Put(b"a", bytes(MAX_VALUE_BYTES)),)),
)


@pytest.mark.parametrize("txn", ALLOWED, ids=range(len(ALLOWED)))
def test_allowed(txn: Txn) -> None:
    check_txn(txn)
    check_command_size(encode(txn))


def test_ranges_have_a_key() -> None:
    check_range(Range(b"\0", b"\0"))
    with pytest.raises(EmptyKey):
        check_range(Range(b"", b"a"))


def test_a_whole_request_is_bounded() -> None:
    check_command_size(bytes(MAX_COMMAND_BYTES))
    with pytest.raises(RequestTooLarge):
        check_command_size(encode(Txn((), (Put(b"a", bytes(800_000)), Put(b"b", bytes(800_000))))))


def test_a_lease_may_be_short_but_not_endless() -> None:
    for seconds in (-1, 0, MAX_LEASE_TTL_SECONDS):
        check_lease_ttl(seconds)
    with pytest.raises(LeaseTtlTooLarge):
        check_lease_ttl(MAX_LEASE_TTL_SECONDS + 1)
