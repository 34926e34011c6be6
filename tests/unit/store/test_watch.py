"""Watches as positions in history: slow readers, bookmarks, batches, many watches."""

import asyncio

import pytest

from orchestra.mvcc.commands import Compact
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import DeleteRange, Put, Txn
from orchestra.mvcc.retention import Retention
from orchestra.store.contract import Compacted, StoreUnavailable, Watch
from orchestra.store.memory import MemoryStore
from orchestra.store.watch import (
    BATCH_EVENTS,
    BOOKMARK_REVISIONS,
    SHARED_BATCHES,
    HistoryWatch,
    WatchHub,
)

WAIT_SECONDS = 5


async def put(store: MemoryStore, *keys: bytes, value: bytes = b"") -> int:
    return (await store.txn(Txn((), tuple(Put(key, value) for key in keys)))).revision


async def seen_until(watch: Watch, revision: int) -> list[int]:
    """The revisions of the events up to one."""
    seen: list[int] = []
    at = 0
    async with asyncio.timeout(WAIT_SECONDS):
        while at < revision:
            batch = await anext(watch)
            assert batch.revision > at
            at = batch.revision
            seen += [event.kv.mod_revision for event in batch.events]
    return seen


async def test_a_slow_reader_catches_up_without_a_gap_or_a_repeat(store: MemoryStore) -> None:
    with store.watch(b"a") as slow, store.watch(b"a") as fast:
        expected = []
        for n in range(300):
            expected.append(await put(store, b"a"))
            await put(store, b"other")
            if n % 7 == 0:
                await anext(fast)
        assert await seen_until(slow, expected[-1]) == expected


async def test_a_batch_is_bounded_but_a_revision_is_whole(store: MemoryStore) -> None:
    per_revision = 120
    with store.watch(b"k", prefix_end(b"k")) as watch:
        for _ in range(10):
            await put(store, *(b"k%d" % n for n in range(per_revision)))
        total = 0
        while total < 10 * per_revision:
            batch = await anext(watch)
            assert len(batch.events) % per_revision == 0
            assert len(batch.events) <= 2 * BATCH_EVENTS
            total += len(batch.events)


async def test_catching_up_lets_others_run(store: MemoryStore) -> None:
    for _ in range(3):
        for _ in range(BATCH_EVENTS):
            await put(store, b"k")
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    with store.watch(b"k", start_revision=1) as watch:
        await seen_until(watch, store.revision)
    assert others >= 2
    running.cancel()


async def test_a_reader_too_slow_for_what_is_kept_is_told() -> None:
    store = MemoryStore(retention=Retention(revisions=100))
    with store.watch(b"a") as watch:
        for _ in range(150):
            await put(store, b"a")
        with pytest.raises(Compacted) as refused:
            await anext(watch)
        assert refused.value.compact_revision > 2


