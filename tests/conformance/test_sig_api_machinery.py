"""sig-api-machinery: garbage collection, namespaces, lists in chunks, watches, field validation."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestra.base.errors import AlreadyExists, Invalid, NotFound
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
)
from tests.conformance.place import (
    SECONDS,
    Manifest,
    Place,
    is_deleting,
    is_running,
    keeper,
    message,
    names,
    pod,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def plain(name: str, value: str = "", **labels: str) -> Manifest:
    """An object that nobody but its author changes, as a ConfigMap is."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels, "annotations": {"value": value}},
        "addressType": "IPv4",
        "endpoints": [],
    }


def value(obj: Any) -> str:
    found: str = obj.metadata.annotations["value"]
    return found


async def set_value(place: Place, name: str, to: str) -> Any:
    return await place.patch(ENDPOINT_SLICE, name, {"metadata": {"annotations": {"value": to}}})


# -- garbage collection ----------------------------------------------------------------------------------------


async def test_gc_delete_rs_created_by_deployment(place: Place) -> None:
    """GC delete RS created by deployment when not orphaning"""
    await place.create(keeper("Deployment", "d", 2))
    await place.ready_pods("d", 2)
    await place.delete(DEPLOYMENT, "d", propagation="Background")
    await asyncio.gather(
        place.until_all(REPLICA_SET, lambda found: not found), place.until_all(POD, lambda found: not found)
    )


async def test_gc_delete_pods_created_by_rc(place: Place) -> None:
    """GC delete pods created by rc when not orphaning"""
    await place.create(keeper("ReplicationController", "c", 2))
    await place.ready_pods("c", 2)
    await place.delete(REPLICATION_CONTROLLER, "c", propagation="Background")
    await place.until_all(POD, lambda found: not found)
    with pytest.raises(NotFound):
        await place.get(REPLICATION_CONTROLLER, "c")


async def test_gc_keep_the_rc_until_all_its_pods_are_deleted(place: Place) -> None:
    """GC keep the rc until all its pods are deleted"""
    await place.create(keeper("ReplicationController", "c", 2))
    held, _ = await place.ready_pods("c", 2)
    name = held.metadata.name
    await place.patch(POD, name, {"metadata": {"finalizers": ["test.example/hold"]}})
    await place.delete(REPLICATION_CONTROLLER, "c", propagation="Foreground")
    await place.until_all(POD, lambda pods: names(pods) == {name} and is_deleting(pods[0]))
    owner = await place.get(REPLICATION_CONTROLLER, "c")
    assert is_deleting(owner)
    assert list(owner.metadata.finalizers) == ["foregroundDeletion"]
    await place.patch(POD, name, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["test.example/hold"]}})
    await place.gone(POD, name)
    await place.gone(REPLICATION_CONTROLLER, "c")


async def test_gc_not_blocked_by_a_dependency_circle(place: Place) -> None:
    """GC not blocked by a dependency circle"""
    made = await place.create_all(*(pod(f"pod{n}") for n in range(3)))

    async def own(owned: Any, owner: Any) -> None:
        reference = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        await place.patch(POD, owned.metadata.name, {"metadata": {"ownerReferences": [reference]}})

    await asyncio.gather(*(own(made[n], made[n - 1]) for n in range(3)))
    await place.delete(POD, "pod0", propagation="Foreground")
    await place.until_all(POD, lambda found: not found)


async def test_gc_keep_dependents_with_another_valid_owner(place: Place) -> None:
    """GC keep dependents with another valid owner"""
    await place.create(keeper("ReplicationController", "goes", 2))
    stays = await place.create(keeper("ReplicationController", "stays", 0))
    first, second = await place.ready_pods("goes", 2)
    reference = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "name": "stays",
        "uid": stays.metadata.uid,
    }
    await place.patch(POD, first.metadata.name, {"metadata": {"ownerReferences": [reference]}})
    await place.delete(REPLICATION_CONTROLLER, "goes", propagation="Foreground")
    await place.gone(REPLICATION_CONTROLLER, "goes")
    left = await place.until_all(POD, lambda pods: names(pods) == {first.metadata.name})
    assert second.metadata.name not in names(left)
    assert [owner.name for owner in left[0].metadata.ownerReferences] == ["stays"]
    assert not is_deleting(left[0])


