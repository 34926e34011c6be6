"""sig-api-machinery: owners, and namespaces, which own what is in them."""

import asyncio
import re
from typing import Any

import pytest

from orchestra.base.errors import NotFound
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
    Manifest,
    Place,
    is_deleting,
    is_running,
    keeper,
    message,
    names,
    plain,
    pod,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
