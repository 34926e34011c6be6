"""The Store contract: one suite for every store there is.

A store joins by a class of its tests that takes these in and a fixture `empty`, a store with no keys in it;
its revision may be any.
"""

import asyncio
from collections.abc import Sequence

import pytest

from orchestra.mvcc.checks import MAX_LEASE_TTL_SECONDS, MAX_OPERATIONS, MAX_VALUE_BYTES
from orchestra.mvcc.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidCompare,
    LeaseExists,
    LeaseTtlTooLarge,
    RequestTooLarge,
    TooManyOperations,
)
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    DeleteResult,
    EventType,
    KeyValue,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Target,
    Txn,
    TxnResult,
)
from orchestra.store.contract import Compacted, FutureRevision, LeaseNotFound, Store, Watch, WatchBatch

WAIT_SECONDS = 5


async def do(
    store: Store, *ops: Op, compare: Sequence[Compare] = (), otherwise: Sequence[Op] = ()
) -> TxnResult:
    return await store.txn(Txn(compare, ops, otherwise))


async def put(store: Store, key: bytes, value: bytes = b"", lease: int = 0) -> int:
    return (await do(store, Put(key, value, lease))).revision


async def get(store: Store, key: bytes, revision: int = 0) -> KeyValue | None:
    found = await store.range(Range(key, revision=revision))
    return found.kvs[0] if found.kvs else None


