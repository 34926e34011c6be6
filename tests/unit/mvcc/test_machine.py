"""The machine's edges that the model does not look at: encoding, snapshots, retention, its place in the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.mvcc.commands import (
    Command,
    Compact,
    LeaseCheckpoint,
    LeaseExpire,
    LeaseGrant,
    LeaseRevoke,
    decode,
    encode,
)
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    Put,
    Range,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
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
NESTED = st.builds(Txn, tuples(COMPARES), tuples(OPS | TXNS), tuples(OPS | TXNS))
COMMANDS = st.one_of(
    NESTED,
    st.builds(LeaseGrant, NUMBERS, NUMBERS),
    st.builds(LeaseRevoke, NUMBERS),
    st.builds(LeaseExpire, tuples(NUMBERS)),
    st.builds(LeaseCheckpoint, tuples(st.tuples(NUMBERS, NUMBERS))),
    st.builds(Compact, NUMBERS),
)


@given(command=COMMANDS)
def test_commands_come_back_from_the_log(command: Command) -> None:
    assert decode(encode(command)) == command


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x7a\x00", b"\x0a\x02\x12\x00"])
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
