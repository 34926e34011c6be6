"""ReplicaSet and ReplicationController on a small cluster."""

from orchestra.objects.kinds import POD, REPLICA_SET, REPLICATION_CONTROLLER
from orchestra.pb import core, meta
from tests.unit.controllers.cluster import World, replica_set, template


async def test_makes_and_replaces_pods(world: World) -> None:
    await world.objects.create(replica_set("web", 3))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 3)
    [victim, *_] = world.active(app="web")
    await world.objects.delete(POD, "default", victim.metadata.name)
    await world.gone(POD, "default", victim.metadata.name)
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 3)
    assert len(world.active(app="web")) == 3
    assert {"SuccessfulCreate"} <= world.notes.reasons()


async def test_an_idle_cluster_writes_nothing(world: World) -> None:
    await world.objects.create(replica_set("web", 3))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.availableReplicas == 3)
    before = await world.settle()
    assert await world.settle() == before


async def test_never_makes_one_too_many(world: World) -> None:
    """A cache that lags behind our own writes must not be acted on."""
    made: set[str] = set()
    world.pods.subscribe(lambda old, new: made.add(new.metadata.name) if new is not None else None)
    await world.objects.create(replica_set("web", 40))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 40)
    await world.settle()
    assert len(made) == 40


async def test_adopts_orphans_and_releases_what_no_longer_matches(world: World) -> None:
    orphan = core.Pod(metadata=meta.ObjectMeta(name="orphan", namespace="default"))
    orphan.metadata.labels["app"] = "web"
    orphan.spec.CopyFrom(template("web").spec)
    await world.objects.create(orphan)
    await world.objects.create(replica_set("web", 1))
    await world.until(POD, "default", "orphan", lambda p: bool(p.metadata.ownerReferences))
    await world.settle()
    assert [p.metadata.name for p in world.active(app="web")] == ["orphan"]
    reference = world.active(app="web")[0].metadata.ownerReferences[0]
    assert (reference.kind, reference.name, reference.controller, reference.blockOwnerDeletion) == (
        "ReplicaSet", "web", True, True,
    )  # fmt: skip

    def relabel(pod: core.Pod) -> None:
        pod.metadata.labels["app"] = "other"

    await world.objects.mutate(POD, "default", "orphan", relabel)
    await world.until(POD, "default", "orphan", lambda p: not p.metadata.ownerReferences)
    await world.until_all(lambda: len(world.active(app="web")) == 1, "a replacement")


async def test_replication_controller_scales_down_and_up(world: World) -> None:
    made = core.ReplicationController(metadata=meta.ObjectMeta(name="rc", namespace="default"))
    made.spec.replicas = 4
    made.spec.selector["app"] = "rc"
    made.spec.template.CopyFrom(template("rc"))
    await world.objects.create(made)
    for replicas in (4, 1, 3, 0):

        def scale(rc: core.ReplicationController, replicas: int = replicas) -> None:
            rc.spec.replicas = replicas

        await world.objects.mutate(REPLICATION_CONTROLLER, "default", "rc", scale)
        await world.until(
            REPLICATION_CONTROLLER, "default", "rc",
            lambda rc, n=replicas: rc.status.observedGeneration == rc.metadata.generation
            and rc.status.replicas == n and rc.status.readyReplicas == n,
        )  # fmt: skip
        assert len(world.active(app="rc")) == replicas


async def test_a_finished_pod_is_replaced(world: World) -> None:
    await world.objects.create(replica_set("web", 1))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 1)
    [pod] = world.active(app="web")

    def fail(live: core.Pod) -> None:
        live.status.phase = "Failed"

    await world.objects.mutate(POD, "default", pod.metadata.name, fail, subresource="status")
    await world.until_all(
        lambda: (
            [p.status.phase for p in world.active(app="web") if p.metadata.uid != pod.metadata.uid]
            == ["Running"]
        ),
        "a replacement",
    )