async def following(watch: Watch) -> WatchBatch:
    """The next batch that is no bookmark."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (batch := await anext(watch)).events:
            pass
        return batch


def keys(result: RangeResult) -> list[bytes]:
    return [kv.key for kv in result.kvs]


RANGES = (
    (Range(b"b"), [b"b"], 1, False),
    (Range(b"x"), [], 0, False),
    (Range(b"b", b"d"), [b"b", b"c"], 2, False),
    (Range(b"b", b"\0"), [b"b", b"c", b"d"], 3, False),
    (Range(b"\0", b"\0"), [b"a", b"b", b"c", b"d"], 4, False),
    (Range(b"a", b"\0", limit=2), [b"a", b"b"], 4, True),
    (Range(b"a", b"\0", limit=4), [b"a", b"b", b"c", b"d"], 4, False),
    (Range(b"a", b"\0", count_only=True), [], 4, False),
    (Range(b"d", b"b"), [], 0, False),
)


def absent(key: bytes) -> Compare:
    return Compare(key, Target.CREATE, Result.EQUAL, 0)


# The key k has been put twice, first at revision base + 1; its value is b"2".


COMPARES: tuple[tuple[Target, Result, int | bytes, bool], ...] = (
    (Target.VERSION, Result.EQUAL, 2, True),
    (Target.VERSION, Result.GREATER, 2, False),
    (Target.VERSION, Result.LESS, 3, True),
    (Target.VERSION, Result.NOT_EQUAL, 3, True),
    (Target.CREATE, Result.EQUAL, 2, True),
    (Target.MOD, Result.EQUAL, 3, True),
    (Target.MOD, Result.GREATER, 3, False),
    (Target.VALUE, Result.EQUAL, b"2", True),
    (Target.VALUE, Result.GREATER, b"1", True),
    (Target.VALUE, Result.NOT_EQUAL, b"2", False),
    (Target.LEASE, Result.EQUAL, 0, True),
)


REFUSED: tuple[tuple[Txn, type[Exception]], ...] = (
    (Txn((), (Put(b"", b""),)), EmptyKey),
    (Txn((), (Range(b""),)), EmptyKey),
    (Txn((Compare(b"", Target.MOD, Result.EQUAL, 0),)), EmptyKey),
    (Txn((Compare(b"a", Target.VALUE, Result.GREATER, 1),)), InvalidCompare),
    (Txn((Compare(b"before", Target.MOD, Result.LESS, b"1"),), (Put(b"a", b""),)), InvalidCompare),
    (Txn((), (Put(b"a", b""), Put(b"a", b""))), DuplicateKey),
    (Txn((), (Put(b"b", b""), DeleteRange(b"a", b"c"))), DuplicateKey),
    (Txn((), (), (Put(b"a", b""), Put(b"a", b""))), DuplicateKey),
    (Txn((), (Put(b"a", b""), Txn((), (Put(b"a", b""),)))), DuplicateKey),
    (Txn((), (DeleteRange(b"a"), Txn((), (), (Put(b"a", b""),)))), DuplicateKey),
    (Txn((), (Txn((), (Put(b"a", b""),)), Txn((), (Put(b"a", b""),)))), DuplicateKey),
    (Txn((), tuple(Put(b"%d" % n, b"") for n in range(MAX_OPERATIONS + 1))), TooManyOperations),
    (Txn((), (Put(b"a", bytes(MAX_VALUE_BYTES + 1)),)), RequestTooLarge),
    (Txn((), (Put(b"x", b""), Put(b"a", b"", lease=99))), LeaseNotFound),
    (Txn((), (Put(b"x", b""), Range(b"a", revision=10**6))), FutureRevision),
)


ALLOWED = (
    Txn((), (Put(b"a", b"1"),), (Put(b"a", b"2"),)),
    Txn((), (Txn((), (Put(b"a", b"1"),), (Put(b"a", b"2"),)),)),
    Txn((), (DeleteRange(b"a"), DeleteRange(b"a", b"c"))),
    Txn((), tuple(Put(b"%d" % n, b"") for n in range(MAX_OPERATIONS))),
    Txn((), (Put(b"a", bytes(MAX_VALUE_BYTES)),)),
)


class StoreContract:
    """What every store does."""

    async def test_put_counts_versions_and_revisions(self, empty: Store) -> None:
        before = empty.revision
        first = await put(empty, b"k", b"1")
        second = await put(empty, b"k", b"2")
        assert (first, second) == (before + 1, before + 2)
        assert empty.revision == second
        assert await get(empty, b"k") == KeyValue(b"k", b"2", first, second, 2)

    async def test_a_key_created_anew_starts_at_version_one(self, empty: Store) -> None:
        await put(empty, b"k")
        await do(empty, DeleteRange(b"k"))
        assert await get(empty, b"k") is None
        revision = await put(empty, b"k", b"2")
        assert await get(empty, b"k") == KeyValue(b"k", b"2", revision, revision, 1)

    @pytest.mark.parametrize(
        ("request_", "expected", "count", "more"), RANGES, ids=lambda case: str(case)[:60]
    )
    async def test_ranges(
        self, empty: Store, request_: Range, expected: list[bytes], count: int, more: bool
    ) -> None:
        for key in (b"d", b"b", b"a", b"c"):
            await put(empty, key, b"v")
        result = await empty.range(request_)
        assert (keys(result), result.count, result.more) == (expected, count, more)
        assert result.revision == empty.revision

    async def test_keys_only_has_no_values(self, empty: Store) -> None:
        revision = await put(empty, b"k", b"value")
        result = await empty.range(Range(b"k", keys_only=True))
        assert list(result.kvs) == [KeyValue(b"k", b"", revision, revision, 1)]

    async def test_older_revisions_stay_readable(self, empty: Store) -> None:
        first = await put(empty, b"a", b"1")
        second = await put(empty, b"a", b"2")
        third = await put(empty, b"b", b"1")
        await do(empty, DeleteRange(b"a", b"\0"))
        assert keys(await empty.range(Range(b"a", b"\0", revision=first))) == [b"a"]
        found = await get(empty, b"a", revision=second)
        assert found is not None
        assert found.value == b"2"
        result = await empty.range(Range(b"a", b"\0", revision=third, limit=1))
        assert (keys(result), result.count, result.more) == ([b"a"], 2, True)
        assert result.revision == empty.revision
        assert keys(await empty.range(Range(b"a", b"\0"))) == []

    async def test_a_future_revision_is_refused(self, empty: Store) -> None:
        revision = await put(empty, b"k")
        with pytest.raises(FutureRevision, match="future revision"):
            await empty.range(Range(b"k", revision=revision + 1))
        with pytest.raises(FutureRevision):
            await empty.compact(revision + 1)

    async def test_a_transaction_has_one_revision(self, empty: Store) -> None:
        before = empty.revision
        result = await do(empty, Put(b"a", b"1"), Put(b"b", b"2"), DeleteRange(b"c"), Range(b"a", b"\0"))
        assert result.revision == empty.revision == before + 1
        assert result.succeeded
        put_a, _, delete, read = result.responses
        assert put_a == PutResult(before + 1)
        assert isinstance(delete, DeleteResult)
        assert delete.deleted == 0
        # It sees what it wrote.
        assert isinstance(read, RangeResult)
        assert keys(read) == [b"a", b"b"]
        assert read.revision == before + 1

    async def test_a_transaction_that_writes_nothing_has_no_revision(self, empty: Store) -> None:
        revision = await put(empty, b"a")
        assert (await do(empty, DeleteRange(b"x"))).revision == revision
        assert (await do(empty, Range(b"a"))).revision == revision
        assert (await do(empty)).revision == revision
        assert empty.revision == revision

    @pytest.mark.parametrize(("target", "result", "value", "expected"), COMPARES)
    async def test_compares(
        self, empty: Store, target: Target, result: Result, value: int | bytes, expected: bool
    ) -> None:
        shift = empty.revision - 1
        await put(empty, b"k", b"1")
        await put(empty, b"k", b"2")
        if target in (Target.CREATE, Target.MOD):
            assert isinstance(value, int)
            value += shift
        done = await do(
            empty,
            Put(b"yes", b""),
            compare=(Compare(b"k", target, result, value),),
            otherwise=(Put(b"no", b""),),
        )
        assert done.succeeded is expected
        assert (await get(empty, b"yes") is not None) is expected
        assert (await get(empty, b"no") is not None) is not expected

    @pytest.mark.parametrize(
        ("compare", "expected"),
        [
            (absent(b"x"), True),
            (Compare(b"x", Target.VERSION, Result.LESS, 1), True),
            (Compare(b"x", Target.VALUE, Result.EQUAL, b""), False),
            (Compare(b"x", Target.VALUE, Result.NOT_EQUAL, b"v"), False),
            (Compare(b"a", Target.VALUE, Result.EQUAL, b"v", b"c"), True),
            (Compare(b"a", Target.VALUE, Result.EQUAL, b"v", b"\0"), False),
            (Compare(b"a", Target.VERSION, Result.EQUAL, 1, b"\0"), True),
            (Compare(b"x", Target.CREATE, Result.EQUAL, 0, b"\0"), True),
        ],
    )
    async def test_compares_of_ranges_and_of_nothing(
        self, empty: Store, compare: Compare, expected: bool
    ) -> None:
        for key, value in ((b"a", b"v"), (b"b", b"v"), (b"c", b"w")):
            await put(empty, key, value)
        assert (await do(empty, compare=(compare,))).succeeded is expected

    async def test_nested_transactions_compare_with_what_was_before(self, empty: Store) -> None:
        inner = Txn((absent(b"k"),), (Put(b"inner", b"absent"),), (Put(b"inner", b"present"),))
        result = await do(empty, Put(b"k", b"1"), inner)
        nested = result.responses[1]
        assert isinstance(nested, TxnResult)
        assert nested.succeeded
        assert nested.revision == result.revision
        found = await get(empty, b"inner")
        assert found is not None
        assert (found.value, found.mod_revision) == (b"absent", result.revision)

    async def test_what_was_before_is_answered_when_asked_for(self, empty: Store) -> None:
        await put(empty, b"a", b"1")
        result = await do(empty, Put(b"a", b"2", prev_kv=True), DeleteRange(b"b", prev_kv=True))
        first = result.responses[0]
        assert isinstance(first, PutResult)
        assert first.prev_kv is not None
        assert first.prev_kv.value == b"1"
        result = await do(empty, DeleteRange(b"a", b"\0", prev_kv=True))
        gone = result.responses[0]
        assert isinstance(gone, DeleteResult)
        assert (gone.deleted, [kv.value for kv in gone.prev_kvs]) == (1, [b"2"])

    @pytest.mark.parametrize(
        ("txn", "error"), REFUSED, ids=[f"{n}-{e.__name__}" for n, (_, e) in enumerate(REFUSED)]
    )
    async def test_refused_transactions_change_nothing(
        self, empty: Store, txn: Txn, error: type[Exception]
    ) -> None:
        revision = await put(empty, b"before")
        with pytest.raises(error):
            await empty.txn(txn)
        assert empty.revision == revision
        assert (await empty.range(Range(b"\0", b"\0"))).count == 1
        assert await put(empty, b"after") == revision + 1

    @pytest.mark.parametrize("txn", ALLOWED, ids=range(len(ALLOWED)))
    async def test_allowed_transactions(self, empty: Store, txn: Txn) -> None:
        assert (await empty.txn(txn)).succeeded

    async def test_compaction_forgets_what_was_overwritten_before(self, empty: Store) -> None:
        first = await put(empty, b"a", b"1")
        second = await put(empty, b"a", b"2")
        third = await put(empty, b"b", b"1")
        await empty.compact(second)
        with pytest.raises(Compacted) as refused:
            await empty.range(Range(b"a", revision=first))
        assert refused.value.compact_revision == second
        found = await get(empty, b"a", revision=second)
        assert found is not None
        assert found.value == b"2"
        assert empty.revision == third
        with pytest.raises(Compacted):
            await empty.compact(second)

    async def test_watches_see_every_change_in_order_once(self, empty: Store) -> None:
        with empty.watch(b"a", prefix_end(b"a"), prev_kv=True) as watch:
            first = await put(empty, b"a/1", b"1")
            await put(empty, b"b", b"no concern")
            second = await put(empty, b"a/1", b"2")
            third = (await do(empty, DeleteRange(b"a/1"), Put(b"a/2", b"3"))).revision
            events = []
            while len(events) < 4:
                batch = await following(watch)
                events += batch.events
                assert batch.revision >= events[-1].kv.mod_revision
        assert [(e.type, e.kv.key, e.kv.value, e.kv.mod_revision) for e in events] == [
            (EventType.PUT, b"a/1", b"1", first),
            (EventType.PUT, b"a/1", b"2", second),
            (EventType.DELETE, b"a/1", b"", third),
            (EventType.PUT, b"a/2", b"3", third),
        ]
        assert [e.prev_kv.value if e.prev_kv else None for e in events] == [None, b"1", b"2", None]
        tombstone = events[2].kv
        assert (tombstone.version, tombstone.create_revision) == (0, 0)

    async def test_a_watch_without_prev_kv_has_none(self, empty: Store) -> None:
        await put(empty, b"a", b"1")
        with empty.watch(b"a") as watch:
            await put(empty, b"a", b"2")
            assert [event.prev_kv for event in (await following(watch)).events] == [None]

    async def test_a_watch_starts_in_the_past(self, empty: Store) -> None:
        await put(empty, b"a", b"1")
        second = await put(empty, b"a", b"2")
        await put(empty, b"a", b"3")
        with empty.watch(b"a", start_revision=second) as watch:
            seen: list[bytes] = []
            while len(seen) < 2:
                seen += [event.kv.value for event in (await following(watch)).events]
            assert seen == [b"2", b"3"]

    async def test_a_watch_starts_in_the_future(self, empty: Store) -> None:
        start = empty.revision + 3
        with empty.watch(b"a", start_revision=start) as watch:
            for value in (b"1", b"2", b"3"):
                await put(empty, b"a", value)
            batch = await following(watch)
            assert [event.kv.value for event in batch.events] == [b"3"]

    async def test_a_watch_from_before_the_compaction_is_refused(self, empty: Store) -> None:
        first = await put(empty, b"a", b"1")
        second = await put(empty, b"a", b"2")
        third = await put(empty, b"a", b"3")
        await empty.compact(second)
        with empty.watch(b"a", start_revision=first) as watch, pytest.raises(Compacted) as refused:
            await following(watch)
        assert refused.value.compact_revision == second
        with empty.watch(b"a", start_revision=second) as watch:
            batch = await following(watch)
            assert batch.events[0].kv.mod_revision in (second, third)

    async def test_an_idle_watch_outlives_compactions(self, empty: Store) -> None:
        with empty.watch(b"quiet") as watch:
            for n in range(5):
                await empty.compact(await put(empty, b"loud", b"%d" % n))
            revision = await put(empty, b"quiet", b"!")
            batch = await following(watch)
            assert [event.kv.mod_revision for event in batch.events] == [revision]

    async def test_one_revision_is_one_batch(self, empty: Store) -> None:
        with empty.watch(b"k", b"l") as watch:
            puts = [Put(b"k%03d" % n, b"") for n in range(MAX_OPERATIONS)]
            revision = (await do(empty, *puts)).revision
            batch = await following(watch)
            assert len(batch.events) == MAX_OPERATIONS
            assert batch.revision >= revision

    async def test_progress_is_told_on_request(self, empty: Store) -> None:
        with empty.watch(b"quiet") as watch:
            revision = await put(empty, b"loud")
            watch.request_progress()
            async with asyncio.timeout(WAIT_SECONDS):
                batch = await anext(watch)
            assert (batch.revision, list(batch.events)) == (revision, [])

    async def test_closing_ends_a_waiting_reader(self, empty: Store) -> None:
        watch = empty.watch(b"a")

        async def read() -> list[WatchBatch]:
            return [batch async for batch in watch]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        watch.close()
        watch.close()
        async with asyncio.timeout(WAIT_SECONDS):
            assert await reader == []

    async def test_a_cancelled_reader_loses_nothing(self, empty: Store) -> None:
        with empty.watch(b"a") as watch:
            reader = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            revision = await put(empty, b"a")
            assert (await following(watch)).events[0].kv.mod_revision == revision

    async def test_revoking_a_lease_deletes_its_keys_at_one_revision(self, empty: Store) -> None:
        lease = await empty.lease_grant(60)
        other = await empty.lease_grant(60)
        assert lease != other
        for key, held in ((b"a", lease), (b"b", lease), (b"c", other), (b"d", lease)):
            await put(empty, key, b"", held)
        # One moves to the other lease, one to none.
        await put(empty, b"b", b"", other)
        revision = await put(empty, b"d", b"")
        await empty.lease_revoke(lease)
        assert keys(await empty.range(Range(b"a", b"\0"))) == [b"b", b"c", b"d"]
        assert empty.revision == revision + 1
        await empty.lease_revoke(other)
        assert keys(await empty.range(Range(b"a", b"\0"))) == [b"d"]
        with pytest.raises(LeaseNotFound):
            await empty.lease_revoke(lease)
        with pytest.raises(LeaseNotFound):
            await empty.lease_keep_alive(lease)
        with pytest.raises(LeaseNotFound):
            await put(empty, b"a", b"", lease)

    async def test_leases_are_granted_by_id_and_kept_alive(self, empty: Store) -> None:
        assert await empty.lease_grant(7, lease=1234) == 1234
        assert await empty.lease_keep_alive(1234) == 7
        with pytest.raises(LeaseExists):
            await empty.lease_grant(7, lease=1234)
        with pytest.raises(LeaseTtlTooLarge):
            await empty.lease_grant(MAX_LEASE_TTL_SECONDS + 1)

    async def test_concurrent_increments_are_all_kept(self, empty: Store) -> None:
        await put(empty, b"n", b"0")

        async def increment(times: int) -> None:
            while times:
                found = await get(empty, b"n")
                assert found is not None
                unchanged = Compare(b"n", Target.MOD, Result.EQUAL, found.mod_revision)
                more = Put(b"n", b"%d" % (int(found.value) + 1))
                times -= (await do(empty, more, compare=(unchanged,))).succeeded

        async with asyncio.timeout(30):
            await asyncio.gather(*(increment(5) for _ in range(8)))
        found = await get(empty, b"n")
        assert found is not None
        assert found.value == b"40"
