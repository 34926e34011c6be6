"""What may be refused by looking at a request alone, before it costs a log entry.

Bounds: MAX_OPERATIONS operations in a branch, and comparisons, of a transaction with what is nested in it
along the widest way down, nested at most MAX_DEPTH deep; MAX_COMMAND_BYTES the whole, which leaves
MAX_VALUE_BYTES for a value beside a key of usual length.
Source: etcd's checks (server/etcdserver/api/v3rpc/key.go), its rule for overlapping writes included, and its
default limits.
"""

from collections.abc import Sequence

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
from orchestra.mvcc.keyindex import in_range
from orchestra.mvcc.model import Compare, DeleteRange, Op, Put, Range, Target, Txn

MAX_OPERATIONS = 128
MAX_DEPTH = 16
MAX_COMMAND_BYTES = 1536 * 1024
MAX_VALUE_BYTES = MAX_COMMAND_BYTES - 4 * 1024
MAX_LEASE_TTL_SECONDS = 9_000_000_000


def check_txn(txn: Txn) -> None:
    """Raises: EmptyKey, RequestTooLarge, TooManyOperations, DuplicateKey, InvalidCompare, ValueProvided,
    LeaseProvided.
    """
    _check_operations(txn, MAX_OPERATIONS, 0)
    for branch in (txn.success, txn.failure):
        if len(branch) > 1 or (branch and type(branch[0]) is Txn):
            _check_overlaps(branch)


def check_range(request: Range) -> None:
    """Raises: EmptyKey."""
    if not request.key:
        raise EmptyKey


def check_lease_ttl(ttl_seconds: int) -> None:
    """Raises: LeaseTtlTooLarge. One that is too small is no error: the machine gives the least there is."""
    if ttl_seconds > MAX_LEASE_TTL_SECONDS:
        raise LeaseTtlTooLarge(f"too large lease TTL: {ttl_seconds} seconds, at most {MAX_LEASE_TTL_SECONDS}")


def check_command_size(command: bytes) -> None:
    """Raises: RequestTooLarge, for a command as it would be written to the log."""
    if len(command) > MAX_COMMAND_BYTES:
        raise RequestTooLarge(f"request is too large: {len(command)} bytes, at most {MAX_COMMAND_BYTES}")


def _check_operations(txn: Txn, allowed: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TooManyOperations(f"too many operations in txn request: at most {MAX_DEPTH} levels deep")
    widest = max(len(txn.compare), len(txn.success), len(txn.failure))
    if widest > allowed:
        raise TooManyOperations(
            f"too many operations in txn request: at most {MAX_OPERATIONS}, those nested in it included"
        )
    for compare in txn.compare:
        _check_compare(compare)
    for branch in (txn.success, txn.failure):
        for op in branch:
            if type(op) is Put:
                if not op.key:
                    raise EmptyKey
                if len(op.value) > MAX_VALUE_BYTES:
                    raise RequestTooLarge(
                        f"request is too large: {len(op.value)} bytes in the value of {op.key!r}, "
                        f"at most {MAX_VALUE_BYTES}"
                    )
                if op.ignore_value and op.value:
                    raise ValueProvided(op.key)
                if op.ignore_lease and op.lease:
                    raise LeaseProvided(op.key)
            elif isinstance(op, Txn):
                _check_operations(op, allowed - widest, depth + 1)
            elif not op.key:
                raise EmptyKey


def _check_compare(compare: Compare) -> None:
    if not compare.key:
        raise EmptyKey
    if isinstance(compare.value, bytes) != (compare.target == Target.VALUE):
        raise InvalidCompare(
            f"{compare.target.name.lower()} of {compare.key!r} cannot be compared with {compare.value!r}"
        )


def _check_overlaps(ops: Sequence[Op]) -> tuple[set[bytes], list[DeleteRange]]:
    """The keys put and the ranges deleted, having checked that no key is put twice or put and deleted."""
    deletes = [op for op in ops if type(op) is DeleteRange]
    puts: set[bytes] = set()
    for op in ops:
        if type(op) is not Txn:
            continue
        then_puts, then_deletes = _check_overlaps(op.success)
        else_puts, else_deletes = _check_overlaps(op.failure)
        for key in sorted(then_puts | else_puts):
            _check_put(key, puts, deletes)
        puts |= then_puts | else_puts
        deletes += then_deletes + else_deletes
    for op in ops:
        if type(op) is Put:
            key = op.key
            if key in puts or deletes:
                _check_put(key, puts, deletes)
            puts.add(key)
    return puts, deletes


def _check_put(key: bytes, puts: set[bytes], deletes: Sequence[DeleteRange]) -> None:
    if key in puts or any(in_range(key, delete.key, delete.range_end) for delete in deletes):
        raise DuplicateKey(key)