async def test_gc_orphan_rs(place: Place) -> None:
    """GC orphan RS when Orphan"""
    await place.create(keeper("Deployment", "d", 1))
    pods = await place.ready_pods("d", 1)
    await place.delete(DEPLOYMENT, "d", propagation="Orphan")
    await place.gone(DEPLOYMENT, "d")
    sets = await place.all(REPLICA_SET)
    assert [list(found.metadata.ownerReferences) for found in sets] == [[]]
    assert names(await place.ready_pods("d", 1)) == names(pods)


async def test_gc_orphan_pods(place: Place) -> None:
    """GC orphan pods when asked"""
    await place.create(keeper("ReplicationController", "c", 3))
    pods = await place.ready_pods("c", 3)
    await place.delete(REPLICATION_CONTROLLER, "c", propagation="Orphan")
    await place.gone(REPLICATION_CONTROLLER, "c")
    left = await place.ready_pods("c", 3)
    assert names(left) == names(pods)
    assert not [owner for found in left for owner in found.metadata.ownerReferences]


# -- namespaces ------------------------------------------------------------------------------------------------


async def test_namespaces_apply_a_finalizer(place: Place) -> None:
    """Namespaces apply a finalizer"""

    async def finalize(finalizers: list[str]) -> Any:
        patch = {"spec": {"finalizers": finalizers}}
        return await place.client.patch(
            NAMESPACE, "", place.namespace, patch, "merge", subresource="finalize"
        )

    before = list((await place.get_namespace()).spec.finalizers)
    await finalize([*before, "e2e.example.com/fake-finalizer"])
    assert "e2e.example.com/fake-finalizer" in (await place.get_namespace()).spec.finalizers
    await finalize(before)
    assert list((await place.get_namespace()).spec.finalizers) == before == ["kubernetes"]


async def test_namespaces_apply_an_update(place: Place) -> None:
    """Namespaces apply an update"""
    found = await place.get_namespace()
    found.metadata.labels[place.namespace] = "updated"
    found.metadata.ClearField("resourceVersion")
    await place.client.update(found)
    chosen = await place.client.list(NAMESPACE, labels=f"{place.namespace}=updated")
    assert names(chosen.items) == {place.namespace}


async def test_namespaces_apply_changes_to_status(place: Place) -> None:
    """Namespaces apply changes to status"""
    assert (await place.get_namespace()).status.phase == "Active"
    patch = {"status": {"conditions": [{"type": "StatusPatch", "status": "True", "reason": "E2E"}]}}
    patched = await place.client.patch(NAMESPACE, "", place.namespace, patch, subresource="status")
    assert {found.type for found in patched.status.conditions} == {"StatusPatch"}
    patched.status.conditions.add(
        type="StatusUpdate", status="True", reason="E2E", message="Updated by a test"
    )
    patched.metadata.ClearField("resourceVersion")
    await place.client.update(patched, subresource="status")
    updated = await place.get_namespace()
    assert {found.type for found in updated.status.conditions} == {"StatusPatch", "StatusUpdate"}
    assert updated.status.phase == "Active"


async def other_namespace(place: Place) -> Place:
    made = await place.client.create(
        message(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"{place.namespace}-"}}
        )
    )
    assert re.fullmatch(rf"{place.namespace}-[a-z0-9]{{5}}", made.metadata.name)
    return Place(place.client, place.cluster, made.metadata.name)


async def removed_with_its_namespace(place: Place, kind: Any, manifest: Manifest) -> None:
    """The namespace takes its content with it, and one made again by its name is empty."""
    other = await other_namespace(place)
    await other.create(manifest)
    if kind is POD:
        await other.until(POD, manifest["metadata"]["name"], is_running)
    await place.client.delete(NAMESPACE, "", other.namespace)
    await other.namespace_gone()
    again = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.namespace}}
    await place.client.create(message(again))
    assert not await other.all(kind)
    await place.client.delete(NAMESPACE, "", other.namespace)


async def test_namespaces_all_pods_removed(place: Place) -> None:
    """Namespaces: all pods removed with the namespace"""
    await removed_with_its_namespace(place, POD, pod("p"))


async def test_namespaces_all_services_removed(place: Place) -> None:
    """Namespaces: all services removed with the namespace"""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}]},
    }
    await removed_with_its_namespace(place, SERVICE, service)


async def test_namespaces_patch(place: Place) -> None:
    """Namespaces patch"""
    patch = {"metadata": {"labels": {"testLabel": "testValue"}}}
    await place.client.patch(NAMESPACE, "", place.namespace, patch)
    assert (await place.get_namespace()).metadata.labels["testLabel"] == "testValue"


