"""The machine's edges that the model does not look at: encoding, snapshots, retention, its place in the log."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.mvcc import history
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseCheckpoint,
    LeaseExpire,
    LeaseGrant,
    LeaseRevoke,
    decode,
    encode,
)
from orchestra.mvcc.errors import Compacted, FutureRevision, KeyNotFound, LeaseNotFound
from orchestra.mvcc.hashing import hash_kv
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import (
    AlarmMember,
    AlarmType,
    Compare,
    DeleteRange,
    KeyValue,
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
from orchestra.mvcc.retention import Retention, plan_compaction
from orchestra.mvcc.snapshot import CHUNK_BYTES, restore, snapshot, state_hash
from orchestra.pb import store_v1_pb2 as pb


def apply(machine: Machine, command: Command) -> object:
    return machine.apply(machine.applied_index + 1, command)


def put(machine: Machine, key: bytes, value: bytes = b"", lease: int = 0) -> None:
    apply(machine, Txn((), (Put(key, value, lease),)))


NUMBERS = st.integers(0, 2**62)
COMPARES = st.builds(
    Compare,
    st.binary(),
    st.sampled_from(Target),
    st.sampled_from(Result),
    NUMBERS | st.binary(),
    st.binary(),
)
OPS = st.one_of(
    st.builds(
        Range,
        st.binary(),
        st.binary(),
        NUMBERS,
        NUMBERS,
        st.booleans(),
        st.booleans(),
        st.just(False),
        st.sampled_from(SortOrder),
        st.sampled_from(SortTarget),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
    ),
    st.builds(Put, st.binary(), st.binary(), NUMBERS, st.booleans(), st.booleans(), st.booleans()),
    st.builds(DeleteRange, st.binary(), st.binary(), st.booleans()),
)


def tuples(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


TXNS = st.builds(Txn, tuples(COMPARES), tuples(OPS), tuples(OPS))
# Nothing but puts is written down in another way than the rest.
PLAIN_PUTS = st.builds(Put, st.binary(), st.binary(), st.sampled_from([0, 0, 7]))
PLAIN = st.builds(Txn, tuples(COMPARES), tuples(PLAIN_PUTS), tuples(OPS))
ALARMS = st.builds(AlarmMember, st.integers(0, 2**64 - 1), st.sampled_from(AlarmType))
NESTED = st.builds(Txn, tuples(COMPARES), tuples(OPS | TXNS), tuples(OPS | TXNS))
COMMANDS = st.one_of(
    NESTED,
    PLAIN,
    st.builds(LeaseGrant, NUMBERS, NUMBERS),
    st.builds(LeaseRevoke, NUMBERS),
    st.builds(LeaseExpire, tuples(NUMBERS)),
    st.builds(LeaseCheckpoint, tuples(st.tuples(NUMBERS, NUMBERS))),
    st.builds(Compact, NUMBERS),
    st.builds(AlarmActivate, ALARMS),
    st.builds(AlarmDeactivate, ALARMS),
)


@given(command=COMMANDS)
def test_commands_come_back_from_the_log(command: Command) -> None:
    assert decode(encode(command)) == command


def test_commands_of_an_earlier_version_are_understood() -> None:
    written = pb.Command()
    for key in (b"a", b"b"):
        written.txn.success.add().put.key = key
    assert decode(written.SerializeToString()) == Txn((), (Put(b"a", b""), Put(b"b", b"")))


def test_a_snapshot_of_an_earlier_version_is_understood() -> None:
    kv = pb.KeyValue(key=b"a", value=b"1", create_revision=2, mod_revision=2, version=1, lease=7)
    chunks = (
        pb.SnapshotChunk(head=pb.SnapshotHead(applied_index=9, revision=3, compact_revision=2)),
        pb.SnapshotChunk(leases=[pb.Lease(lease=7, ttl_seconds=10, remaining_seconds=5)]),
        pb.SnapshotChunk(base=[kv]),
        pb.SnapshotChunk(history=[pb.KeyValue(key=b"a", mod_revision=3)]),
    )
    machine = restore(chunk.SerializeToString() for chunk in chunks)
    assert (machine.applied_index, machine.revision, machine.compact_revision) == (9, 3, 2)
    assert machine.range(Range(b"a", revision=2)).kvs == [KeyValue(b"a", b"1", 2, 2, 1, 7)]
    assert machine.alarms.raised() == []


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xff", b"\x7a\x00", b"\x0a\x02\x12\x00", b"\x0a\x05\x22\x03\x0a\x01a"]
)
def test_what_is_no_command_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_entries_come_in_order() -> None:
    machine = Machine()
    put(machine, b"a")
    with pytest.raises(ValueError, match="entry 3 does not follow 1"):
        machine.apply(3, Txn())
    with pytest.raises(ValueError, match="entry 1 does not follow 1"):
        machine.apply(1, Txn())


def test_an_entry_that_is_no_command_counts_as_applied() -> None:
    machine = Machine()
    machine.skip(1)
    put(machine, b"a")
    assert (machine.applied_index, machine.revision) == (2, 2)
    with pytest.raises(ValueError, match="entry 4 does not follow 2"):
        machine.skip(4)


def test_a_refused_entry_counts_as_applied() -> None:
    machine = Machine()
    with pytest.raises(LeaseNotFound):
        put(machine, b"a", lease=7)
    assert (machine.applied_index, machine.revision) == (1, 1)
    put(machine, b"a")
    assert (machine.applied_index, machine.revision) == (2, 2)


def test_a_lease_without_an_id_gets_one_that_is_free() -> None:
    machine = Machine()
    apply(machine, LeaseGrant(2, 10))
    apply(machine, LeaseGrant(3, 10))
    granted = [apply(machine, LeaseGrant(0, 10)) for _ in range(2)]
    assert [lease.lease for lease in granted if isinstance(lease, Lease)] == [4, 5]


def test_leases_and_their_keys_are_listed() -> None:
    machine = Machine()
    for lease in (9, 7, 8):
        apply(machine, LeaseGrant(lease, 10))
    for key, lease in ((b"b", 7), (b"a", 7), (b"c", 7), (b"d", 8)):
        put(machine, key, lease=lease)
    put(machine, b"c", lease=8)
    apply(machine, Txn((), (Put(b"d", b"", ignore_lease=True),)))
    assert machine.lease_ids() == [7, 8, 9]
    assert [machine.lease_keys(lease) for lease in machine.lease_ids()] == [[b"a", b"b"], [b"c", b"d"], []]
    apply(machine, LeaseRevoke(7))
    assert machine.lease_ids() == [8, 9]
    with pytest.raises(LeaseNotFound):
        machine.lease_keys(7)


@pytest.mark.parametrize(("asked", "given"), [(-1, 1), (0, 1), (1, 1), (60, 60)])
def test_a_lease_lives_a_second_at_least(asked: int, given: int) -> None:
    granted = apply(Machine(), LeaseGrant(7, asked))
    assert isinstance(granted, Lease)
    assert (granted.ttl_seconds, granted.remaining_seconds) == (given, given)


def test_a_put_may_keep_what_is_there() -> None:
    machine = Machine()
    apply(machine, LeaseGrant(7, 10))
    put(machine, b"a", b"1", lease=7)
    put(machine, b"b", b"1", lease=7)
    apply(
        machine,
        Txn((), (Put(b"a", b"2", ignore_lease=True), Put(b"b", b"", prev_kv=True, ignore_value=True))),
    )
    assert machine.range(Range(b"a", b"c")).kvs == [
        KeyValue(b"a", b"2", 2, 4, 2, 7),
        KeyValue(b"b", b"1", 3, 4, 2, 0),
    ]
    assert machine.lease_keys(7) == [b"a"]


@pytest.mark.parametrize("keep", [{"ignore_value": True}, {"ignore_lease": True}])
@pytest.mark.parametrize("depth", [0, 2])
def test_nothing_is_kept_of_a_key_that_is_not_there(keep: dict[str, bool], depth: int) -> None:
    machine = Machine()
    txn = Txn((), (Put(b"b", b"1"), Put(b"a", b"", **keep)))
    for _ in range(depth):
        txn = Txn((), (txn,))
    with pytest.raises(KeyNotFound):
        apply(machine, txn)
    assert (len(machine), machine.revision, machine.applied_index) == (0, 1, 1)


def test_reasons_of_puts_come_before_those_of_ranges() -> None:
    """As in etcd, whatever comes first in the transaction."""
    with pytest.raises(LeaseNotFound):
        apply(Machine(), Txn((), (Range(b"a", revision=99), Put(b"a", b"", 7))))


def test_a_transaction_reads_the_past_after_it_has_written() -> None:
    machine = Machine()
    for n in range(4):
        put(machine, b"a", b"%d" % n)
    result = apply(
        machine,
        Txn((), (DeleteRange(b"a"), Range(b"a", revision=5), Range(b"\0", b"\0", revision=3), Range(b"a"))),
    )
    assert isinstance(result, TxnResult)
    reads = [[kv.value for kv in each.kvs] for each in result.responses if isinstance(each, RangeResult)]
    assert reads == [[b"3"], [b"1"], []]
    assert machine.revision == 6


def test_the_far_past_is_looked_up_and_not_looked_through() -> None:
    """Both ways give the same, before and after a compaction and with writes in between."""
    machine = Machine()
    seen: dict[int, list[KeyValue]] = {}
    for n in range(2000):
        key = b"%d" % (n % 37)
        if n % 11 == 0:
            apply(machine, Txn((), (DeleteRange(key),)))
        else:
            put(machine, key, b"%d" % n)
        seen[machine.revision] = list(machine.range(Range(b"\0", b"\0")).kvs)
        if n in (500, 1500):
            apply(machine, Compact(machine.revision - 300))
        if n % 100 == 99:
            for revision in range(max(machine.compact_revision, 2), machine.revision, 61):
                at = machine.range(Range(b"\0", b"\0", revision=revision))
                assert (list(at.kvs), at.count) == (seen[revision], len(seen[revision]))
                page = machine.range(Range(b"2", b"3", limit=3, revision=revision))
                kept = [kv for kv in seen[revision] if b"2" <= kv.key < b"3"]
                assert (list(page.kvs), page.count, page.more) == (kept[:3], len(kept), len(kept) > 3)
                one = machine.range(Range(b"5", revision=revision))
                assert list(one.kvs) == [kv for kv in seen[revision] if kv.key == b"5"]


@pytest.mark.parametrize("few", [0, 3, 1000])
def test_paging_through_the_past_while_it_goes_on(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what has changed is looked through, looked up or kept in order and added to."""
    monkeypatch.setattr(history, "_FEW", few)
    machine, rng = Machine(), random.Random(few)

    def write(times: int) -> None:
        for _ in range(times):
            key = b"%d" % rng.randrange(60)
            apply(machine, Txn((), (rng.choice((Put(key, b"x"), Put(key, b"y"), DeleteRange(key))),)))

    write(100)
    revision = machine.revision
    before = list(machine.range(Range(b"\0", b"\0")).kvs)
    for _ in range(60):
        write(rng.randrange(5))
        start, end = b"%d" % rng.randrange(60), rng.choice((b"\0", b"4", b"7"))
        kept = [kv for kv in before if kv.key >= start and (end == b"\0" or kv.key < end)]
        page = machine.range(Range(start, end, limit=5, revision=revision))
        assert (list(page.kvs), page.count, page.more) == (kept[:5], len(kept), len(kept) > 5)


