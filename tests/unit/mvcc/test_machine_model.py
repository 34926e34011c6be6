"""The machine against a model so simple that it is plainly right: a copy of everything at every revision."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestra.mvcc import history
from orchestra.mvcc.checks import check_txn
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseExpire,
    LeaseGrant,
    LeaseRevoke,
    encode,
)
from orchestra.mvcc.errors import (
    Compacted,
    DuplicateKey,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
    Refused,
    SpaceExceeded,
)
from orchestra.mvcc.hashing import hash_kv
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import (
    AlarmMember,
    AlarmType,
    Compare,
    DeleteRange,
    DeleteResult,
    Event,
    Put,
    Range,
    RangeResult,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
)
from orchestra.mvcc.snapshot import restore, snapshot, state_hash
from tests.unit.mvcc.plain_model import Model, Transaction, check_revision, inside, read

KEYS = st.sampled_from([b"a", b"a/1", b"a/2", b"a/3", b"b", b"b/\xff", b"b/\xff\xff", b"c"])
ENDS = st.sampled_from([b"", b"", b"\0", b"a0", b"b", b"c", b"\xff"])
VALUES = st.binary(max_size=3)
REVISIONS = st.integers(0, 40)
BOUNDS = st.sampled_from([0, 0, 0, 2, 4, 8])
RANGES = st.builds(
    Range,
    KEYS,
    ENDS,
    st.integers(0, 3),
    st.just(0) | REVISIONS,
    st.booleans(),
    st.sampled_from([False, False, True]),
    st.booleans(),
    st.sampled_from(SortOrder),
    st.sampled_from(SortTarget),
    BOUNDS,
    BOUNDS,
    BOUNDS,
    BOUNDS,
)
NUMBER_COMPARES = st.builds(
    Compare,
    KEYS,
    st.sampled_from([Target.VERSION, Target.CREATE, Target.MOD, Target.LEASE]),
    st.sampled_from(Result),
    st.integers(0, 20),
    ENDS,
)
VALUE_COMPARES = st.builds(Compare, KEYS, st.just(Target.VALUE), st.sampled_from(Result), VALUES, ENDS)
COMPARES = st.lists(NUMBER_COMPARES | VALUE_COMPARES, max_size=2)
PUTS = st.builds(Put, KEYS, VALUES, st.sampled_from([0, 0, 0, 5, 6]), st.booleans())
KEEPING_PUTS = st.builds(
    Put, KEYS, st.just(b""), st.just(0), st.booleans(), ignore_value=st.booleans(), ignore_lease=st.booleans()
)
LEAVES = st.one_of(PUTS, PUTS, KEEPING_PUTS, st.builds(DeleteRange, KEYS, ENDS, st.booleans()), RANGES)
INNER = st.builds(Txn, COMPARES, st.lists(LEAVES, max_size=2), st.lists(LEAVES, max_size=2))
OPS = st.lists(LEAVES | INNER, max_size=4)
TXNS = st.builds(Txn, COMPARES, OPS, OPS)


class MachineAgainstModel(RuleBasedStateMachine):
    """Whatever is asked, in whatever order, both answer the same."""

    def __init__(self) -> None:
        super().__init__()
        # So that old reads go through the index of changes by key, too.
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(history, "_FEW", 3)
        self.machine = Machine()
        self.model = Model([{}], [], 0, set())
        self.never_compacted = Machine()

    def apply(self, command: Command) -> object:
        index = self.machine.applied_index + 1
        result = self.machine.apply(index, encode(command))
        if isinstance(command, Compact):
            self.never_compacted.skip(self.never_compacted.applied_index + 1)
        else:
            self.never_compacted.apply(self.never_compacted.applied_index + 1, command)
        return result

    def teardown(self) -> None:
        self.patch.undo()

    @rule(txn=TXNS)
    def transact(self, txn: Txn) -> None:
        try:
            check_txn(txn)
        except DuplicateKey:
            return
        expected: object
        transaction = Transaction(self.model)
        try:
            transaction.check(txn)
        except Refused as refusal:
            with pytest.raises(type(refusal)):
                self.apply(txn)
            return
        expected = transaction.run(txn)
        transaction.commit()
        assert plain(self.apply(txn)) == plain(expected)

    @rule(lease=st.sampled_from([5, 6]))
    def grant(self, lease: int) -> None:
        if self.model.nospace or lease in self.model.leases:
            with pytest.raises(SpaceExceeded if self.model.nospace else LeaseExists):
                self.apply(LeaseGrant(lease, 10))
        else:
            self.apply(LeaseGrant(lease, 10))
            self.model.leases.add(lease)

    @rule(lease=st.sampled_from([5, 6]), expire=st.booleans())
    def end_lease(self, lease: int, expire: bool) -> None:
        if lease not in self.model.leases and not expire:
            with pytest.raises(LeaseNotFound):
                self.apply(LeaseRevoke(lease))
            return
        self.apply(LeaseExpire((lease,)) if expire else LeaseRevoke(lease))
        self.model.leases.discard(lease)
        transaction = Transaction(self.model)
        for kv in sorted(transaction.before.values(), key=lambda kv: kv.key):
            if kv.lease == lease:
                transaction.delete(kv)
        transaction.commit()

    @rule(end=st.booleans())
    def alarm(self, end: bool) -> None:
        alarm = AlarmMember(1, AlarmType.NOSPACE)
        self.apply(AlarmDeactivate(alarm) if end else AlarmActivate(alarm))
        self.model.nospace = not end

    @rule(revision=REVISIONS)
    def hashes(self, revision: int) -> None:
        """The same for the machine that was compacted in steps and for one compacted only now."""
        if revision and not self.model.compacted < revision <= self.model.revision:
            with pytest.raises(FutureRevision if revision > self.model.revision else Compacted):
                hash_kv(self.machine, revision)
            return
        other = restore(snapshot(self.never_compacted))
        if self.model.compacted:
            other.apply(other.applied_index + 1, Compact(self.model.compacted))
        assert hash_kv(self.machine, revision) == hash_kv(other, revision)

    @rule(revision=REVISIONS)
    def compact(self, revision: int) -> None:
        if self.model.compacted < revision <= self.model.revision:
            self.apply(Compact(revision))
            self.model.compacted = revision
        else:
            with pytest.raises(FutureRevision if revision > self.model.revision else Compacted):
                self.apply(Compact(revision))

    @rule(request=RANGES)
    def range(self, request: Range) -> None:
        try:
            check_revision(self.model, request.revision)
        except Refused as refusal:
            with pytest.raises(type(refusal)):
                self.machine.range(request)
            return
        expected = read(self.model, request, self.model.states[-1], self.model.revision)
        assert plain(self.machine.range(request)) == plain(expected)

    @rule(key=KEYS, end=ENDS, revision=REVISIONS, limit=st.integers(0, 4))
    def events(self, key: bytes, end: bytes, revision: int, limit: int) -> None:
        if revision < self.model.compacted:
            with pytest.raises(Compacted):
                self.machine.events_since(revision, key, end, limit)
            return
        expected = [
            event if event.kv.mod_revision > self.model.compacted else Event(event.type, event.kv)
            for event in self.model.events
            if inside(event.kv.key, key, end) and event.kv.mod_revision >= max(revision, self.model.compacted)
        ]
        found: list[Event] = []
        following: int | None = revision
        while following is not None:
            part, after = self.machine.events_since(following, key, end, limit)
            # Never within a revision.
            assert all(event.kv.mod_revision < (after or 10**9) for event in part)
            found, following = found + part, after
        assert found == expected

    @precondition(lambda self: self.machine.applied_index)
    @rule()
    def restart(self) -> None:
        before = state_hash(self.machine)
        self.machine = restore(snapshot(self.machine))
        assert state_hash(self.machine) == before

    @invariant()
    def same(self) -> None:
        assert self.machine.revision == self.model.revision
        assert len(self.machine) == len(self.model.states[-1])
        assert set(self.machine.leases) == self.model.leases
        for lease in self.machine.leases.values():
            held = {kv.key for kv in self.model.states[-1].values() if kv.lease == lease.lease}
            assert lease.keys == held
        assert self.machine.history.value_bytes == sum(len(event.kv.value) for event in self.machine.history)


def plain(result: object) -> object:
    """Results whose sequences compare equal whatever they are made of."""
    match result:
        case RangeResult():
            return replace(result, kvs=list(result.kvs))
        case DeleteResult():
            return replace(result, prev_kvs=list(result.prev_kvs))
        case TxnResult():
            return replace(result, responses=[plain(each) for each in result.responses])
    return result


TestMachineAgainstModel = MachineAgainstModel.TestCase
TestMachineAgainstModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