async def test_ordered_namespace_deletion(place: Place) -> None:
    """OrderedNamespaceDeletion: pods first"""
    other = await other_namespace(place)
    held = pod("held")
    held["metadata"]["finalizers"] = ["test.example/hold"]
    await other.create_all(held, plain("slice"))
    await other.until(POD, "held", is_running)
    await place.client.delete(NAMESPACE, "", other.namespace)
    await other.until(POD, "held", is_deleting)
    terminating = await other.get_namespace()
    assert terminating.status.phase == "Terminating"
    # The pod cannot go, so neither may what it might still need.
    await asyncio.sleep(0.5)
    assert names(await other.all(ENDPOINT_SLICE)) == {"slice"}
    await other.patch(
        POD, "held", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["test.example/hold"]}}
    )
    await other.namespace_gone()


# -- chunks ----------------------------------------------------------------------------------------------------


async def test_chunking_list_in_chunks(place: Place) -> None:
    """Chunking: list in chunks"""
    count, limit = 100, 17
    await place.create_all(*(plain(f"template-{n:04}") for n in range(count)))
    found: list[Any] = []
    revisions = set()
    token = ""
    while True:
        page = await place.client.list(ENDPOINT_SLICE, place.namespace, limit=limit, continue_=token)
        assert len(page.items) <= limit
        revisions.add(page.revision)
        found += page.items
        token = page.continue_
        if not token:
            break
        assert page.remaining is None or page.remaining == count - len(found)
        # What is made meanwhile belongs to a later revision.
        await place.create(plain(f"template-later-{len(found)}"))
    assert [item.metadata.name for item in found] == [f"template-{n:04}" for n in range(count)]
    assert len(revisions) == 1
    assert len(await place.all(ENDPOINT_SLICE)) > count


# -- watches ---------------------------------------------------------------------------------------------------


async def test_watchers_restart_from_last_resource_version(place: Place) -> None:
    """Watchers: restart from last resourceVersion"""
    async with place.watching(ENDPOINT_SLICE) as seen:
        await place.create(plain("x"))
        await seen.until("ADDED")
        await set_value(place, "x", "1")
        last = await seen.until("MODIFIED")
    await set_value(place, "x", "2")
    await place.delete(ENDPOINT_SLICE, "x")
    revision = int(last.metadata.resourceVersion)
    async with place.watching(ENDPOINT_SLICE, revision=revision) as again:
        type_, found = await again.next()
        assert (type_, value(found)) == ("MODIFIED", "2")
        assert (await again.next())[0] == "DELETED"


async def test_watchers_start_from_a_specific_resource_version(place: Place) -> None:
    """Watchers: start from a specific resourceVersion"""
    await place.create(plain("x"))
    first = await set_value(place, "x", "1")
    await set_value(place, "x", "2")
    await place.delete(ENDPOINT_SLICE, "x")
    async with place.watching(ENDPOINT_SLICE, revision=int(first.metadata.resourceVersion)) as seen:
        type_, found = await seen.next()
        assert (type_, value(found)) == ("MODIFIED", "2")
        assert (await seen.next())[0] == "DELETED"


async def test_watchers_add_update_delete(place: Place) -> None:
    """Watchers: add, update, delete on configmaps"""
    now = await place.revision(ENDPOINT_SLICE)
    async with (
        place.watching(ENDPOINT_SLICE, labels="watch=A", revision=now) as of_a,
        place.watching(ENDPOINT_SLICE, labels="watch=B", revision=now) as of_b,
        place.watching(ENDPOINT_SLICE, labels="watch in (A, B)", revision=now) as of_both,
    ):
        await place.create(plain("a", watch="A"))
        await set_value(place, "a", "1")
        await set_value(place, "a", "2")
        await place.delete(ENDPOINT_SLICE, "a")
        await place.create(plain("b", watch="B"))
        await place.delete(ENDPOINT_SLICE, "b")

        async def told(seen: Any, count: int) -> list[tuple[str, str, str]]:
            events = [await seen.next() for _ in range(count)]
            return [(type_, found.metadata.name, value(found)) for type_, found in events]

        in_a = [("ADDED", "a", ""), ("MODIFIED", "a", "1"), ("MODIFIED", "a", "2"), ("DELETED", "a", "2")]
        in_b = [("ADDED", "b", ""), ("DELETED", "b", "")]
        assert await told(of_a, 4) == in_a
        assert await told(of_b, 2) == in_b
        assert await told(of_both, 6) == in_a + in_b