def test_hashes_tell_what_differs() -> None:
    def made(*values: bytes) -> Machine:
        machine = Machine()
        for value in values:
            put(machine, b"a", value)
        return machine

    same, other = made(b"1", b"2", b"3"), made(b"1", b"2", b"3")
    assert hash_kv(same) == hash_kv(other) == hash_kv(restore(snapshot(same)))
    assert hash_kv(same) == hash_kv(same, 4)
    # What came later does not count, what was overwritten does, unless it is compacted.
    assert hash_kv(same, 3) == hash_kv(made(b"1", b"2"))
    changed = made(b"0", b"2", b"3")
    assert hash_kv(same, 3).hash != hash_kv(changed, 3).hash
    for machine in (same, changed):
        apply(machine, Compact(3))
    found = hash_kv(same)
    assert found == hash_kv(changed)
    assert (found.hash_revision, found.compact_revision) == (4, 3)
    assert 0 <= found.hash < 2**32
    with pytest.raises(Compacted):
        hash_kv(same, 3)
    with pytest.raises(FutureRevision):
        hash_kv(same, 5)


def test_checkpoints_say_what_is_left_and_survive() -> None:
    machine = Machine()
    apply(machine, LeaseGrant(7, 100))
    apply(machine, LeaseCheckpoint(((7, 40), (8, 1))))
    assert machine.leases[7].remaining_seconds == 40
    assert restore(snapshot(machine)).leases[7].remaining_seconds == 40
    apply(machine, LeaseCheckpoint(((7, 1000),)))
    assert machine.leases[7].remaining_seconds == 100


