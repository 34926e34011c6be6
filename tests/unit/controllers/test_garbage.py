"""Owners, orphans and namespaces on a small cluster."""

import pytest

from orchestra.objects.kinds import DEPLOYMENT, NAMESPACE, POD, REPLICA_SET, SERVICE
from orchestra.pb import core, meta
from tests.unit.controllers.cluster import World, deployment, replica_set, template


async def started(world: World) -> None:
    await world.objects.create(deployment("web", 2))
    await world.rolled_out("web")
    await world.settle()


@pytest.mark.parametrize("policy", ["", "Background", "Foreground"])
async def test_a_deployment_takes_everything_with_it(world: World, policy: str) -> None:
    await started(world)
    options = meta.DeleteOptions()
    if policy:
        options.propagationPolicy = policy
    _, removed = await world.objects.delete(DEPLOYMENT, "default", "web", options)
    assert removed is (policy != "Foreground")
    await world.gone(DEPLOYMENT, "default", "web")
    if policy == "Foreground":
        assert not world.sets()
    await world.until_all(lambda: not world.sets() and not world.pods.list("default"), "all gone")


async def test_orphaned_sets_stay_and_are_taken_over(world: World) -> None:
    await started(world)
    uids = {p.metadata.uid for p in world.active(app="web")}
    await world.objects.delete(DEPLOYMENT, "default", "web", meta.DeleteOptions(propagationPolicy="Orphan"))
    await world.gone(DEPLOYMENT, "default", "web")
    await world.settle()
    [found] = world.sets()
    assert not found.metadata.ownerReferences
    assert {p.metadata.uid for p in world.active(app="web")} == uids
    await world.objects.create(deployment("web", 2))
    await world.rolled_out("web")
    assert {p.metadata.uid for p in world.active(app="web")} == uids


async def test_an_owner_of_the_same_name_is_not_the_owner(world: World) -> None:
    """Ownership goes by uid: what belonged to the old object does not belong to its namesake."""
    made = core.Pod(metadata=meta.ObjectMeta(name="stray", namespace="default"))
    made.metadata.ownerReferences.add(apiVersion="apps/v1", kind="ReplicaSet", name="web", uid="long-gone")
    made.spec.CopyFrom(template("stray").spec)
    await world.objects.create(replica_set("web", 1))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 1)
    created = await world.objects.create(made)
    await world.pods.wait_revision(int(created.metadata.resourceVersion))
    await world.gone(POD, "default", "stray")


async def test_a_namespace_takes_its_content_with_it(world: World) -> None:
    await world.objects.create(core.Namespace(metadata=meta.ObjectMeta(name="shop")))
    made = deployment("web", 2)
    made.metadata.namespace = "shop"
    await world.objects.create(made)
    front = core.Service(metadata=meta.ObjectMeta(name="front", namespace="shop"))
    front.spec.selector["app"] = "web"
    front.spec.ports.add(port=80, protocol="TCP")
    await world.objects.create(front)
    await world.until(DEPLOYMENT, "shop", "web", lambda d: d.status.readyReplicas == 2)
    await world.objects.delete(NAMESPACE, "", "shop")
    await world.gone(NAMESPACE, "", "shop")
    for kind in (POD, SERVICE, DEPLOYMENT, REPLICA_SET):
        assert not (await world.objects.list(kind, "shop")).items


async def test_pods_first_when_a_namespace_goes(world: World) -> None:
    """A pod that is held holds everything else."""
    await world.objects.create(core.Namespace(metadata=meta.ObjectMeta(name="shop")))
    held = core.Pod(metadata=meta.ObjectMeta(name="held", namespace="shop", finalizers=["example.com/hold"]))
    held.spec.CopyFrom(template("held").spec)
    await world.objects.create(held)
    front = core.Service(metadata=meta.ObjectMeta(name="front", namespace="shop"))
    front.spec.ports.add(port=80, protocol="TCP")
    await world.objects.create(front)
    await world.objects.delete(NAMESPACE, "", "shop")
    await world.until(POD, "shop", "held", lambda p: p.metadata.HasField("deletionTimestamp"))
    await world.settle()
    assert await world.objects.get(SERVICE, "shop", "front")

    def release(pod: core.Pod) -> None:
        del pod.metadata.finalizers[:]

    await world.objects.mutate(POD, "shop", "held", release)
    await world.gone(NAMESPACE, "", "shop")
