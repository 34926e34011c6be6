"""Every verb on every kind."""

import asyncio
import json

import pytest

from orchestra.base.errors import AlreadyExists, BadRequest, Conflict, Invalid, NotFound
from orchestra.mvcc.model import Range
from orchestra.objects import kinds
from orchestra.objects.kinds import KINDS, NAMESPACE, Kind
from orchestra.objects.selectors import parse_field_selector, parse_label_selector
from orchestra.pb import meta
from orchestra.store.encoding import revision_suffix
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import sample

EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)


def _namespace(kind: Kind) -> str:
    return "default" if kind.namespaced else ""


async def _put(objects: ObjectStore, kind: Kind, name: str = "web", **labels: str):
    return await objects.create(sample(kind, name, **labels))


@EVERY_KIND
async def test_created_object_is_what_get_returns(
    objects: ObjectStore, store: MemoryStore, kind: Kind
) -> None:
    given = sample(kind, "web", tier="front")
    before = given.SerializeToString(deterministic=True)
    created = await objects.create(given)
    assert given.SerializeToString(deterministic=True) == before, "what goes in is left alone"
    assert created.metadata.uid
    assert created.metadata.creationTimestamp.seconds
    assert created.metadata.resourceVersion == str(store.revision)
    assert await objects.get(kind, _namespace(kind), "web") == created
    decoded = kind.message.FromString(await objects.get_encoded(kind, _namespace(kind), "web"))
    assert decoded == created
    with pytest.raises(AlreadyExists, match=rf'{kind.resource} "web" already exists'):
        await objects.create(given)


@EVERY_KIND
async def test_stored_bytes_have_no_resource_version(
    objects: ObjectStore, store: MemoryStore, kind: Kind
) -> None:
    await _put(objects, kind)
    (kv,) = (await store.range(Range(kind.key(_namespace(kind), "web").encode()))).kvs
    assert not kind.message.FromString(kv.value).metadata.HasField("resourceVersion")
    assert kind.message.FromString(revision_suffix(123456)).metadata.resourceVersion == "123456"


@EVERY_KIND
async def test_list_with_and_without_selectors(objects: ObjectStore, kind: Kind) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        await _put(objects, kind, name, tier=tier)
    tiered = parse_label_selector("tier")
    everything = await objects.list(kind, _namespace(kind), labels=tiered)
    assert [obj.metadata.name for obj in everything.items] == ["a", "b", "c"]
    front = await objects.list(kind, labels=parse_label_selector("tier=front"))
    assert [obj.metadata.name for obj in front.items] == ["a", "c"]
    named = await objects.list(kind, _namespace(kind), fields=parse_field_selector("metadata.name=b"))
    assert [obj.metadata.name for obj in named.items] == ["b"]
    both = await objects.list(
        kind, labels=parse_label_selector("tier=front"), fields=parse_field_selector("metadata.name!=a")
    )
    assert [obj.metadata.name for obj in both.items] == ["c"]
    as_bytes = await objects.list_encoded(kind, _namespace(kind), labels=tiered)
    assert [kind.message.FromString(item) for item in as_bytes.items] == everything.items
    with pytest.raises(BadRequest, match="nonsense"):
        await objects.list(kind, fields=parse_field_selector("spec.nonsense=1"))


@EVERY_KIND
async def test_watch_tells_initial_state_and_changes(objects: ObjectStore, kind: Kind) -> None:
    first = await _put(objects, kind, "a", tier="front")
    with objects.watch(kind, _namespace(kind), labels=parse_label_selector("tier")) as watch:
        batch = await anext(watch)
        assert [(event.type, event.obj) for event in batch.events] == [("ADDED", first)]
        assert batch.initial_end
        second = await _put(objects, kind, "b", tier="back")
        changed = await objects.mutate(kind, _namespace(kind), "b", lambda obj: _annotate(obj, "x", "1"))
        events = await _events(watch, 2)
        assert [(event.type, event.obj) for event in events] == [("ADDED", second), ("MODIFIED", changed)]
        assert events[1].previous == second
        assert kind.message.FromString(events[1].encoded()) == changed
        gone = await _delete(objects, kind, "b")
        events = await _events(watch, 2 if kind is NAMESPACE else 1)
        assert events[-1].type == "DELETED"
        assert events[-1].obj.metadata.name == "b"
        assert events[-1].obj.metadata.resourceVersion == gone.metadata.resourceVersion
        assert events[-1].obj.metadata.annotations["x"] == "1"