async def test_watchers_deletion_when_the_selector_stops_matching(place: Place) -> None:
    """Watchers: deletion when the selector stops matching"""
    now = await place.revision(ENDPOINT_SLICE)
    async with place.watching(ENDPOINT_SLICE, labels="watch=this", revision=now) as seen:
        await place.create(plain("x", watch="this"))
        await set_value(place, "x", "1")
        left = await place.patch(ENDPOINT_SLICE, "x", {"metadata": {"labels": {"watch": "other"}}})
        await set_value(place, "x", "2")
        await place.patch(ENDPOINT_SLICE, "x", {"metadata": {"labels": {"watch": "this"}}})
        await set_value(place, "x", "3")
        await place.delete(ENDPOINT_SLICE, "x")
        events = [await seen.next() for _ in range(6)]
        assert [type_ for type_, _ in events] == [
            "ADDED",
            "MODIFIED",
            "DELETED",
            "ADDED",
            "MODIFIED",
            "DELETED",
        ]
        gone = events[2][1]
        assert (gone.metadata.labels["watch"], value(gone)) == ("this", "1")
        assert gone.metadata.resourceVersion == left.metadata.resourceVersion
        assert [value(found) for _, found in events[3:]] == ["2", "3", "3"]


async def test_watchers_same_order_on_concurrent_watches(place: Place) -> None:
    """Watchers: same order on concurrent watches"""
    count = 40

    async def write() -> None:
        for number in range(count):
            name = f"x{number % 4}"
            try:
                await place.create(plain(name))
            except AlreadyExists:
                if number % 3:
                    await set_value(place, name, str(number))
                else:
                    await place.delete(ENDPOINT_SLICE, name)

    async def read(seen: Any) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        async with asyncio.timeout(SECONDS):
            while not found or found[-1][0] != "END":
                type_, obj = await seen.next()
                end = obj.metadata.name == "end"
                found.append(("END" if end else type_, obj.metadata.resourceVersion))
        return found

    start = await place.revision(ENDPOINT_SLICE)
    watches = [place.watching(ENDPOINT_SLICE, revision=start) for _ in range(6)]
    entered = [await watch.__aenter__() for watch in watches]
    readers = [asyncio.create_task(read(seen)) for seen in entered]
    await write()
    await place.create(plain("end"))
    orders = await asyncio.gather(*readers)
    for watch in watches:
        await watch.__aexit__(None, None, None)
    assert all(order == orders[0] for order in orders)
    revisions = [int(revision) for _, revision in orders[0]]
    assert revisions == sorted(set(revisions))


# -- field validation ------------------------------------------------------------------------------------------

WRONG = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
  {metadata}
spec:
  replicas: 1
  {spec}
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
        - {name: c, command: [sleep, infinity]}
"""


async def refused(place: Place, path: Path, **parts: str) -> str:
    """What creating and applying the manifest says; nothing is made."""
    text = WRONG
    for name in ("metadata", "spec"):
        text = text.replace("{" + name + "}", parts.get(name, "# nothing"))
    path.write_text(text)
    said = []
    for verb in ("create", "apply"):
        code, _, errors = await place.try_to_type(f"{verb} -f {path}")
        assert code == 1
        said.append(errors)
    assert not await place.all(DEPLOYMENT)
    assert said[0] == said[1]
    return said[0]


async def test_field_validation_unknown_and_duplicate_fields(place: Place, tmp_path: Path) -> None:
    """FieldValidation typed object: unknown and duplicate fields"""
    said = await refused(place, tmp_path / "d.yaml", spec="unknown1: val1\n  paused: true\n  paused: false")
    assert "spec.unknown1" in said
    assert "paused" in said
    assert "duplicate" in said
    await place.create(keeper("Deployment", "good", 0))
    with pytest.raises(Invalid, match="unknown1"):
        await place.patch(DEPLOYMENT, "good", {"spec": {"unknown1": "val1"}})


async def test_field_validation_unknown_metadata_fields(place: Place, tmp_path: Path) -> None:
    """FieldValidation typed object: unknown metadata fields"""
    said = await refused(place, tmp_path / "d.yaml", metadata="unknownMeta: foo")
    assert "metadata.unknownMeta" in said


# -- the server ------------------------------------------------------------------------------------------------


async def test_server_version(place: Place) -> None:
    """server version"""
    said = json.loads(await place.type("version -o json"))
    major, minor = said["serverVersion"]["major"], said["serverVersion"]["minor"]
    assert re.fullmatch(r"\d+", major)
    assert re.fullmatch(r"\d+", minor)
    assert (await place.client.version()).version.startswith(f"{major}.{minor}.")
