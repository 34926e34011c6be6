"""The scheduler on a real store: pods get nodes, reasons are said, and a crash loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestra.aio.supervisor import Supervisor
from orchestra.base.clock import SystemClock
from orchestra.objects.kinds import EVENT, NODE, POD, ApiObject
from orchestra.pb import core, meta
from orchestra.scheduling.scheduler import Scheduler
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


@asynccontextmanager
async def scheduling() -> AsyncIterator[tuple[ObjectStore, Scheduler]]:
    clock = SystemClock()
    objects = ObjectStore(MemoryStore(), clock=clock)
    await objects.ensure_namespaces()
    informers = Informers(objects)
    recorder = EventRecorder(objects, "scheduler")
    scheduler = Scheduler(objects, informers, recorder, clock)
    async with asyncio.timeout(20), Supervisor("test") as supervisor:
        supervisor.start("informers", informers.run)
        supervisor.start("events", recorder.run)
        scheduler.start(supervisor)
        yield objects, scheduler


async def add_node(objects: ObjectStore, name: str, cpu: str = "1") -> None:
    node = core.Node()
    node.metadata.name = name
    await objects.create(node)

    def ready(fresh: core.Node) -> None:
        for resource, quantity in (("cpu", cpu), ("memory", "1Gi"), ("pods", "10")):
            fresh.status.allocatable[resource].string = quantity
        fresh.status.conditions.add(type="Ready", status="True")

    await objects.mutate(NODE, "", name, ready, subresource="status")


async def add_pod(objects: ObjectStore, name: str, cpu: str = "600m") -> None:
    pod = core.Pod()
    pod.metadata.name = name
    container = pod.spec.containers.add(name="c", command=["sleep", "1"])
    container.resources.requests["cpu"].string = cpu
    await objects.create(pod)


async def until(objects: ObjectStore, name: str, condition: str) -> ApiObject:
    watch = objects.watch(POD, "default")
    try:
        async for batch in watch:
            for event in batch.events:
                pod = event.obj
                if pod.metadata.name != name:
                    continue
                if condition == "bound" and pod.spec.nodeName:
                    return pod
                if condition == "refused" and any(c.reason == "Unschedulable" for c in pod.status.conditions):
                    return pod
    finally:
        watch.close()
    raise AssertionError("the watch ended")


async def test_pods_that_fit_are_bound_and_say_so() -> None:
    async with scheduling() as (objects, _):
        await add_pod(objects, "early")
        await add_node(objects, "a")
        pod = await until(objects, "early", "bound")
        assert pod.spec.nodeName == "a"
        assert any(c.type == "PodScheduled" and c.status == "True" for c in pod.status.conditions)


async def test_a_pod_that_does_not_fit_says_why_and_gets_the_room_that_comes() -> None:
    async with scheduling() as (objects, _):
        for name in ("a", "b", "c"):
            await add_node(objects, name, cpu="100m")
        await add_pod(objects, "large")
        pod = await until(objects, "large", "refused")
        condition = next(c for c in pod.status.conditions if c.type == "PodScheduled")
        assert condition.message == "0/3 nodes are available: 3 Insufficient cpu."
        await add_node(objects, "d")
        assert (await until(objects, "large", "bound")).spec.nodeName == "d"
        watch = objects.watch(EVENT, "default")
        reasons = set()
        async for batch in watch:
            reasons |= {event.obj.reason for event in batch.events}
            if {"FailedScheduling", "Scheduled"} <= reasons:
                break
        watch.close()


async def test_room_is_never_given_twice_and_a_deleted_pod_gives_it_back() -> None:
    async with scheduling() as (objects, _):
        await add_node(objects, "a")
        await add_pod(objects, "first")
        await until(objects, "first", "bound")
        await add_pod(objects, "second")
        await until(objects, "second", "refused")
        await objects.delete(POD, "default", "first")
        pod = await objects.get(POD, "default", "first")
        assert pod.metadata.HasField("deletionTimestamp"), "still stopping: its room is taken"
        await objects.delete(POD, "default", "first", meta.DeleteOptions(gracePeriodSeconds=0))
        assert (await until(objects, "second", "bound")).spec.nodeName == "a"


async def test_a_restarted_scheduler_goes_on() -> None:
    async with scheduling() as (objects, scheduler):
        await add_node(objects, "a")
        await add_pod(objects, "one")
        await until(objects, "one", "bound")
        # Poison what is waiting: a key that is no key breaks the run, and the next run starts afresh.
        scheduler._queue.add("not-a-key")
        await add_pod(objects, "two", cpu="300m")
        assert (await until(objects, "two", "bound")).spec.nodeName == "a"
