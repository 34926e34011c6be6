"""Typed objects, informers and the contest for leadership on a real etcd that is killed and comes back."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from orchestra.base.clock import SystemClock
from orchestra.base.errors import ApiError, Conflict, NotFound, Unavailable
from orchestra.mvcc.model import DeleteRange, Put, Range, Txn
from orchestra.objects.kinds import EVENT, POD, ApiObject
from orchestra.pb import core
from orchestra.store.etcd import EtcdLeadership, EtcdStore
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informer, Informers
from orchestra.store.leadership import LEADER_KEY, Leader, Leadership, Mandate
from orchestra.store.objects import ObjectStore
from tests.integration.cuttable import Cuttable
from tests.integration.etcd_server import EtcdServer

WAIT_SECONDS = 10


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(
        tmp_path_factory.mktemp("etcd"), "--heartbeat-interval", "20", "--election-timeout", "200"
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    async with await EtcdStore.open([etcd.address], timeout_seconds=1) as opened:
        await opened.txn(Txn(success=(DeleteRange(b"\0", b"\0"),)))
        yield opened


@pytest.fixture
async def objects(store: EtcdStore) -> ObjectStore:
    made = ObjectStore(store, clock=SystemClock(), rng=random.Random(7))
    await made.ensure_namespaces()
    return made


def pod(name: str) -> core.Pod:
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.spec.containers.add(name="c", command=["sleep", "60"])
    return made


def label(obj: ApiObject, value: str) -> None:
    obj.metadata.labels["n"] = value


async def test_the_verbs(objects: ObjectStore) -> None:
    created = await objects.create(pod("a"))
    assert (await objects.get(POD, "default", "a")).metadata.uid == created.metadata.uid
    changed = await objects.mutate(POD, "default", "a", lambda obj: label(obj, "1"))
    with pytest.raises(Conflict):
        await objects.update(created)
    for n in range(5):
        await objects.create(pod(f"b{n}"))
    page = await objects.list(POD, "default", limit=4)
    rest = await objects.list(POD, "default", limit=4, continue_=page.continue_)
    assert [len(page.items), page.remaining, len(rest.items)] == [4, 2, 2]
    await objects.bind("default", "a", changed.metadata.uid, "n1")
    assert (await objects.get(POD, "default", "a")).spec.nodeName == "n1"
    await objects.delete(POD, "default", "b1")
    with pytest.raises(NotFound):
        await objects.get(POD, "default", "b1")


async def test_events_are_recorded_under_a_lease(objects: ObjectStore, store: EtcdStore) -> None:
    recorder = EventRecorder(objects, "tests")
    running = asyncio.create_task(recorder.run())
    with objects.watch(EVENT) as watch:
        recorder.record(await objects.create(pod("a")), "Normal", "Tested", "it was")
        async with asyncio.timeout(WAIT_SECONDS):
            while not (batch := await anext(watch)).events:
                pass
    assert batch.events[0].obj.reason == "Tested"
    kept = (await store.range(Range(b"/registry/events/", b"/registry/events0"))).kvs
    assert [kv.lease != 0 for kv in kept] == [True]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_informers_outlive_a_killed_etcd(etcd: EtcdServer, objects: ObjectStore) -> None:
    informers = Informers(objects)
    informer = informers.of(POD)
    seen: list[str] = []
    expected: list[str] = []

    def told(old: ApiObject | None, new: ApiObject | None) -> None:
        seen.append(new.metadata.resourceVersion if new is not None else "gone")

    running = asyncio.create_task(informers.run())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await informers.wait_synced()
        informer.subscribe(told)
        for name in ("a", "b"):
            expected.append((await objects.create(pod(name))).metadata.resourceVersion)
        await has_seen(informer, objects)
        for round_ in range(2):
            etcd.kill()
            with pytest.raises(ApiError):
                await objects.create(pod("lost"))
            etcd.launch()
            expected.append((await labelled(objects, str(round_))).metadata.resourceVersion)
            await has_seen(informer, objects)
        await objects.delete(POD, "default", "b")
        await has_seen(informer, objects)
        assert seen == [*expected, "gone"]
        assert informer.status().lists == 1
        assert [obj.metadata.name for obj in informer.list()] == ["a"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def has_seen(informer: Informer, objects: ObjectStore) -> None:
    await informer.wait_revision((await objects.list(POD)).revision, WAIT_SECONDS)


async def labelled(objects: ObjectStore, value: str) -> ApiObject:
    """Sets a label, as often as it takes until etcd answers."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await objects.mutate(POD, "default", "a", lambda obj: label(obj, value))
            except ApiError:
                await asyncio.sleep(0.05)


