"""The newest changes, kept as a history that watches read."""

from orchestra.mvcc.model import Event, EventType, KeyValue
from orchestra.store.etcd.watch import RECENT_EVENTS, RECENT_VALUE_BYTES, Recent


def change(revision: int, value: bytes = b"v") -> Event:
    before = KeyValue(b"k", b"old", 1, revision - 1, 1)
    return Event(EventType.PUT, KeyValue(b"k", value, 1, revision, 2), before)


def told(recent: Recent, revision: int) -> list[int]:
    events, following = recent.events_since(revision, b"k")
    assert following is None
    return [event.kv.mod_revision for event in events]


def test_it_is_bounded_in_changes() -> None:
    recent = Recent(10)
    assert (recent.revision, recent.compact_revision) == (10, 11)
    for revision in range(11, 11 + 3 * RECENT_EVENTS):
        recent.add([change(revision)])
    assert len(recent.history) <= 2 * RECENT_EVENTS
    oldest = recent.compact_revision
    events, _ = recent.events_since(oldest, b"k")
    assert [event.kv.mod_revision for event in events] == list(range(oldest, recent.revision + 1))
    # What is told is whole: also what it replaced.
    assert all(event.prev_kv is not None for event in events)


def test_it_is_bounded_in_bytes() -> None:
    recent = Recent(0)
    size = RECENT_VALUE_BYTES // 4
    for revision in range(1, 30):
        recent.add([change(revision, bytes(size))])
        assert recent.history.value_bytes <= RECENT_VALUE_BYTES + size
    recent.add([change(30, bytes(2 * RECENT_VALUE_BYTES))])
    recent.add([change(31)])
    assert recent.revision == 31
    assert told(recent, recent.compact_revision) in ([31], [])


def test_a_compaction_goes_no_further_than_what_is_known() -> None:
    recent = Recent(10)
    recent.compacted(20)
    assert recent.compact_revision == 11
    recent.add([change(11), change(12), change(13)])
    recent.compacted(12)
    assert recent.compact_revision == 12
    assert told(recent, 12) == [12, 13]
    recent.compacted(11)
    assert recent.compact_revision == 12


def test_a_jump_leaves_a_gap() -> None:
    recent = Recent(10)
    recent.add([change(11)])
    recent.jump(20)
    assert (recent.revision, recent.compact_revision, len(recent.history)) == (20, 21, 0)
    recent.add([change(21)])
    assert told(recent, 21) == [21]
