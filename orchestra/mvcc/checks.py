"""What may be refused by looking at a request alone, before it costs a log entry.

Bounds: MAX_OPERATIONS operations and comparisons in a transaction with everything nested in it, nested at
most MAX_DEPTH deep; MAX_VALUE_BYTES a value; MAX_KEY_BYTES a key; MAX_COMMAND_BYTES the whole.
Source: etcd's checks (server/etcdserver/api/v3rpc/key.go), its rule for overlapping writes included.
"""

from collections.abc import Sequence

from orchestra.mvcc.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidCompare,
    LeaseTtlTooLarge,
    RequestTooLarge,
    TooManyOperations,
)
from orchestra.mvcc.keyindex import in_range
from orchestra.mvcc.model import DeleteRange, Op, Put, Range, Target, Txn

MAX_OPERATIONS = 512
MAX_DEPTH = 16
MAX_KEY_BYTES = 64 * 1024
MAX_VALUE_BYTES = 1536 * 1024
MAX_COMMAND_BYTES = 16 * 1024 * 1024
MAX_LEASE_TTL_SECONDS = 9_000_000_000


def check_txn(txn: Txn) -> None:
    """Raises: EmptyKey, RequestTooLarge, TooManyOperations, DuplicateKey, InvalidCompare."""
    if _check_operations(txn, 0) > 1:
        for branch in (txn.success, txn.failure):
            if len(branch) > 1 or any(isinstance(op, Txn) for op in branch):
                _check_overlaps(branch)


def check_range(request: Range) -> None:
    """Raises: EmptyKey."""
    if not request.key:
        raise EmptyKey


def check_lease_ttl(ttl_seconds: int) -> None:
    """Raises: LeaseTtlTooLarge."""
    if not 0 < ttl_seconds <= MAX_LEASE_TTL_SECONDS:
        raise LeaseTtlTooLarge(
            f"lease TTL must be between 1 and {MAX_LEASE_TTL_SECONDS} seconds, not {ttl_seconds}"
        )


def _check_operations(txn: Txn, depth: int) -> int:
    """The number of operations and comparisons in all."""
    if depth > MAX_DEPTH:
        raise TooManyOperations(f"too deeply nested txn request: at most {MAX_DEPTH} levels")
    total = len(txn.compare) + len(txn.success) + len(txn.failure)
    for compare in txn.compare:
        _check_key(compare.key)
        if isinstance(compare.value, bytes) != (compare.target == Target.VALUE):
            raise InvalidCompare(
                f"{compare.target.name.lower()} of {compare.key!r} cannot be compared with {compare.value!r}"
            )
    for branch in (txn.success, txn.failure):
        for op in branch:
            if isinstance(op, Txn):
                total += _check_operations(op, depth + 1)
                continue
            _check_key(op.key)
            if isinstance(op, Put) and len(op.value) > MAX_VALUE_BYTES:
                raise RequestTooLarge(
                    f"value of {op.key!r} is too large: {len(op.value)} bytes, at most {MAX_VALUE_BYTES}"
                )
    if total > MAX_OPERATIONS:
        raise TooManyOperations(
            f"too many operations in txn request: at most {MAX_OPERATIONS}, comparisons included"
        )
    return total


def _check_key(key: bytes) -> None:
    if not key:
        raise EmptyKey
    if len(key) > MAX_KEY_BYTES:
        raise RequestTooLarge(f"key is too large: {len(key)} bytes, at most {MAX_KEY_BYTES}")


def _check_overlaps(ops: Sequence[Op]) -> tuple[set[bytes], list[DeleteRange]]:
    """The keys put and the ranges deleted, having checked that no key is put twice or put and deleted."""
    deletes = [op for op in ops if isinstance(op, DeleteRange)]
    puts: set[bytes] = set()
    for op in ops:
        if not isinstance(op, Txn):
            continue
        then_puts, then_deletes = _check_overlaps(op.success)
        else_puts, else_deletes = _check_overlaps(op.failure)
        for key in sorted(then_puts | else_puts):
            _check_put(key, puts, deletes)
        puts |= then_puts | else_puts
        deletes += then_deletes + else_deletes
    for op in ops:
        if isinstance(op, Put):
            _check_put(op.key, puts, deletes)
            puts.add(op.key)
    return puts, deletes


def _check_put(key: bytes, puts: set[bytes], deletes: Sequence[DeleteRange]) -> None:
    if key in puts or any(in_range(key, delete.key, delete.range_end) for delete in deletes):
        raise DuplicateKey(key)