async def winner(*masters: Leadership) -> tuple[Leadership, Mandate]:
    """The first of them to lead."""
    waiting = {asyncio.ensure_future(master.won()): master for master in masters}
    done, rest = await asyncio.wait(waiting, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    (first,) = done
    return waiting[first], first.result()


async def test_one_leads_and_resigning_hands_over_at_once(etcd: EtcdServer, store: EtcdStore) -> None:
    async with (
        await EtcdStore.open([etcd.address]) as other,
        EtcdLeadership(store, "m1", "m1:7070") as one,
    ):
        first = await one.won()
        assert one.leader == Leader("m1", "m1:7070")
        async with EtcdLeadership(other, "m2", "m2:7070") as two:
            async with asyncio.timeout(WAIT_SECONDS):
                while two.leader is None:
                    await two.changed()
            assert two.leader == Leader("m1", "m1:7070")
            done = await store.txn(Txn(first.guards, (Put(b"k", b"first"),)))
            assert done.succeeded
            began = asyncio.get_running_loop().time()
            await one.close()
            async with asyncio.timeout(WAIT_SECONDS):
                await first.over()
                second = await two.won()
            assert asyncio.get_running_loop().time() - began < 2
            assert two.leader == Leader("m2", "m2:7070")
            # The deposed one's late write is refused, the new one's is not.
            assert not (await store.txn(Txn(first.guards, (Put(b"k", b"late"),)))).succeeded
            assert (await other.txn(Txn(second.guards, (Put(b"k", b"second"),)))).succeeded
            held = (await store.range(Range(LEADER_KEY))).kvs[0]
            said = json.loads(held.value)
            assert (said["name"], said["address"]) == ("m2", "m2:7070")
    async with await EtcdStore.open([etcd.address]) as afterwards:
        assert (await afterwards.range(Range(LEADER_KEY))).count == 0


async def test_a_leader_that_is_cut_off_stops_before_another_one_leads(
    etcd: EtcdServer, store: EtcdStore
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        Cuttable(etcd.address) as way,
        await EtcdStore.open([way.address], timeout_seconds=1) as cut_off,
        EtcdLeadership(cut_off, "m1", "m1:7070", ttl_seconds=2) as one,
    ):
        first = await one.won()
        async with EtcdLeadership(store, "m2", "m2:7070", ttl_seconds=2) as two:
            await asyncio.sleep(1)
            assert not first.is_over
            way.cut()
            ended: list[float] = []
            first_over = asyncio.ensure_future(first.over())
            first_over.add_done_callback(lambda _: ended.append(loop.time()))
            async with asyncio.timeout(WAIT_SECONDS):
                await two.won()
            won = loop.time()
            assert ended
            assert ended[0] < won
            assert one.leader != Leader("m1", "m1:7070")
            way.mend()
            async with asyncio.timeout(WAIT_SECONDS):
                while one.leader != Leader("m2", "m2:7070"):
                    await one.changed()


async def test_a_mandate_given_up_is_not_taken_up_again(etcd: EtcdServer) -> None:
    async with (
        Cuttable(etcd.address) as way,
        await EtcdStore.open([way.address], timeout_seconds=0.5) as store,
        EtcdLeadership(store, "m1", "m1:7070", ttl_seconds=2) as one,
    ):
        first = await one.won()
        way.cut()
        async with asyncio.timeout(WAIT_SECONDS):
            await first.over()
            way.mend()
            second = await one.won()
        assert list(second.guards) != list(first.guards)
        assert not (await store.txn(Txn(first.guards))).succeeded
        assert (await store.txn(Txn(second.guards))).succeeded


async def test_a_key_taken_away_ends_the_mandate(store: EtcdStore, objects: ObjectStore) -> None:
    async with EtcdLeadership(store, "m1", "m1:7070") as one:
        first = await one.won()
        guarded = ObjectStore(store, clock=SystemClock(), guards=tuple(first.guards))
        await guarded.create(pod("a"))
        await store.txn(Txn(success=(DeleteRange(LEADER_KEY),)))
        async with asyncio.timeout(WAIT_SECONDS):
            await first.over()
            second = await one.won()
        assert list(second.guards) != list(first.guards)
        with pytest.raises(Unavailable, match="no longer the leader"):
            await guarded.create(pod("b"))
