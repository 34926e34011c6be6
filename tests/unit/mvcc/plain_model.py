"""A model of the machine so simple that it is plainly right: a copy of everything at every revision."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestra.mvcc.errors import (
    Compacted,
    FutureRevision,
    KeyNotFound,
    LeaseNotFound,
    SpaceExceeded,
)
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
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
)

State = dict[bytes, KeyValue]


@dataclass
class Model:
    """Every state there was, by revision."""

    states: list[State]
    events: list[Event]
    compacted: int
    leases: set[int]
    nospace: bool = False

    @property
    def revision(self) -> int:
        return len(self.states)

    def at(self, revision: int) -> State:
        return self.states[revision - 1]


def inside(key: bytes, start: bytes, end: bytes) -> bool:
    if end == b"":
        return key == start
    return key >= start and (end == b"\0" or key < end)


def holds(state: State, compare: Compare) -> bool:
    fields: dict[Target, Callable[[KeyValue], int | bytes]] = {
        Target.VERSION: lambda kv: kv.version,
        Target.CREATE: lambda kv: kv.create_revision,
        Target.MOD: lambda kv: kv.mod_revision,
        Target.VALUE: lambda kv: kv.value,
        Target.LEASE: lambda kv: kv.lease,
    }
    found = [kv for kv in state.values() if inside(kv.key, compare.key, compare.range_end)]
    if not found and compare.target == Target.VALUE:
        return False
    seen = [fields[compare.target](kv) for kv in found] or [0]
    match compare.result:
        case Result.EQUAL:
            return all(value == compare.value for value in seen)
        case Result.NOT_EQUAL:
            return all(value != compare.value for value in seen)
        case Result.GREATER:
            return all(value > compare.value for value in seen)  # type: ignore[operator]
        case Result.LESS:
            return all(value < compare.value for value in seen)  # type: ignore[operator]


class Transaction:
    """One command done on a copy of the newest state."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.before = dict(model.states[-1])
        self.state = dict(self.before)
        self.events: list[Event] = []

    @property
    def now(self) -> int:
        return self.model.revision + bool(self.events)

    def check(self, txn: Txn) -> None:
        if self.model.nospace and puts_anything(txn):
            raise SpaceExceeded
        done = list(self.done(txn))
        for op in done:
            if isinstance(op, Put):
                if (op.ignore_value or op.ignore_lease) and op.key not in self.before:
                    raise KeyNotFound(op.key)
                if op.lease and op.lease not in self.model.leases:
                    raise LeaseNotFound(op.lease)
        for op in done:
            if isinstance(op, Range):
                check_revision(self.model, op.revision)

    def done(self, txn: Txn) -> Iterator[Op]:
        """Every operation that will be done, however deep."""
        for op in self.branch(txn):
            if isinstance(op, Txn):
                yield from self.done(op)
            else:
                yield op

    def branch(self, txn: Txn) -> Sequence[Op]:
        return txn.success if all(holds(self.before, compare) for compare in txn.compare) else txn.failure

    def run(self, txn: Txn) -> TxnResult:
        succeeded = all(holds(self.before, compare) for compare in txn.compare)
        responses = [self.do(op) for op in self.branch(txn)]
        return TxnResult(self.now, succeeded, responses)

    def do(self, op: Op) -> OpResult:
        match op:
            case Range():
                return read(self.model, op, self.state, self.now)
            case Put():
                old = self.state.get(op.key)
                revision = self.model.revision + 1
                created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
                value = old.value if old and op.ignore_value else op.value
                lease = old.lease if old and op.ignore_lease else op.lease
                kv = KeyValue(op.key, value, created, revision, version, lease)
                self.state[op.key] = kv
                self.events.append(Event(EventType.PUT, kv, old))
                return PutResult(revision, old if op.prev_kv else None)
            case DeleteRange():
                gone = sorted(
                    (kv for kv in self.state.values() if inside(kv.key, op.key, op.range_end)),
                    key=lambda kv: kv.key,
                )
                for kv in gone:
                    self.delete(kv)
                return DeleteResult(self.now, len(gone), gone if op.prev_kv else ())
            case Txn():
                return self.run(op)

    def delete(self, kv: KeyValue) -> None:
        del self.state[kv.key]
        tombstone = KeyValue(kv.key, b"", 0, self.model.revision + 1, 0)
        self.events.append(Event(EventType.DELETE, tombstone, kv))

    def commit(self) -> None:
        if self.events:
            self.model.states.append(self.state)
            self.model.events += self.events


def puts_anything(txn: Txn) -> bool:
    return any(
        puts_anything(op) if isinstance(op, Txn) else isinstance(op, Put)
        for op in (*txn.success, *txn.failure)
    )


def check_revision(model: Model, revision: int) -> None:
    if revision > model.revision:
        raise FutureRevision(revision, model.revision)
    if 0 < revision < model.compacted:
        raise Compacted(model.compacted)


def read(model: Model, request: Range, state: State, now: int) -> RangeResult:
    if request.revision and request.revision < now:
        state = model.at(request.revision)
    kvs = sorted(
        (kv for kv in state.values() if inside(kv.key, request.key, request.range_end)), key=lambda kv: kv.key
    )
    count = len(kvs)
    if request.count_only:
        return RangeResult(now, (), count)
    bounds = (
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
    if request.sort_order == SortOrder.NONE and request.limit and not any(bounds):
        kvs = kvs[: request.limit + 1]
    kvs = [
        kv
        for kv in kvs
        if request.min_mod_revision <= kv.mod_revision <= (request.max_mod_revision or 10**9)
        and request.min_create_revision <= kv.create_revision <= (request.max_create_revision or 10**9)
    ]
    targets: dict[SortTarget, Callable[[KeyValue], Any]] = {
        SortTarget.KEY: lambda kv: kv.key,
        SortTarget.VERSION: lambda kv: kv.version,
        SortTarget.CREATE: lambda kv: kv.create_revision,
        SortTarget.MOD: lambda kv: kv.mod_revision,
        SortTarget.VALUE: lambda kv: kv.value,
    }
    kvs.sort(key=targets[request.sort_target], reverse=request.sort_order == SortOrder.DESCEND)
    more = 0 < request.limit < len(kvs)
    if more:
        kvs = kvs[: request.limit]
    if request.keys_only:
        kvs = [replace(kv, value=b"") for kv in kvs]
    return RangeResult(now, kvs, count, more)