def test_expiry_passes_over_leases_that_are_gone() -> None:
    machine = Machine()
    apply(machine, LeaseGrant(7, 100))
    put(machine, b"a", lease=7)
    revision = machine.revision
    apply(machine, LeaseExpire((6, 7, 8)))
    assert (len(machine), machine.revision) == (0, revision + 1)
    apply(machine, LeaseExpire((6, 7, 8)))
    assert machine.revision == revision + 1


def test_a_snapshot_is_of_the_moment_it_was_taken() -> None:
    machine = Machine()
    apply(machine, LeaseGrant(7, 100))
    for n in range(50):
        put(machine, b"%d" % n, b"before", lease=7 if n % 2 else 0)
    apply(machine, Compact(20))
    before = state_hash(machine)
    chunks = snapshot(machine)
    apply(machine, Txn((), (DeleteRange(b"\0", b"\0"),)))
    put(machine, b"new")
    apply(machine, LeaseRevoke(7))
    apply(machine, Compact(machine.revision))
    restored = restore(chunks)
    assert state_hash(restored) == before != state_hash(machine)
    assert len(restored.leases[7].keys) == 25


def test_chunks_are_bounded() -> None:
    machine = Machine()
    for n in range(200):
        put(machine, b"%d" % (n % 150), bytes(10_000))
    sizes = [len(chunk) for chunk in snapshot(machine)]
    assert len(sizes) > 200 * 10_000 // CHUNK_BYTES
    assert max(sizes) < CHUNK_BYTES + 20_000


