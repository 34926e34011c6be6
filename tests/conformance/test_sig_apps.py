"""sig-apps: what keeps pods in their numbers and replaces them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orchestra.objects.kinds import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    Kind,
)
from orchestra.pb import apps
from tests.conformance.place import (
    SLEEP,
    Place,
    condition,
    container,
    controller,
    is_deleting,
    is_true,
    keeper,
    names,
    pod,
    server,
)
from tests.conformance.traffic import get

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A second version of a program that sleeps.
OTHER = container(*SLEEP, env=[{"name": "VERSION", "value": "2"}])
READY = {"httpGet": {"port": "http"}, "periodSeconds": 1}
# A second version that never becomes ready.
STUCK = container(*SLEEP, readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1})


def to_version(program: Any) -> dict[str, Any]:
    """A JSON merge patch that gives a pod template another program."""
    return {"spec": {"template": {"spec": {"containers": [program]}}}}


async def change_program(place: Place, name: str, program: Any) -> Any:
    return await place.client.patch(DEPLOYMENT, place.namespace, name, to_version(program), "merge")


async def scaled_through_subresource(place: Place, kind: Kind, name: str) -> None:
    """Reads, updates and patches the /scale of an object with one replica."""
    scale = await place.client.get_scale(kind, place.namespace, name)
    assert (scale.spec.replicas, scale.metadata.name) == (1, name)
    assert f"app={name}" in scale.status.selector
    scale.metadata.resourceVersion = ""
    scale.spec.replicas = 2
    assert (await place.client.update_scale(kind, scale)).spec.replicas == 2
    assert (await place.get(kind, name)).spec.replicas == 2
    patched = await place.client.patch(
        kind, place.namespace, name, {"spec": {"replicas": 3}}, "merge", subresource="scale"
    )
    assert patched.spec.replicas == 3
    await place.ready_pods(name, 3)
    scale = await place.client.get_scale(kind, place.namespace, name)
    assert (scale.spec.replicas, scale.status.replicas) == (3, 3)


async def status_written(place: Place, kind: Kind, name: str) -> None:
    """Reads, patches and updates the /status of an object, which nothing else of it follows."""
    before = await place.get(kind, name)
    own = {"type": "StatusPatched", "status": "True", "reason": "E2E"}
    patched = await place.patch(kind, name, {"status": {"conditions": [own]}}, "status")
    assert is_true(patched, "StatusPatched")
    assert (patched.metadata.generation, patched.spec) == (before.metadata.generation, before.spec)

    changed = await place.get(kind, name)
    changed.status.conditions.add(
        type="StatusUpdate", status="True", reason="E2E", message="Set from e2e test"
    )
    changed.metadata.ClearField("resourceVersion")
    changed.spec.replicas = 77
    updated = await place.client.update(changed, subresource="status")
    assert is_true(updated, "StatusUpdate")
    assert updated.spec == before.spec, "a write of the status never touches the spec"
    updated = await place.get(kind, name)
    assert is_true(updated, "StatusUpdate")
    assert is_true(updated, "StatusPatched")


async def answered_by_each(place: Place, pods: list[Any]) -> None:
    """Every pod answers with its own name."""

    async def ask(found: Any) -> None:
        port = found.status.containerStatuses[0].ports[0].hostPort
        assert (await get(found.status.podIP, port)).body == found.metadata.name

    await asyncio.gather(*map(ask, pods))


async def adopts(place: Place, manifest: Any) -> Any:
    """An orphan that matches is adopted, not added to."""
    orphan = await place.create(pod("orphan", labels={"app": "keep"}))
    keep = await place.create(manifest)
    adopted = await place.until(POD, "orphan", lambda p: controller(p) == keep.metadata.uid)
    assert adopted.metadata.uid == orphan.metadata.uid
    assert names(await place.ready_pods("keep", 1)) == {"orphan"}
    return keep


async def releases(place: Place, keep: Any) -> None:
    """A pod relabelled out of the selector is let go and replaced."""
    found = (await place.ready_pods("keep", 1))[0]
    assert controller(found) == keep.metadata.uid
    name = found.metadata.name
    await place.patch(POD, name, {"metadata": {"labels": {"app": "let-go"}}})
    released = await place.until(POD, name, lambda p: not p.metadata.ownerReferences)
    assert not is_deleting(released)
    assert (await place.ready_pods("keep", 1))[0].metadata.uid != found.metadata.uid


# -- Deployment ----------------------------------------------------------------------------------------------


async def test_deployment_scale_subresource(place: Place) -> None:
    """Deployment scale subresource"""
    await place.create(keeper("Deployment", "d", 1))
    await scaled_through_subresource(place, DEPLOYMENT, "d")


async def test_deployment_recreate(place: Place) -> None:
    """Deployment Recreate"""
    await place.create(keeper("Deployment", "d", 2, strategy={"type": "Recreate"}))
    old = {p.metadata.uid for p in await place.ready_pods("d", 2)}
    async with place.watching(POD) as seen:
        await change_program(place, "d", OTHER)
        await place.rolled_out("d")
        new = await place.ready_pods("d", 2)
        newest = {p.metadata.uid for p in new}
        alive: set[str] = set()
        while not newest <= alive:
            type_, found = await seen.next()
            alive.discard(found.metadata.uid) if type_ == "DELETED" else alive.add(found.metadata.uid)
            assert not (alive & old and alive - old), "an old pod and a new one are there together"
    assert not old & newest


async def test_deployment_rolling_update(place: Place) -> None:
    """Deployment RollingUpdate"""
    old = keeper("ReplicaSet", "d", 1)
    old["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3546343826724305832"}
    old_set = await place.create(old)
    await place.ready_pods("d", 1)
    deployment = await place.create(keeper("Deployment", "d", 1, OTHER))
    await place.rolled_out("d")
    adopted = await place.until(REPLICA_SET, "d", lambda s: s.spec.replicas == s.status.replicas == 0)
    assert adopted.metadata.uid == old_set.metadata.uid
    assert controller(adopted) == deployment.metadata.uid
    sets = await place.all(REPLICA_SET)
    assert len(sets) == 2
    new = next(s for s in sets if s.metadata.name != "d")
    assert new.metadata.annotations["deployment.kubernetes.io/revision"] == "3546343826724305833"
    assert [controller(p) for p in await place.ready_pods("d", 1)] == [new.metadata.uid]


async def test_deployment_revision_history_limit(place: Place) -> None:
    """Deployment revisionHistoryLimit"""
    await place.create(keeper("ReplicaSet", "d", 1))
    await place.ready_pods("d", 1)
    await place.create(keeper("Deployment", "d", 1, OTHER, revisionHistoryLimit=0))
    await place.rolled_out("d")
    left = await place.until_all(REPLICA_SET, lambda sets: len(sets) == 1)
    assert left[0].metadata.name != "d"


async def test_deployment_proportional_scaling(place: Place) -> None:
    """Deployment proportional scaling"""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    await place.create(keeper("Deployment", "d", 10, strategy=rolling))
    await place.rolled_out("d")
    first = (await place.all(REPLICA_SET))[0].metadata.name
    await change_program(place, "d", STUCK)

    def sizes(*wanted: int) -> Callable[[list[Any]], bool]:
        def hold(sets: list[Any]) -> bool:
            by_age = sorted(sets, key=lambda s: s.metadata.name != first)
            return [s.spec.replicas for s in by_age] == [s.status.replicas for s in by_age] == list(wanted)

        return hold

    await place.until_all(REPLICA_SET, sizes(8, 5))
    await place.patch(DEPLOYMENT, "d", {"spec": {"replicas": 30}})
    # 33 pods in all, 20 more: shared as 8 to 5.
    sets = await place.until_all(REPLICA_SET, sizes(20, 13))
    assert {s.metadata.annotations["deployment.kubernetes.io/max-replicas"] for s in sets} == {"33"}
    assert {s.metadata.annotations["deployment.kubernetes.io/desired-replicas"] for s in sets} == {"30"}


async def test_deployment_rollover(place: Place) -> None:
    """Deployment rollover"""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await place.create(keeper("ReplicaSet", "d", 1))
    await place.ready_pods("d", 1)
    await place.create(keeper("Deployment", "d", 1, STUCK, strategy=rolling))
    await place.until_all(POD, lambda pods: len(pods) == 2)
    await change_program(place, "d", OTHER)
    await place.rolled_out("d")
    sets = await place.until_all(REPLICA_SET, lambda sets: sum(s.status.replicas for s in sets) == 1)
    assert sorted(s.spec.replicas for s in sets) == [0, 0, 1]
    assert [p.spec.containers[0].env[0].value for p in await place.ready_pods("d", 1)] == ["2"]


async def test_deployment_lifecycle(place: Place) -> None:
    """Deployment lifecycle"""
    await place.create(keeper("Deployment", "d", 1))
    async with place.watching(DEPLOYMENT, labels="app=d") as seen:
        await seen.until("ADDED")
        await seen.until("MODIFIED", lambda d: d.status.availableReplicas == 1)
        labelled = {"metadata": {"labels": {"patched": "yes"}}, "spec": {"replicas": 2}}
        await place.patch(DEPLOYMENT, "d", labelled)
        await seen.until("MODIFIED", lambda d: d.status.readyReplicas == 2)
        scale = await place.client.get_scale(DEPLOYMENT, place.namespace, "d")
        scale.spec.replicas = 1
        await place.client.update_scale(DEPLOYMENT, scale)
        await seen.until("MODIFIED", lambda d: d.status.replicas == d.status.readyReplicas == 1)
        everywhere = await place.client.list(DEPLOYMENT, labels="patched=yes")
        assert place.namespace in {d.metadata.namespace for d in everywhere}
        own = {"type": "Patched", "status": "True"}
        await place.patch(DEPLOYMENT, "d", {"status": {"conditions": [own]}}, "status")
        await seen.until("MODIFIED", lambda d: is_true(d, "Patched"))
        await place.replace(DEPLOYMENT, "d", lambda d: d.metadata.labels.update({"updated": "yes"}))
        await seen.until("MODIFIED", lambda d: d.metadata.labels["updated"] == "yes")
        await place.client.delete_collection(DEPLOYMENT, place.namespace, labels="patched=yes")
        await seen.until("DELETED")


async def test_deployment_status_endpoints(place: Place) -> None:
    """Deployment status endpoints"""
    await place.create(keeper("Deployment", "d", 1))
    done = await place.rolled_out("d")
    assert is_true(done, "Available")
    await status_written(place, DEPLOYMENT, "d")
    assert is_true(await place.get(DEPLOYMENT, "d"), "Available")


# -- ReplicaSet ----------------------------------------------------------------------------------------------


async def test_replica_set_replace_and_patch(place: Place) -> None:
    """ReplicaSet replace and patch"""
    await place.create(keeper("ReplicaSet", "r", 1))
    first = await place.ready_pods("r", 1)

    def bigger(found: apps.ReplicaSet) -> None:
        found.spec.replicas = 3
        found.metadata.labels["replaced"] = "yes"

    await place.replace(REPLICA_SET, "r", bigger)
    assert names(first) < names(await place.ready_pods("r", 3))
    patch = {
        "metadata": {"labels": {"patched": "yes"}},
        "spec": {
            "replicas": 2,
            "template": {
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{**OTHER, "image": "two"}]}
            },
        },
    }
    patched = await place.patch(REPLICA_SET, "r", patch)
    assert (patched.spec.template.spec.containers[0].image, patched.spec.replicas) == ("two", 2)
    assert patched.metadata.labels["patched"] == patched.metadata.labels["replaced"] == "yes"
    await place.ready_pods("r", 2)


async def test_replica_set_scale_subresource(place: Place) -> None:
    """ReplicaSet scale subresource"""
    await place.create(keeper("ReplicaSet", "r", 1))
    await scaled_through_subresource(place, REPLICA_SET, "r")


async def test_replica_set_adopt_and_release(place: Place) -> None:
    """ReplicaSet adopt and release"""
    keep = await adopts(place, keeper("ReplicaSet", "keep", 1))
    await releases(place, keep)


async def list_and_delete_collection(place: Place, kind: Kind, made: Callable[[str], Awaitable[Any]]) -> None:
    await asyncio.gather(made("one"), made("two"), made("three"))
    chosen = await place.all(kind, labels="app in (one, two)")
    assert names(chosen) == {"one", "two"}
    assert await place.client.delete_collection(kind, place.namespace, labels="app in (one, two)") == 2
    await place.until_all(kind, lambda found: names(found) == {"three"})


async def test_replica_set_list_and_deletecollection(place: Place) -> None:
    """ReplicaSet list and deletecollection"""
    await list_and_delete_collection(
        place, REPLICA_SET, lambda name: place.create(keeper("ReplicaSet", name, 1))
    )


async def test_replica_set_serves_on_each_replica(place: Place) -> None:
    """ReplicaSet serves on each replica"""
    await place.create(keeper("ReplicaSet", "r", 2, server(readinessProbe=READY)))
    await answered_by_each(place, await place.ready_pods("r", 2))


async def test_replica_set_status_endpoints(place: Place) -> None:
    """ReplicaSet status endpoints"""
    await place.create(keeper("ReplicaSet", "r", 1))
    await place.ready_pods("r", 1)
    await status_written(place, REPLICA_SET, "r")


# -- ReplicationController -----------------------------------------------------------------------------------


async def test_rc_adopt_matching_pods(place: Place) -> None:
    """RC adopt matching pods"""
    await adopts(place, keeper("ReplicationController", "keep", 1))


async def test_rc_scale(place: Place) -> None:
    """RC scale"""
    await place.create(keeper("ReplicationController", "c", 1))
    await scaled_through_subresource(place, REPLICATION_CONTROLLER, "c")


async def test_rc_release_pods(place: Place) -> None:
    """RC release pods"""
    await releases(place, await place.create(keeper("ReplicationController", "keep", 1)))


async def test_rc_serves_on_each_replica(place: Place) -> None:
    """RC serves on each replica"""
    await place.create(keeper("ReplicationController", "c", 2, server(readinessProbe=READY)))
    await answered_by_each(place, await place.ready_pods("c", 2))


async def test_rc_lifecycle(place: Place) -> None:
    """RC lifecycle"""
    async with place.watching(REPLICATION_CONTROLLER, labels="app=c") as seen:
        await place.create(keeper("ReplicationController", "c", 1))
        await seen.until("ADDED")
        await seen.until("MODIFIED", lambda c: c.status.readyReplicas == 1)
        await place.patch(REPLICATION_CONTROLLER, "c", {"metadata": {"labels": {"patched": "yes"}}})
        await seen.until("MODIFIED", lambda c: c.metadata.labels["patched"] == "yes")
        own = {"type": "Patched", "status": "True"}
        await place.patch(REPLICATION_CONTROLLER, "c", {"status": {"conditions": [own]}}, "status")
        await seen.until("MODIFIED", lambda c: is_true(c, "Patched"))
        changed = await place.get(REPLICATION_CONTROLLER, "c")
        condition(changed, "Patched").status = "False"
        changed.metadata.ClearField("resourceVersion")
        await place.client.update(changed, subresource="status")
        await seen.until("MODIFIED", lambda c: condition(c, "Patched").status == "False")
        scale = await place.client.get_scale(REPLICATION_CONTROLLER, place.namespace, "c")
        scale.spec.replicas = 2
        await place.client.update_scale(REPLICATION_CONTROLLER, scale)
        await seen.until("MODIFIED", lambda c: c.status.readyReplicas == 2)
        everywhere = await place.client.list(REPLICATION_CONTROLLER, labels="patched=yes")
        assert place.namespace in {c.metadata.namespace for c in everywhere}
        await place.client.delete_collection(REPLICATION_CONTROLLER, place.namespace, labels="patched=yes")
        await seen.until("DELETED")
