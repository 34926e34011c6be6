"""A store that is away, slow, or led by another: what callers see, and how informers and events come back."""

import asyncio
import random

import pytest

from orchestra.base.clock import ManualClock
from orchestra.base.errors import BadRequest, DeadlineExceeded, InternalError, Unavailable
from orchestra.mvcc.model import DeleteRange, Put, Range, RangeResult, Txn, TxnResult
from orchestra.objects.kinds import NODE, POD
from orchestra.objects.selectors import parse_label_selector
from orchestra.store.access import Access
from orchestra.store.contract import StoreUnavailable
from orchestra.store.encoding import Decoder
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informer, Informers
from orchestra.store.listing import Filter
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from orchestra.store.watching import BOOKMARK_EVENTS, ObjectWatch
from tests.unit.store.samples import node, pod


class Interrupted(MemoryStore):
    """The store in memory, behind a door that can be closed."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.refusals = 0
        self.stalled = False

    async def _door(self) -> None:
        if self.stalled:
            await asyncio.Event().wait()
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("no leader yet")

    async def range(self, request: Range) -> RangeResult:
        await self._door()
        return await super().range(request)

    async def txn(self, request: Txn) -> TxnResult:
        await self._door()
        return await super().txn(request)


@pytest.fixture
def door() -> Interrupted:
    return Interrupted()


@pytest.fixture
async def behind(door: Interrupted) -> ObjectStore:
    objects = ObjectStore(door, clock=ManualClock(), rng=random.Random(3))
    await objects.ensure_namespaces()
    return objects


async def test_unavailable_says_so_and_a_retry_works(door: Interrupted, behind: ObjectStore) -> None:
    await behind.create(pod("a"))
    door.refusals = 1
    with pytest.raises(Unavailable, match="no leader yet") as refused:
        await behind.create(pod("b"))
    assert refused.value.retry_after_ms
    await behind.create(pod("b"))


async def test_no_call_waits_for_ever(door: Interrupted) -> None:
    access = Access(door, timeout_seconds=0.01)
    door.stalled = True
    with pytest.raises(DeadlineExceeded, match="not known"):
        await access.get(b"/k")
    with pytest.raises(DeadlineExceeded):
        await access.commit([], [])


async def test_an_informer_waits_for_the_store(door: Interrupted, behind: ObjectStore) -> None:
    await behind.create(pod("a"))
    informer = Informer(behind, POD, rng=random.Random(1))
    door.refusals = 2
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(10):
        await informer.synced.wait()
    assert [obj.metadata.name for obj in informer.list()] == ["a"]
    task.cancel()
    await asyncio.wait([task])


async def test_one_informers_crash_does_not_touch_another(behind: ObjectStore, door: Interrupted) -> None:
    informers = Informers(behind)
    pods, nodes = informers.of(POD), informers.of(NODE)
    task = asyncio.create_task(informers.run())
    try:
        async with asyncio.timeout(10):
            await informers.wait_synced()
            await door.txn(Txn(success=[Put(b"/registry/pods/default/bad", b"\xff")]))
            await behind.create(pod("a"))
            await behind.create(node("n"))
            await nodes.wait_revision(door.revision)
            assert nodes.get("", "n") is not None
            with pytest.raises(InternalError, match="/registry/pods/default/bad is no Pod"):
                await behind.list(POD)
            await door.txn(Txn(success=[DeleteRange(b"/registry/pods/default/bad")]))
            await pods.wait_revision(door.revision)
        assert [obj.metadata.name for obj in pods.list()] == ["a"]
        restarts = {status.name: status.restarts for status in informers.status()}
        assert restarts == {"informer/pods": 1, "informer/nodes": 0}
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_events_wait_for_the_store(door: Interrupted, behind: ObjectStore) -> None:
    recorder = EventRecorder(behind, "tester", rng=random.Random(1))
    web = await behind.create(pod("web"))
    door.refusals = 2
    task = asyncio.create_task(recorder.run())
    recorder.record(web, "Normal", "Tested", "said")
    async with asyncio.timeout(10):
        await recorder.flushed()
    assert recorder.status().written == 1
    task.cancel()
    await asyncio.wait([task])


async def test_what_is_too_large_is_said(behind: ObjectStore) -> None:
    large = pod("web")
    large.spec.containers[0].env.add(name="A", value="x" * (2 << 20))
    with pytest.raises(BadRequest, match="too large"):
        await behind.create(large)


async def test_a_selector_that_lets_nothing_through_moves_on(door: Interrupted, behind: ObjectStore) -> None:
    """Without a bookmark now and then the watch would resume from what is compacted by then."""
    wanted = Filter(POD, labels=parse_label_selector("none=such"))
    await behind.create(pod("web"))
    start = door.revision
    watch = ObjectWatch(Access(door), Decoder(), wanted, start)
    for number in range(BOOKMARK_EVENTS):
        await behind.mutate(POD, "default", "web", lambda obj, n=number: obj.metadata.labels.update(n=str(n)))
    async with asyncio.timeout(10):
        batch = await anext(watch)
    watch.close()
    assert (batch.revision, batch.events) == (door.revision, [])
