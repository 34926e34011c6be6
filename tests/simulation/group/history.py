"""What clients asked and were answered, and whether a strict serial order explains it.

Every answer carries the revision it was given at, so the order is not searched for but checked: the record
of committed entries is the order, and each answer has to be what that order gives at that revision, no
earlier than anything that had been answered before it was asked. (Strict serializability: etcd's API
guarantees, KV.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import eq, gt, lt, ne

from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    DeleteResult,
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
from tests.simulation.group.record import Record, Violation

_HOLDS = (eq, gt, lt, ne)


@dataclass(slots=True)
class Call:
    """One call of a client. returned None: no answer, or one that leaves open whether it was done."""

    client: str
    request: Txn | Range
    invoked: float
    returned: float | None = None
    result: TxnResult | RangeResult | None = None
    refused: str = ""
    # The answer said that it was certainly not done.
    void: bool = False


@dataclass(slots=True)
class History:
    """All calls of a world."""

    calls: list[Call] = field(default_factory=list)

    def begin(self, client: str, request: Txn | Range, now: float) -> Call:
        """A call is made."""
        call = Call(client, request, now)
        self.calls.append(call)
        return call

    def check(self, record: Record) -> None:
        """Raises: Violation."""
        writes = _writes_by_value(record)
        for call in self.calls:
            self._check_answer(call, record, writes)
        self._check_order(record)

    def _check_answer(self, call: Call, record: Record, writes: dict[bytes, list[int]]) -> None:
        result = call.result
        if isinstance(result, RangeResult):
            assert isinstance(call.request, Range)
            _check_range(call, call.request, result, record, result.revision)
        elif isinstance(result, TxnResult):
            assert isinstance(call.request, Txn)
            _check_txn(call, result, record)
        for value in _values(call.request):
            found = writes.get(value, [])
            if len(found) > 1:
                raise Violation(f"{call}: was done more than once, at revisions {found}")
            if found and call.void:
                raise Violation(f"{call}: was said not to be done and was done at {found}")

    def _check_order(self, record: Record) -> None:
        """Real time: what is answered before another is asked stands before it."""
        answered = sorted(
            (call for call in self.calls if call.returned is not None and call.result is not None),
            key=lambda call: call.returned or 0.0,
        )
        asked = sorted((call for call in answered if not _is_stale_read(call)), key=lambda call: call.invoked)
        newest, newest_call, at = 0, None, 0
        for call in asked:
            while at < len(answered) and (answered[at].returned or 0.0) < call.invoked:
                done = answered[at]
                assert done.result is not None
                if done.result.revision > newest:
                    newest, newest_call = done.result.revision, done
                at += 1
            assert call.result is not None
            if call.result.revision < newest:
                raise Violation(f"{call}: answered from the past; {newest_call} had been answered before")


def _is_stale_read(call: Call) -> bool:
    return isinstance(call.request, Range) and call.request.serializable


def _writes_by_value(record: Record) -> dict[bytes, list[int]]:
    writes: dict[bytes, list[int]] = {}
    for revision, events in record.events.items():
        for event in events:
            if event.kv.version:
                writes.setdefault(event.kv.value, []).append(revision)
    return writes


def _values(request: Txn | Range) -> list[bytes]:
    if isinstance(request, Range):
        return []
    return [op.value for branch in (request.success, request.failure) for op in branch if isinstance(op, Put)]


def _check_range(call: Call, ask: Range, got: RangeResult, record: Record, now: int) -> None:
    revision = ask.revision or now
    want = record.range(ask.key, ask.range_end, revision)
    if got.count != len(want):
        raise Violation(f"{call}: counts {got.count} keys where there were {len(want)} at {revision}")
    if ask.count_only:
        return
    limited = want[: ask.limit] if ask.limit else want
    if list(map(_plain, got.kvs)) != list(map(_plain, limited)):
        raise Violation(f"{call}: read {got.kvs} where there was {limited} at {revision}")


def _plain(kv: KeyValue) -> tuple[bytes, bytes, int, int, int, int]:
    return (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def _check_txn(call: Call, got: TxnResult, record: Record) -> None:
    txn = call.request
    assert isinstance(txn, Txn)
    wrote = _wrote(got)
    before = got.revision - 1 if wrote else got.revision
    holds = all(_holds(compare, record, before) for compare in txn.compare)
    if holds != got.succeeded:
        raise Violation(f"{call}: its comparisons were {holds} at {before}")
    branch: Sequence[Op] = txn.success if holds else txn.failure
    if len(branch) != len(got.responses):
        raise Violation(f"{call}: {len(got.responses)} responses to {len(branch)} operations")
    if wrote and got.revision not in record.events:
        raise Violation(f"{call}: answered as written at {got.revision}, and nothing was")
    for op, response in zip(branch, got.responses, strict=True):
        _check_op(call, op, response, record, got.revision)


def _wrote(got: TxnResult) -> bool:
    return any(
        isinstance(each, PutResult) or (isinstance(each, DeleteResult) and each.deleted)
        for each in got.responses
    )


def _check_op(call: Call, op: Op, response: OpResult, record: Record, revision: int) -> None:
    if isinstance(op, Put):
        found = record.at(op.key, revision)
        if found is None or found.value != op.value or found.mod_revision != revision:
            raise Violation(f"{call}: {op} was answered at {revision}, where {op.key!r} is {found}")
        if op.prev_kv:
            assert isinstance(response, PutResult)
            before = record.at(op.key, revision - 1)
            if response.prev_kv != before:
                raise Violation(f"{call}: replaced {response.prev_kv}, and there was {before}")
    elif isinstance(op, DeleteRange):
        assert isinstance(response, DeleteResult)
        if response.deleted:
            want = record.range(op.key, op.range_end, revision - 1)
            if len(want) != response.deleted or record.range(op.key, op.range_end, revision):
                raise Violation(f"{call}: deleted {response.deleted} where there were {want}")


def _holds(compare: Compare, record: Record, revision: int) -> bool:
    found = record.at(compare.key, revision)
    if found is None:
        return compare.target != Target.VALUE and bool(_HOLDS[compare.result](0, compare.value))
    value = (found.version, found.create_revision, found.mod_revision, found.value, found.lease)[
        compare.target
    ]
    return bool(_HOLDS[compare.result](value, compare.value))