async def test_a_quiet_watch_is_bookmarked_on_by_writes(store: MemoryStore) -> None:
    with store.watch(b"quiet") as watch:
        reader = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        for _ in range(BOOKMARK_REVISIONS // 2):
            await put(store, b"loud")
        await asyncio.sleep(0)
        assert not reader.done()
        for _ in range(BOOKMARK_REVISIONS):
            await put(store, b"loud")
        batch = await reader
        assert list(batch.events) == []
        assert batch.revision >= BOOKMARK_REVISIONS
        # And nothing of what comes next is lost.
        revision = await put(store, b"quiet")
        assert await seen_until(watch, revision) == [revision]


async def test_progress_does_not_skip_what_was_not_read(store: MemoryStore) -> None:
    with store.watch(b"a") as watch:
        revision = await put(store, b"a")
        await put(store, b"b")
        watch.request_progress()
        assert await seen_until(watch, store.revision) == [revision]


async def test_each_kind_of_range_is_told_of_its_own_keys(store: MemoryStore) -> None:
    ranges = {
        "key": (b"b/1", b""),
        "prefix": (b"b/", prefix_end(b"b/")),
        "shorter prefix": (b"b", prefix_end(b"b")),
        "range": (b"b/1", b"b/3"),
        "from": (b"b/2", b"\0"),
        "all": (b"\0", b"\0"),
    }
    watches = {name: store.watch(*each) for name, each in ranges.items()}
    keys = [b"a", b"b/1", b"b/2", b"b/3", b"b0", b"c"]
    for key in keys:
        await put(store, key)
    for name, (start, end) in ranges.items():
        expected = [n + 2 for n, key in enumerate(keys) if key == start or (end and start <= key)]
        if end not in (b"", b"\0"):
            expected = [revision for revision in expected if keys[revision - 2] < end]
        watch = watches[name]
        watch.request_progress()
        assert await seen_until(watch, expected[-1]) == expected, name
        watch.close()
    assert len(store._watches) == 0


async def test_a_thousand_watches_wake_only_for_what_concerns_them(store: MemoryStore) -> None:
    watches = [store.watch(b"pods/%d/" % n, prefix_end(b"pods/%d/" % n)) for n in range(1000)]
    readers = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    await put(store, b"pods/7/web")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [n for n, reader in enumerate(readers) if reader.done()] == [7]
    for watch in watches:
        watch.close()
    await asyncio.gather(*readers, return_exceptions=True)


@pytest.mark.parametrize("prev_kv", [False, True])
async def test_a_thousand_watches_of_one_key_share_what_they_are_told(
    store: MemoryStore, prev_kv: bool
) -> None:
    await put(store, b"k")
    watches = [store.watch(b"k", prev_kv=prev_kv) for _ in range(1000)]
    other = store.watch(b"k", prev_kv=not prev_kv)
    revision = await put(store, b"k")
    batches = [await anext(watch) for watch in watches]
    assert all(batch is batches[0] for batch in batches)
    assert [event.kv.mod_revision for event in batches[0].events] == [revision]
    assert [event.prev_kv is not None for event in batches[0].events] == [prev_kv]
    assert [event.prev_kv is not None for event in (await anext(other)).events] == [not prev_kv]


async def test_what_is_shared_is_of_one_revision(store: MemoryStore) -> None:
    with store.watch(b"k") as early, store.watch(b"k") as late:
        first = await put(store, b"k")
        assert [event.kv.mod_revision for event in (await anext(early)).events] == [first]
        second = await put(store, b"k")
        assert [event.kv.mod_revision for event in (await anext(late)).events] == [first, second]
        assert [event.kv.mod_revision for event in (await anext(early)).events] == [second]


async def test_catching_up_keeps_little_for_others(store: MemoryStore) -> None:
    for _ in range(3 * SHARED_BATCHES):
        await put(store, b"k")
    for start in range(1, 3 * SHARED_BATCHES):
        with store.watch(b"k", start_revision=start) as watch:
            await anext(watch)
    assert len(store._watches._batches) <= SHARED_BATCHES


async def test_a_watch_of_the_future_says_how_far_it_is_and_waits(store: MemoryStore) -> None:
    start = store.revision + 3
    with store.watch(b"k", start_revision=start) as watch:
        now = await put(store, b"k")
        watch.request_progress()
        batch = await anext(watch)
        # Who resumes here was told all before it elsewhere: never less than that.
        assert (batch.revision, list(batch.events)) == (start - 1, [])
        assert now < start - 1
        await put(store, b"k")
        revision = await put(store, b"k")
        assert [event.kv.mod_revision for event in (await anext(watch)).events] == [revision]


async def test_what_begins_as_no_watched_key_does_concerns_nobody_and_all_else_does(
    store: MemoryStore,
) -> None:
    with store.watch(b"pods/a") as one, store.watch(b"pods/b/", b"pods/b0") as prefix:
        await put(store, b"nodes/1")
        first = await put(store, b"pods/a")
        second = await put(store, b"pods/b/2")
        assert await seen_until(one, first) == [first]
        assert await seen_until(prefix, second) == [second]
        # One more, which begins otherwise, and then only that one is left.
        with store.watch(b"nodes/1") as other:
            third = await put(store, b"nodes/1")
            assert await seen_until(other, third) == [third]
        fourth = await put(store, b"pods/a")
        assert await seen_until(one, fourth) == [fourth]


async def test_one_reader_a_watch(store: MemoryStore) -> None:
    with store.watch(b"a") as watch:
        reader = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(watch)
        await put(store, b"a")
        assert (await reader).events


async def test_the_end_of_the_store_ends_its_watches(store: MemoryStore) -> None:
    watch = store.watch(b"a")
    reader = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await reader
    with pytest.raises(StoreUnavailable):
        await anext(store.watch(b"b"))
    with pytest.raises(StoreUnavailable):
        await put(store, b"a")


def commands(machine: Machine, *txns: Txn) -> None:
    for txn in txns:
        machine.apply(machine.applied_index + 1, txn)


async def told(watch: HistoryWatch) -> list[int]:
    return [event.kv.mod_revision for event in (await anext(watch)).events]


async def test_what_was_compacted_before_watches_were_told_is_not_passed_over() -> None:
    """Commands applied together: a change and the compaction that drops it."""
    machine = Machine()
    hub = WatchHub(machine)
    watch = hub.watch(b"a", b"", 0, False)
    commands(machine, Txn((), (Put(b"a", b"1"),)), Txn((), (Put(b"a", b"2"),)))
    machine.apply(3, b"\x32\x02\x08\x03")
    assert machine.compact_revision == 3
    hub.advance()
    with pytest.raises(Compacted):
        await anext(watch)


async def test_a_watch_of_the_future_is_not_passed_over_by_another_machine() -> None:
    ahead = Machine()
    hub = WatchHub(Machine())
    soon, later = hub.watch(b"a", b"", 3, False), hub.watch(b"a", b"", 7, False)
    for n in range(4):
        commands(ahead, Txn((), (Put(b"a", b"%d" % n),)))
    ahead.apply(5, Compact(4))
    hub.replace(ahead)
    with pytest.raises(Compacted):
        await anext(soon)
    assert not later.pending


async def test_another_machine_that_is_ahead_takes_over() -> None:
    behind, ahead = Machine(), Machine()
    hub = WatchHub(behind)
    watch = hub.watch(b"a", b"", 0, False)
    for machine in (behind, ahead):
        commands(machine, Txn((), (Put(b"b", b"1"),)))
    commands(ahead, Txn((), (Put(b"a", b"2"),)), Txn((), (DeleteRange(b"a"),)))
    hub.advance()
    hub.replace(ahead)
    assert await told(watch) == [3, 4]