async def _delete(objects: ObjectStore, kind: Kind, name: str):
    obj, removed = await objects.delete(kind, _namespace(kind), name)
    if kind is NAMESPACE:
        assert not removed
        assert obj.status.phase == "Terminating"
        obj = await objects.mutate(
            NAMESPACE, "", name, lambda found: found.spec.ClearField("finalizers"), subresource="finalize"
        )
    else:
        assert removed
    return obj


async def _events(watch, count: int):
    events = []
    while len(events) < count:
        async with asyncio.timeout(5):
            events.extend((await anext(watch)).events)
    return events


def _annotate(obj, key: str, value: str) -> None:
    obj.metadata.annotations[key] = value


@EVERY_KIND
async def test_update_is_optimistic(objects: ObjectStore, store: MemoryStore, kind: Kind) -> None:
    created = await _put(objects, kind)
    first, second = kind.new(), kind.new()
    first.CopyFrom(created)
    second.CopyFrom(created)
    _annotate(first, "by", "first")
    _annotate(second, "by", "second")
    updated = await objects.update(first)
    assert updated.metadata.annotations["by"] == "first"
    assert updated.metadata.uid == created.metadata.uid
    with pytest.raises(Conflict) as refused:
        await objects.update(second)
    assert str(refused.value) == (
        f'Operation cannot be fulfilled on {kind.resource} "web": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    second.metadata.ClearField("resourceVersion")
    unconditional = await objects.update(second)
    assert unconditional.metadata.annotations["by"] == "second"
    revision = store.revision
    again = await objects.update(unconditional)
    assert again.metadata.resourceVersion == unconditional.metadata.resourceVersion
    assert store.revision == revision, "what changes nothing is not written"
    assert (await objects.get(kind, _namespace(kind), "web")) == again
    missing = sample(kind, "nobody")
    with pytest.raises(NotFound, match=f'{kind.resource} "nobody" not found'):
        await objects.update(missing)


@EVERY_KIND
@pytest.mark.parametrize("patch_type", ["merge", "json", "strategic"])
async def test_patch(objects: ObjectStore, store: MemoryStore, kind: Kind, patch_type: str) -> None:
    await _put(objects, kind, tier="front")
    place = _namespace(kind)
    body: object = {"metadata": {"labels": {"tier": None, "zone": "a"}}}
    if patch_type == "json":
        body = [
            {"op": "remove", "path": "/metadata/labels/tier"},
            {"op": "add", "path": "/metadata/labels/zone", "value": "a"},
        ]
    patched = await objects.patch(kind, place, "web", patch_type, json.dumps(body).encode())
    labels = dict(patched.metadata.labels)
    labels.pop("kubernetes.io/metadata.name", None)
    assert labels == {"zone": "a"}
    revision = store.revision
    nothing = b"[]" if patch_type == "json" else b"{}"
    same = await objects.patch(kind, place, "web", patch_type, nothing)
    assert (same, store.revision) == (patched, revision), "an empty patch writes nothing"
    if patch_type != "json":
        with pytest.raises(Invalid, match="annotatons"):
            await objects.patch(kind, place, "web", patch_type, b'{"metadata":{"annotatons":{}}}')
        stale = json.dumps({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}).encode()
        with pytest.raises(Conflict, match="has been modified"):
            await objects.patch(kind, place, "web", patch_type, stale)
    with pytest.raises(BadRequest, match="not JSON"):
        await objects.patch(kind, place, "web", patch_type, b"{")
    half = b'[{"op":"add","path":"/\\ud800","value":1}]' if patch_type == "json" else b'{"\\ud800":1}'
    with pytest.raises(BadRequest, match="surrogate"):
        await objects.patch(kind, place, "web", patch_type, half)
    with pytest.raises(NotFound):
        await objects.patch(kind, place, "nobody", patch_type, nothing)


@EVERY_KIND
async def test_status_is_apart(objects: ObjectStore, kind: Kind) -> None:
    created = await _put(objects, kind)
    if not kind.has_status:
        with pytest.raises(NotFound, match='no subresource "status"'):
            await objects.update(created, subresource="status")
        return
    wanted = kind.new()
    wanted.CopyFrom(created)
    _annotate(wanted, "from", "status")
    _change_status(kind, wanted)
    updated = await objects.update(wanted, subresource="status")
    assert updated.status == wanted.status
    assert "from" not in updated.metadata.annotations, "a status update changes the status only"
    assert updated.metadata.generation == created.metadata.generation
    kept = await objects.mutate(kind, _namespace(kind), "web", lambda obj: obj.status.Clear() or True)
    assert kept.status == updated.status, "an update leaves the status alone"


def _change_status(kind: Kind, obj) -> None:
    status = obj.status
    if "replicas" in status.DESCRIPTOR.fields_by_name:
        status.replicas = 1
    elif kind is kinds.SERVICE:
        status.loadBalancer.ingress.add(ip="10.0.0.1")
    else:
        status.conditions.add(type="Tested", status="True")


@EVERY_KIND
async def test_apply(objects: ObjectStore, store: MemoryStore, kind: Kind) -> None:
    wanted = sample(kind, "web", tier="front", keep="it")
    created, outcome = await objects.apply(wanted)
    assert outcome == "created"
    assert json.loads(created.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"])
    revision = store.revision
    same, outcome = await objects.apply(wanted)
    assert (outcome, same, store.revision) == ("unchanged", created, revision)
    await objects.mutate(kind, _namespace(kind), "web", lambda obj: _annotate(obj, "others", "own"))
    del wanted.metadata.labels["tier"]
    wanted.metadata.labels["zone"] = "a"
    tried, outcome = await objects.apply(wanted, dry_run=True)
    assert outcome == "configured"
    assert "zone" in tried.metadata.labels
    changed, outcome = await objects.apply(wanted)
    assert outcome == "configured"
    labels = dict(changed.metadata.labels)
    labels.pop("kubernetes.io/metadata.name", None)
    assert labels == {"zone": "a", "keep": "it"}
    assert changed.metadata.annotations["others"] == "own"


@EVERY_KIND
async def test_delete(objects: ObjectStore, kind: Kind) -> None:
    created = await _put(objects, kind)
    place = _namespace(kind)
    tried, _ = await objects.delete(kind, place, "web", meta.DeleteOptions(dryRun=["All"]))
    assert tried.metadata.uid == created.metadata.uid
    assert await objects.get(kind, place, "web") == created
    await _delete(objects, kind, "web")
    with pytest.raises(NotFound):
        await objects.get(kind, place, "web")
    with pytest.raises(NotFound):
        await objects.delete(kind, place, "web")


@EVERY_KIND
async def test_delete_collection(objects: ObjectStore, kind: Kind) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        await _put(objects, kind, name, tier=tier)
    selector = parse_label_selector("tier=front")
    assert await objects.delete_collection(kind, _namespace(kind), labels=selector) == 2
    left = (await objects.list(kind, labels=parse_label_selector("tier"))).items
    alive = [obj.metadata.name for obj in left if not obj.metadata.HasField("deletionTimestamp")]
    assert alive == ["b"]


@EVERY_KIND
async def test_dry_run_writes_nothing(objects: ObjectStore, store: MemoryStore, kind: Kind) -> None:
    created = await _put(objects, kind)
    revision = store.revision
    tried = await objects.create(sample(kind, "other"), dry_run=True)
    assert tried.metadata.uid
    with pytest.raises(AlreadyExists):
        await objects.create(sample(kind, "web"), dry_run=True)
    changed = kind.new()
    changed.CopyFrom(created)
    _annotate(changed, "a", "b")
    assert (await objects.update(changed, dry_run=True)).metadata.annotations["a"] == "b"
    patch = b'{"metadata":{"annotations":{"a":"b"}}}'
    tried = await objects.patch(kind, _namespace(kind), "web", "merge", patch, dry_run=True)
    assert tried.metadata.annotations["a"] == "b"
    assert tried.metadata.resourceVersion == created.metadata.resourceVersion
    assert store.revision == revision


@EVERY_KIND
async def test_generated_names(objects: ObjectStore, kind: Kind) -> None:
    given = sample(kind, "")
    given.metadata.ClearField("name")
    given.metadata.generateName = "web-"
    names = {(await objects.create(given)).metadata.name for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("web-") and len(name) == 9 for name in names)
