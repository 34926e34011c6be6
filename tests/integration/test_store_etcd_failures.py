"""A store on etcd while its members, and the way to them, come and go."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestra.base.errors import UsageError
from orchestra.mvcc.errors import RequestTooLarge
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import DeleteRange, Event, KeyValue, Put, Range, Txn
from orchestra.mvcc.retention import Retention
from orchestra.store.contract import Compacted, NoSpace, Store, StoreUnavailable
from orchestra.store.etcd import EtcdCompactor, EtcdStore, addresses_of
from orchestra.store.etcd import watch as watch_module
from tests.integration.cuttable import Cuttable
from tests.integration.etcd_server import EtcdServer

WAIT_SECONDS = 10
# Elections within milliseconds, not seconds.
QUICK = ("--heartbeat-interval", "20", "--election-timeout", "200")


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    async with await EtcdStore.open([etcd.address]) as opened:
        await opened.txn(Txn(success=(DeleteRange(b"\0", b"\0"),)))
        yield opened


async def put(store: Store, key: bytes, value: bytes = b"") -> int:
    return (await store.txn(Txn(success=(Put(key, value),)))).revision


async def take(watch: AsyncIterator[object], count: int) -> list[KeyValue]:
    """The next `count` changes."""
    events: list[Event] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(events) < count:
            batch = await anext(watch)
            events += batch.events  # type: ignore[attr-defined]
    return [event.kv for event in events]


async def test_a_watch_resumes_without_a_gap_or_a_repeat(etcd: EtcdServer, store: EtcdStore) -> None:
    async with Cuttable(etcd.address) as way, await EtcdStore.open([way.address]) as cut_off:
        with cut_off.watch(b"w/", prefix_end(b"w/")) as watch:
            written = [await put(store, b"w/%d" % n) for n in range(20)]
            seen = await take(watch, 20)
            for _ in range(3):
                way.cut()
                written += [await put(store, b"w/%d" % n) for n in range(20)]
                way.mend()
                seen += await take(watch, 20)
                written.append(await put(store, b"w/x"))
                seen += await take(watch, 1)
        assert [kv.mod_revision for kv in seen] == written


async def test_who_was_cut_off_for_longer_than_history_is_told(etcd: EtcdServer, store: EtcdStore) -> None:
    async with Cuttable(etcd.address) as way, await EtcdStore.open([way.address]) as cut_off:
        with cut_off.watch(b"w") as watch:
            await put(store, b"w")
            await take(watch, 1)
            way.cut()
            last = 0
            for _ in range(5):
                last = await put(store, b"w")
            await store.compact(last)
            way.mend()
            with pytest.raises(Compacted) as refused:
                await take(watch, 1)
            assert refused.value.compact_revision == last
        # A new one goes on from now.
        with cut_off.watch(b"w", start_revision=last + 1) as watch:
            revision = await put(store, b"w")
            assert [kv.mod_revision for kv in await take(watch, 1)] == [revision]


async def test_a_slow_reader_reads_on_from_etcd(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "RECENT_EVENTS", 1024)
    with store.watch(b"s/", prefix_end(b"s/"), prev_kv=True) as watch, store.watch(b"other") as other:
        revisions = []
        puts = 1024 // 128 * 2 + 3
        for n in range(puts):
            done = await store.txn(Txn(success=tuple(Put(b"s/%d" % m, b"%d" % n) for m in range(128))))
            revisions += [done.revision] * 128
        await put(store, b"other")
        assert len(await take(other, 1)) == 1
        assert store._watches.recent.compact_revision > revisions[0]
        seen = await take(watch, len(revisions))
        assert [kv.mod_revision for kv in seen] == revisions
        watch.request_progress()
        last = await put(store, b"s/")
        assert [kv.mod_revision for kv in await take(watch, 1)] == [last]


async def test_a_watch_from_long_ago_catches_up(etcd: EtcdServer, store: EtcdStore) -> None:
    first = await put(store, b"a")
    second = await put(store, b"a")
    async with await EtcdStore.open([etcd.address]) as later:
        with later.watch(b"a", start_revision=first) as watch:
            third = await put(later, b"a")
            assert [kv.mod_revision for kv in await take(watch, 3)] == [first, second, third]
            watch.request_progress()
            async with asyncio.timeout(WAIT_SECONDS):
                assert (await anext(watch)).revision >= third


async def test_ranges_larger_than_a_message_are_read_in_pages(store: EtcdStore) -> None:
    for n in range(24):
        await put(store, b"big/%02d" % n, bytes(1024 * 1024))
    result = await store.range(Range(b"big/", prefix_end(b"big/")))
    assert (len(result.kvs), result.count, result.more) == (24, 24, False)
    assert [kv.key for kv in result.kvs] == [b"big/%02d" % n for n in range(24)]
    result = await store.range(Range(b"big/", prefix_end(b"big/"), limit=20))
    assert (len(result.kvs), result.count, result.more) == (20, 24, True)
    everything = Txn(success=(Range(b"big/", prefix_end(b"big/")),))
    with pytest.raises(RequestTooLarge):
        await store.txn(everything)


async def test_nobody_answers_within_the_deadline(etcd: EtcdServer) -> None:
    async with Cuttable(etcd.address) as way, await EtcdStore.open([way.address], timeout_seconds=0.3) as cut:
        way.cut()
        async with asyncio.timeout(3):
            with pytest.raises(StoreUnavailable, match=way.address):
                await cut.range(Range(b"k"))
            with pytest.raises(StoreUnavailable):
                await put(cut, b"k")
        way.mend()
    with pytest.raises(StoreUnavailable):
        await EtcdStore.open([way.address], timeout_seconds=0.3)


async def test_a_closed_store_says_so(etcd: EtcdServer) -> None:
    store = await EtcdStore.open([etcd.address])
    with store.watch(b"k") as watch, store.watch(b"k", start_revision=1) as behind:
        waiting = [asyncio.ensure_future(anext(each)) for each in (watch, behind)]
        await asyncio.sleep(0)
        await store.close()
        for each in waiting:
            with pytest.raises((StoreUnavailable, Compacted)):
                await each
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.range(Range(b"k"))


async def fill(store: Store) -> None:
    for n in range(20):
        await put(store, b"%d" % n, bytes(1024 * 1024))


async def test_a_full_etcd_refuses_writes_only(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path, "--quota-backend-bytes", str(4 * 1024 * 1024))
    server.start()
    try:
        async with await EtcdStore.open([server.address]) as store:
            with pytest.raises(NoSpace, match="quota"):
                await fill(store)
            assert (await store.range(Range(b"0"))).count == 1
    finally:
        server.kill()


async def oldest_kept(store: Store, unless: int) -> int:
    """The oldest revision that can be read, once `unless` cannot any more."""
    while True:
        try:
            await store.range(Range(b"c", revision=unless))
        except Compacted as error:
            return error.compact_revision
        await asyncio.sleep(0.02)


async def test_the_compactor_keeps_what_is_owed(etcd: EtcdServer, store: EtcdStore) -> None:
    # Other tests' compactions are behind this revision.
    await store.compact(await put(store, b"c"))
    begin = store.revision
    compactor = EtcdCompactor(store, Retention(revisions=50))
    task = asyncio.create_task(compactor.run())
    try:
        for _ in range(120):
            await put(store, b"c")
        async with asyncio.timeout(WAIT_SECONDS):
            kept = await oldest_kept(store, begin + 1)
        assert begin + 1 < kept <= store.revision - 50
        assert (await store.range(Range(b"c", revision=store.revision - 50))).count == 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_addresses() -> None:
    assert addresses_of("etcd://a:1,b:2") == ("a:1", "b:2")
    for wrong in ("a:1", "etcd://", "etcd://a", "http://a:1"):
        with pytest.raises(UsageError):
            addresses_of(wrong)


async def test_a_cluster_of_three_loses_one(tmp_path: Path) -> None:
    servers = [EtcdServer(tmp_path / f"e{n}", *QUICK, name=f"e{n}") for n in range(3)]
    cluster = ",".join(server.as_member for server in servers)
    for server in servers:
        server.cluster = cluster
        server.launch()
    try:
        for server in servers:
            server.wait_ready()
        async with await EtcdStore.open([server.address for server in servers]) as store:
            with store.watch(b"k") as watch:
                written = [await put(store, b"k") for _ in range(5)]
                victim = next(server for server in servers if server.address == store.address)
                assert victim.process is not None
                # Silent, not gone: only deadlines tell.
                victim.process.send_signal(signal.SIGSTOP)
                async with asyncio.timeout(WAIT_SECONDS):
                    assert (await store.range(Range(b"k"))).count == 1
                written += [await acknowledged(store) for _ in range(5)]
                seen = [kv.mod_revision for kv in await take(watch, 10)]
                assert set(written) <= set(seen)
                assert seen == sorted(set(seen))
                victim.kill()
                await acknowledged(store)
    finally:
        for server in servers:
            server.kill()


async def acknowledged(store: Store) -> int:
    """A put that is repeated until it is answered: one that is lost on the way may have been done."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await put(store, b"k")
            except StoreUnavailable:
                await asyncio.sleep(0.05)