def test_a_snapshot_without_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no head"):
        restore([pb.SnapshotChunk().SerializeToString()])


def test_history_is_compacted_by_revisions() -> None:
    machine, retention = Machine(), Retention(revisions=100)
    planned = []
    for _ in range(500):
        put(machine, b"k")
        compact = plan_compaction(machine, retention)
        if compact:
            apply(machine, compact)
            planned.append(machine.revision - compact.revision)
    # Seldom, and always down to what is to be kept.
    assert set(planned) == {100}
    assert 30 < len(planned) < 50
    assert len(machine.history) <= 111


def test_history_is_compacted_by_bytes() -> None:
    machine, retention = Machine(), Retention(value_bytes=10_000)
    for n in range(300):
        put(machine, b"k", bytes(1000 if n % 10 else 9000))
        compact = plan_compaction(machine, retention)
        if compact:
            apply(machine, compact)
        assert machine.history.value_bytes <= 2 * 10_000


def test_one_value_larger_than_the_bound_is_no_reason_to_compact_for_ever() -> None:
    machine, retention = Machine(), Retention(value_bytes=10)
    put(machine, b"k", bytes(100))
    compact = plan_compaction(machine, retention)
    assert compact is not None
    apply(machine, compact)
    assert plan_compaction(machine, retention) is None
