"""Pages, tokens, and what watches see through selectors."""

import asyncio
import base64
import json

import pytest

from orchestra.base.errors import BadRequest, Expired, Unavailable
from orchestra.objects.kinds import NODE, POD
from orchestra.objects.selectors import parse_field_selector, parse_label_selector
from orchestra.store.listing import CHUNK_KEYS
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import namespace, node, pod


async def _fill(objects: ObjectStore, count: int) -> None:
    await asyncio.gather(
        *(objects.create(pod(f"p{number:04}", odd=str(number % 2))) for number in range(count))
    )


async def test_pages_are_of_one_revision(objects: ObjectStore) -> None:
    await _fill(objects, 10)
    first = await objects.list(POD, "default", limit=4)
    assert (len(first.items), first.remaining) == (4, 6)
    await objects.create(pod("p0004a"))
    await objects.delete(POD, "default", "p0009")
    second = await objects.list(POD, "default", limit=4, continue_=first.continue_)
    third = await objects.list(POD, "default", limit=4, continue_=second.continue_)
    names = [obj.metadata.name for page in (first, second, third) for obj in page.items]
    assert names == [f"p{number:04}" for number in range(10)]
    assert first.revision == second.revision == third.revision
    assert (third.continue_, third.remaining) == ("", None)


async def test_a_full_last_page_has_no_token(objects: ObjectStore) -> None:
    await _fill(objects, 4)
    assert (await objects.list(POD, limit=4)).continue_ == ""


async def test_pages_through_a_selector_are_full(objects: ObjectStore) -> None:
    await _fill(objects, 10)
    odd = parse_label_selector("odd=1")
    first = await objects.list(POD, labels=odd, limit=3)
    assert [obj.metadata.name for obj in first.items] == ["p0001", "p0003", "p0005"]
    assert first.remaining is None
    second = await objects.list(POD, labels=odd, limit=3, continue_=first.continue_)
    assert [obj.metadata.name for obj in second.items] == ["p0007", "p0009"]


async def test_lists_longer_than_a_chunk(objects: ObjectStore) -> None:
    count = CHUNK_KEYS * 2 + 7
    await _fill(objects, count)
    assert len((await objects.list(POD)).items) == count
    assert len((await objects.list_encoded(POD, labels=parse_label_selector("odd=1"))).items) == count // 2
    page = await objects.list(POD, limit=count - 1)
    assert (len(page.items), page.remaining) == (count - 1, 1)
    seen, ends = 0, []
    with objects.watch(POD) as watch:
        while not ends or not ends[-1]:
            batch = await anext(watch)
            seen += len(batch.events)
            ends.append(batch.initial_end)
    assert (seen, ends) == (count, [False, False, True])


async def test_namespaces_do_not_mix(objects: ObjectStore) -> None:
    await objects.create(namespace("shop"))
    await objects.create(namespace("shop-2"))
    for place in ("default", "shop", "shop-2"):
        await objects.create(pod("web", place))
    assert [obj.metadata.namespace for obj in (await objects.list(POD, "shop")).items] == ["shop"]
    assert len((await objects.list(POD)).items) == 3
    named = parse_field_selector("metadata.name=web")
    assert len((await objects.list(POD, fields=named)).items) == 3
    placed = parse_field_selector("metadata.name=web,metadata.namespace=shop-2")
    assert [obj.metadata.namespace for obj in (await objects.list(POD, fields=placed)).items] == ["shop-2"]


def _token(**said: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "!!!",
        "é",
        _token(),
        _token(v="orchestra/v1", rv="1", of="/registry/pods/", start="x"),
        _token(v="orchestra/v1", rv=0, of="/registry/pods/", start="x"),
        _token(v="orchestra/v1", rv=1, of="/registry/pods/", start=""),
        _token(v="orchestra/v1", rv=1, of="/registry/pods/", start="\ud800"),
        _token(v="orchestra/v1", rv=1, of="/registry/pods/", start=1),
        _token(v="orchestra/v1", rv=1, of="/registry/nodes/", start="x"),
        _token(v="orchestra/v1", rv=10**9, of="/registry/pods/", start="x"),
        _token(v="other", rv=1, of="/registry/pods/", start="x"),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
async def test_a_token_that_is_not_ours(objects: ObjectStore, token: str) -> None:
    with pytest.raises(BadRequest):
        await objects.list(POD, continue_=token)


async def test_a_negative_limit(objects: ObjectStore) -> None:
    with pytest.raises(BadRequest, match="limit"):
        await objects.list(POD, limit=-1)


async def test_a_token_whose_revision_is_compacted(objects: ObjectStore, store: MemoryStore) -> None:
    await _fill(objects, 4)
    page = await objects.list(POD, limit=2)
    await objects.create(pod("more"))
    await store.compact(store.revision)
    with pytest.raises(Expired, match="start a new list without the continue parameter"):
        await objects.list(POD, limit=2, continue_=page.continue_)


# Watches


async def _next(watch):
    async with asyncio.timeout(5):
        return await anext(watch)


async def _told(watch) -> list[tuple[str, str]]:
    return [(event.type, event.obj.metadata.name) for event in (await _next(watch)).events]


async def test_selectors_turn_changes_into_coming_and_going(objects: ObjectStore) -> None:
    await objects.create(pod("a", tier="back"))
    with objects.watch(POD, labels=parse_label_selector("tier=front")) as watch:
        assert (await _next(watch)).initial_end
        await objects.create(pod("b", tier="back"))
        await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.labels.update(tier="front"))
        assert await _told(watch) == [("ADDED", "a")]
        await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.annotations.update(x="y"))
        assert await _told(watch) == [("MODIFIED", "a")]
        left = await objects.mutate(POD, "default", "a", lambda obj: obj.metadata.labels.update(tier="back"))
        (event,) = (await _next(watch)).events
        assert event.type == "DELETED"
        assert event.obj.metadata.labels["tier"] == "front", "the last state that matched"
        assert event.obj.metadata.resourceVersion == left.metadata.resourceVersion
        assert POD.message.FromString(event.encoded()) == event.obj
        await objects.delete(POD, "default", "a")
        await objects.mutate(POD, "default", "b", lambda obj: obj.metadata.labels.update(tier="front"))
        assert await _told(watch) == [("ADDED", "b")]
        await objects.delete(POD, "default", "b")
        assert await _told(watch) == [("DELETED", "b")]


