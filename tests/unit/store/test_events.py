"""Events: told once and counted, bounded, forgotten after an hour, never in the way."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from orchestra.base.clock import ManualClock
from orchestra.mvcc.model import Range
from orchestra.objects.kinds import EVENT, NAMESPACE
from orchestra.pb import core
from orchestra.store import events
from orchestra.store.events import BURST, QUEUE_BOUND, EventRecorder
from orchestra.store.expiry import EVENT_TTL_SECONDS, SLICE_SECONDS
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import namespace, node, pod, sample


@pytest.fixture
async def recorder(objects: ObjectStore) -> AsyncIterator[EventRecorder]:
    made = EventRecorder(objects, "tester", "host-1", rng=random.Random(1))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def _flushed(recorder: EventRecorder) -> None:
    async with asyncio.timeout(10):
        await recorder.flushed()


async def _events(objects: ObjectStore) -> list[core.Event]:
    return (await objects.list(EVENT)).items


async def test_an_event_is_kubernetes_own(
    objects: ObjectStore, recorder: EventRecorder, clock: ManualClock
) -> None:
    web = await objects.create(pod("web"))
    recorder.record(web, "Normal", "Started", "Started container c")
    await _flushed(recorder)
    (event,) = await _events(objects)
    assert event.metadata.name.startswith("web.")
    assert event.metadata.namespace == "default"
    assert event.metadata.uid
    assert event.involvedObject == core.ObjectReference(
        kind="Pod",
        apiVersion="v1",
        namespace="default",
        name="web",
        uid=web.metadata.uid,
        resourceVersion=web.metadata.resourceVersion,
    )
    assert (event.type, event.reason, event.message) == ("Normal", "Started", "Started container c")
    assert (event.count, event.source.component, event.source.host) == (1, "tester", "host-1")
    assert event.firstTimestamp == event.lastTimestamp
    assert event.firstTimestamp.seconds == clock.wall_ns() // 10**9
    assert await objects.get(EVENT, "default", event.metadata.name) == event


async def test_the_same_again_is_counted(
    objects: ObjectStore, recorder: EventRecorder, clock: ManualClock
) -> None:
    web = await objects.create(pod("web"))
    recorder.record(web, "Warning", "BackOff", "again")
    await _flushed(recorder)
    clock.advance(5)
    recorder.record(web, "Warning", "BackOff", "again")
    recorder.record(web, "Warning", "BackOff", "again")
    recorder.record(web, "Warning", "BackOff", "other")
    recorder.of("another").record(web, "Warning", "BackOff", "again")
    await _flushed(recorder)
    found = sorted((event.message, event.source.component, event.count) for event in await _events(objects))
    assert found == [("again", "another", 1), ("again", "tester", 3), ("other", "tester", 1)]
    counted = next(event for event in await _events(objects) if event.count == 3)
    assert counted.lastTimestamp.seconds - counted.firstTimestamp.seconds == 5
    assert recorder.status().written == 4, "two told while one waits are one write"
    clock.advance(events.WINDOW_SECONDS)
    recorder.record(web, "Warning", "BackOff", "again")
    await _flushed(recorder)
    assert len(await _events(objects)) == 4


async def test_many_in_one_transaction(
    objects: ObjectStore, recorder: EventRecorder, store: MemoryStore
) -> None:
    pods = [pod(f"p{number}") for number in range(250)]
    for number, obj in enumerate(pods):
        obj.metadata.uid = str(number)
    before = store.revision
    for obj in pods:
        recorder.record(obj, "Normal", "Scheduled", "bound")
    await _flushed(recorder)
    assert len(await _events(objects)) == 250
    assert store.revision - before == 3


async def test_one_object_cannot_drown_the_rest(
    objects: ObjectStore, recorder: EventRecorder, clock: ManualClock
) -> None:
    web = await objects.create(pod("web"))
    for number in range(BURST + 10):
        recorder.record(web, "Warning", "Spam", f"number {number}")
    assert recorder.status().spared == 10
    clock.advance(events.REFILL_SECONDS)
    recorder.record(web, "Warning", "Spam", "later")
    recorder.record(web, "Warning", "Spam", "too soon")
    assert recorder.status().spared == 11
    await _flushed(recorder)
    assert len(await _events(objects)) == BURST + 1


async def test_the_oldest_go_when_too_many_wait(objects: ObjectStore) -> None:
    recorder = EventRecorder(objects, "tester")
    for number in range(QUEUE_BOUND + 5):
        obj = pod(f"p{number}")
        obj.metadata.uid = str(number)
        recorder.record(obj, "Normal", "Tested", "said")
    status = recorder.status()
    assert (status.queued, status.dropped) == (QUEUE_BOUND, 5)
    task = asyncio.create_task(recorder.run())
    await _flushed(recorder)
    task.cancel()
    await asyncio.wait([task])
    names = {event.involvedObject.name for event in await _events(objects)}
    assert len(names) == QUEUE_BOUND
    assert "p0" not in names


async def test_events_are_forgotten_and_leases_shared(
    objects: ObjectStore, recorder: EventRecorder, store: MemoryStore, clock: ManualClock
) -> None:
    web = await objects.create(pod("web"))
    for number in range(3):
        recorder.record(web, "Normal", "Tested", f"first {number}")
        await _flushed(recorder)
    clock.advance(SLICE_SECONDS)
    recorder.record(web, "Normal", "Tested", "second")
    await _flushed(recorder)
    clock.advance(EVENT_TTL_SECONDS)
    assert await store.expire_due() == 1, "one lease for a slice of time"
    assert [event.message for event in await _events(objects)] == ["second"]
    clock.advance(SLICE_SECONDS)
    assert await store.expire_due() == 1
    assert await _events(objects) == []


async def test_a_lease_that_is_gone_is_replaced(
    objects: ObjectStore, recorder: EventRecorder, store: MemoryStore, clock: ManualClock
) -> None:
    web = await objects.create(pod("web"))
    recorder.record(web, "Normal", "Tested", "first")
    await _flushed(recorder)
    (kv,) = (await store.range(Range(b"/registry/events/", b"/registry/events0"))).kvs
    await store.lease_revoke(kv.lease)
    recorder.record(web, "Normal", "Tested", "second")
    await _flushed(recorder)
    assert [event.message for event in await _events(objects)] == ["second"]


async def test_events_that_others_create_are_forgotten_too(
    objects: ObjectStore, store: MemoryStore, clock: ManualClock
) -> None:
    await objects.create(sample(EVENT, "own"))
    await objects.mutate(EVENT, "default", "own", lambda obj: obj.metadata.labels.update(a="b"))
    clock.advance(EVENT_TTL_SECONDS + SLICE_SECONDS)
    await store.expire_due()
    assert await _events(objects) == []


async def test_what_cannot_be_written_is_given_up_quietly(
    objects: ObjectStore, recorder: EventRecorder
) -> None:
    await objects.create(namespace("shop"))
    web = await objects.create(pod("web", "shop"))
    await objects.delete(NAMESPACE, "", "shop")
    recorder.record(web, "Normal", "Tested", "too late")
    recorder.record(pod("x", "nowhere"), "Normal", "Tested", "nowhere")
    recorder.record(await objects.create(node("n1")), "Normal", "Tested", "of a node")
    await _flushed(recorder)
    assert recorder.status().failed == 2
    (event,) = await _events(objects)
    assert (event.metadata.namespace, event.involvedObject.name) == ("default", "n1")


async def test_a_recorder_never_fails_its_caller(
    objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = EventRecorder(objects, "tester")
    recorder.record(object(), "Normal", "Tested", "not an object")
    assert recorder.status().failed == 1
    assert "could not be recorded" in caplog.text


async def test_idle_writes_nothing(
    objects: ObjectStore, recorder: EventRecorder, store: MemoryStore, clock: ManualClock
) -> None:
    recorder.record(await objects.create(pod("web")), "Normal", "Tested", "once")
    await _flushed(recorder)
    before = store.machine.applied_index
    for _ in range(10):
        clock.advance(60)
        await asyncio.sleep(0)
    assert store.machine.applied_index == before
