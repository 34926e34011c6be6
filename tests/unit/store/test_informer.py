"""Informers: equal to a list after anything, and not to be broken by a subscriber."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.base.clock import ManualClock
from orchestra.base.errors import DeadlineExceeded
from orchestra.objects.kinds import NODE, POD, SERVICE, name_of
from orchestra.pb import meta
from orchestra.store.informer import BY_CONTROLLER, BY_NODE, BY_OWNER, Informer, Informers
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import namespace, node, pod, sample


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[Informer]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(10):
            await informer.synced.wait()
        yield informer
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_cache_follows(objects: ObjectStore, store: MemoryStore) -> None:
    first = await objects.create(pod("a"))
    async with running(Informer(objects, POD)) as informer:
        assert informer.get("default", "a") == first
        second = await objects.create(pod("b"))
        await informer.wait_revision(store.revision)
        assert informer.get("default", "b") is second, "written here, so never decoded"
        assert informer.list("default") == [first, second]
        assert informer.list("nowhere") == []
        await objects.delete(POD, "default", "a")
        await informer.wait_revision(store.revision)
        assert informer.list() == [second]
        assert informer.get("default", "a") is None
        assert len(informer) == 1


async def test_kinds_without_namespaces(objects: ObjectStore) -> None:
    await objects.create(node("n1"))
    async with running(Informer(objects, NODE)) as informer:
        assert name_of(informer.get("", "n1")) == "n1"
        assert informer.get("default", "n1") is not None


async def test_indexes(objects: ObjectStore, store: MemoryStore) -> None:
    owned = pod("a")
    owned.metadata.ownerReferences.add(apiVersion="v1", kind="X", name="x", uid="u1", controller=True)
    owned.metadata.ownerReferences.add(apiVersion="v1", kind="X", name="y", uid="u2")
    await objects.create(owned)
    async with running(Informer(objects, POD)) as informer:
        informer.add_index("app", lambda obj: [obj.metadata.labels.get("app", "")])
        assert [obj.metadata.name for obj in informer.by_index(BY_OWNER, "u2")] == ["a"]
        assert [obj.metadata.name for obj in informer.by_index(BY_CONTROLLER, "u1")] == ["a"]
        assert informer.by_index(BY_CONTROLLER, "u2") == []
        assert [obj.metadata.name for obj in informer.by_index(BY_NODE, "")] == ["a"]
        assert [obj.metadata.name for obj in informer.by_index("app", "")] == ["a"]
        await objects.bind("default", "a", "", "n1")
        await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.labels.update(app="web"))
        await informer.wait_revision(store.revision)
        assert informer.by_index(BY_NODE, "") == informer.by_index("app", "") == []
        (held,) = informer.by_index(BY_NODE, "n1")
        assert held is informer.by_index("app", "web")[0] is informer.get("default", "a")
        await objects.delete(POD, "default", "a", meta.DeleteOptions(gracePeriodSeconds=0))
        await informer.wait_revision(store.revision)
        assert informer.by_index(BY_NODE, "n1") == informer.by_index(BY_OWNER, "u1") == []


async def test_subscribers_see_old_and_new(objects: ObjectStore, store: MemoryStore) -> None:
    seen: list[tuple[str, str]] = []
    first = await objects.create(pod("a", v="1"))
    async with running(Informer(objects, POD)) as informer:
        unsubscribe = informer.subscribe(
            lambda old, new: seen.append(
                (old.metadata.labels["v"] if old else "", new.metadata.labels["v"] if new else "")
            )
        )
        assert seen == [("", "1")], "told at once of what is there"
        await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.labels.update(v="2"))
        await objects.delete(POD, "default", "a")
        await informer.wait_revision(store.revision)
        assert seen == [("", "1"), ("1", "2"), ("2", "")]
        unsubscribe()
        unsubscribe()
        await objects.create(pod("b"))
        await informer.wait_revision(store.revision)
        assert len(seen) == 3
    assert first.metadata.labels["v"] == "1"


async def test_a_subscriber_that_fails_is_counted_and_the_others_are_told(
    objects: ObjectStore, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def broken(old: object, new: object) -> None:
        raise ValueError("broken on purpose")

    async with running(Informer(objects, POD)) as informer:
        informer.subscribe(broken)
        informer.subscribe(lambda old, new: seen.append(new.metadata.name))
        await objects.create(pod("a"))
        await objects.create(pod("b"))
        await informer.wait_revision(store.revision)
        assert seen == ["a", "b"]
        assert informer.status().handler_errors == 2
    assert "broken on purpose" in caplog.text


async def test_an_index_that_fails_is_counted_and_the_cache_goes_on(
    objects: ObjectStore, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Informer(objects, POD)) as informer:
        informer.add_index("app", lambda obj: [obj.metadata.labels["app"] or str(1 // 0)])
        await objects.create(pod("a"))
        await objects.create(pod("b", app="web"))
        await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.labels.update(app="web"))
        await informer.wait_revision(store.revision)
        assert {obj.metadata.name for obj in informer.by_index("app", "web")} == {"a", "b"}
        assert informer.status().index_errors == 2
    assert "an index has failed" in caplog.text


async def test_an_object_made_anew_is_two_changes(objects: ObjectStore, store: MemoryStore) -> None:
    """Deleted and created again where the informer could not look: subscribers hear of both."""
    seen: list[tuple[bool, bool]] = []
    await objects.create(pod("a"))
    informer = Informer(objects, POD)
    async with running(informer):
        pass
    informer.subscribe(lambda old, new: seen.append((old is not None, new is not None)))
    await objects.delete(POD, "default", "a")
    await objects.create(pod("a"))
    await store.compact(store.revision)
    async with running(informer):
        await informer.wait_revision(store.revision)
    assert seen == [(False, True), (True, False), (False, True)]
    assert informer.status().lists == 2


async def test_wait_revision_of_another_kind(objects: ObjectStore, store: MemoryStore) -> None:
    async with running(Informer(objects, POD)) as informer:
        await objects.create(node("n1"))
        await informer.wait_revision(store.revision)
        with pytest.raises(DeadlineExceeded, match="has not come to"):
            await informer.wait_revision(store.revision + 1, timeout_seconds=0.01)


async def test_informers_are_shared_and_started_when_asked_for(objects: ObjectStore) -> None:
    informers = Informers(objects)
    pods = informers.of(POD)
    task = asyncio.create_task(informers.run())
    try:
        async with asyncio.timeout(10):
            await informers.wait_synced()
            services = informers.of(SERVICE)
            await informers.wait_synced()
        assert informers.of(POD) is pods
        assert services.synced.is_set()
        assert {status.name for status in informers.status()} == {"informer/pods", "informer/services"}
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "label", "bind", "delete", "compact", "yield", "crash"]),
        st.integers(0, 4),
        st.sampled_from(["default", "shop"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_an_informer_equals_a_list_after_any_writes(operations: list[tuple[str, int, str]]) -> None:
    asyncio.run(_follows(operations))


async def _follows(operations: list[tuple[str, int, str]]) -> None:
    store = MemoryStore()
    objects = ObjectStore(store, clock=ManualClock(), rng=random.Random(1))
    # A reader in another process, as it were: nothing is in its cache that it has not decoded.
    informer = Informer(ObjectStore(store, clock=ManualClock()), POD)
    await objects.ensure_namespaces()
    await objects.create(namespace("shop"))
    mirror: dict[str, object] = {}

    def follow(old: object, new: object) -> None:
        if old is None:
            assert name_of(new) not in mirror, "ADDED of what is there"
        else:
            assert mirror.pop(name_of(old)) == old, "old is what was told last"
        if new is not None:
            mirror[name_of(new)] = new

    informer.subscribe(follow)
    task = asyncio.create_task(informer.run())
    try:
        for operation, number, place in operations:
            if operation == "yield":
                await asyncio.sleep(0)
            elif operation == "compact":
                if store.revision > store.compact_revision:
                    await store.compact(store.revision)
            elif operation == "crash":
                task.cancel()
                await asyncio.wait([task])
                task = asyncio.create_task(informer.run())
            else:
                await _write(objects, operation, f"p{number}", place)
        async with asyncio.timeout(10):
            await informer.wait_revision(store.revision)
    finally:
        task.cancel()
        await asyncio.wait([task])
    listed = {name_of(obj): obj for obj in (await objects.list(POD)).items}
    assert {name_of(obj): obj for obj in informer.list()} == listed == mirror
    assert informer.status().handler_errors == 0
    for obj in listed.values():
        assert obj in informer.by_index(BY_NODE, obj.spec.nodeName)
        assert obj in informer.list(obj.metadata.namespace)


async def _write(objects: ObjectStore, operation: str, name: str, place: str) -> None:
    there = any(obj.metadata.name == name for obj in (await objects.list(POD, place)).items)
    if operation == "create" and not there:
        await objects.create(pod(name, place))
    elif operation == "label" and there:
        await objects.mutate(
            POD,
            place,
            name,
            lambda obj: obj.metadata.labels.update(n=str(int(obj.metadata.labels.get("n", "0")) + 1)),
        )
    elif operation == "bind" and there and not (await objects.get(POD, place, name)).spec.nodeName:
        await objects.bind(place, name, "", "n1")
    elif operation == "delete" and there:
        await objects.delete(POD, place, name, meta.DeleteOptions(gracePeriodSeconds=0))


async def test_every_kind_has_an_informer(objects: ObjectStore) -> None:
    created = await objects.create(sample(SERVICE, "web"))
    async with running(Informer(objects, SERVICE)) as informer:
        assert informer.get("default", "web") == created
        with pytest.raises(KeyError):
            informer.by_index(BY_NODE, "n1")