async def test_a_field_selector_follows_the_field(objects: ObjectStore) -> None:
    with objects.watch(POD, fields=parse_field_selector("spec.nodeName=n1")) as watch:
        await _next(watch)
        created = await objects.create(pod("a"))
        await objects.bind("default", "a", created.metadata.uid, "n1")
        assert await _told(watch) == [("ADDED", "a")]


async def test_a_watch_of_one_name(objects: ObjectStore) -> None:
    with objects.watch(POD, "default", fields=parse_field_selector("metadata.name=a")) as watch:
        assert (await _next(watch)).initial_end
        await objects.create(pod("aa"))
        await objects.create(pod("a"))
        assert await _told(watch) == [("ADDED", "a")]


async def test_a_watch_from_a_revision_misses_nothing(objects: ObjectStore, store: MemoryStore) -> None:
    start = store.revision
    await objects.create(pod("a"))
    await objects.create(pod("b"))
    await objects.delete(POD, "default", "a")
    with objects.watch(POD, revision=start) as watch:
        assert await _told(watch) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def test_a_watch_from_what_is_compacted(objects: ObjectStore, store: MemoryStore) -> None:
    start = store.revision
    await objects.create(pod("a"))
    await objects.create(pod("b"))
    await store.compact(store.revision)
    with (
        objects.watch(POD, revision=start) as watch,
        pytest.raises(Expired, match="too old resource version"),
    ):
        await _next(watch)


async def test_a_watch_from_what_never_happened(objects: ObjectStore, store: MemoryStore) -> None:
    with objects.watch(POD, revision=store.revision) as watch:
        await objects.create(pod("a"))
        assert await _told(watch) == [("ADDED", "a")]
    future = store.revision + 1
    with objects.watch(POD, revision=future) as watch, pytest.raises(Expired, match="too large resource"):
        await _next(watch)


async def test_a_deletion_whose_past_is_compacted_still_has_a_name(
    objects: ObjectStore, store: MemoryStore
) -> None:
    await objects.create(pod("a"))
    await objects.create(node("n"))
    before = store.revision
    await objects.delete(POD, "default", "a")
    await objects.delete(NODE, "", "n")
    await store.compact(before + 1)
    with objects.watch(POD, revision=before) as watch:
        (event,) = (await _next(watch)).events
    assert (event.type, event.obj.metadata.namespace, event.obj.metadata.name) == ("DELETED", "default", "a")
    with objects.watch(POD, labels=parse_label_selector("a=b"), revision=before) as watch:
        assert await _told(watch) == [("DELETED", "a")]


async def test_progress_can_be_asked_for(objects: ObjectStore, store: MemoryStore) -> None:
    with objects.watch(POD) as watch:
        await _next(watch)
        waiting = asyncio.ensure_future(_next(watch))
        await asyncio.sleep(0)
        await objects.create(node("n"))
        watch.request_progress()
        batch = await waiting
    assert (batch.revision, batch.events) == (store.revision, [])


async def test_close_ends_a_waiting_iteration(objects: ObjectStore) -> None:
    watch = objects.watch(POD)
    await _next(watch)
    waiting = asyncio.ensure_future(_collect(watch))
    await asyncio.sleep(0)
    watch.close()
    watch.close()
    async with asyncio.timeout(5):
        assert await waiting == []


async def _collect(watch) -> list[object]:
    return [batch async for batch in watch]


async def test_the_stores_end_is_said(objects: ObjectStore, store: MemoryStore) -> None:
    with objects.watch(POD) as watch:
        await _next(watch)
        await store.close()
        with pytest.raises(Unavailable):
            await _next(watch)


async def test_objects_are_decoded_once_or_never(objects: ObjectStore, store: MemoryStore, clock) -> None:
    reader = ObjectStore(store, clock=clock)
    await _fill(objects, 20)
    await reader.list(POD)
    await reader.list(POD)
    with reader.watch(POD) as watch:
        for event in (await _next(watch)).events:
            assert event.obj.metadata.name
    assert reader.decoder.decoded == 20
    assert objects.decoder.decoded == 0, "what this process wrote it need not decode"
