"""Deployments on a small cluster."""

import pytest

from orchestra.controllers.plans import revisions
from orchestra.objects import intstr
from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICA_SET
from orchestra.pb import apps, core
from tests.unit.controllers.cluster import World, deployment, is_rolled_out


async def edit(world: World, name: str, **changes: object) -> None:
    """version=, replicas=, paused=, cause=."""

    def change(live: apps.Deployment) -> None:
        if "version" in changes:
            live.spec.template.spec.containers[0].command[1] = str(changes["version"])
        if "replicas" in changes:
            live.spec.replicas = int(str(changes["replicas"]))
        if "paused" in changes:
            live.spec.paused = bool(changes["paused"])
        if "cause" in changes:
            live.metadata.annotations[revisions.CHANGE_CAUSE] = str(changes["cause"])

    await world.objects.mutate(DEPLOYMENT, "default", name, change)


def reason(live: apps.Deployment, type_: str = "Progressing") -> str:
    return next((c.reason for c in live.status.conditions if c.type == type_), "")


def version(found: apps.ReplicaSet) -> str:
    return found.spec.template.spec.containers[0].command[1]


class Watchman:
    """Counts ready pods at every change and keeps the least and the most."""

    def __init__(self, world: World, app: str) -> None:
        self.world, self.app = world, app
        self.least, self.most = 10**9, 0
        world.pods.subscribe(lambda old, new: self.look())

    def look(self) -> None:
        pods = self.world.active(app=self.app)
        ready = sum(any(c.type == "Ready" and c.status == "True" for c in p.status.conditions) for p in pods)
        self.least, self.most = min(self.least, ready), max(self.most, len(pods))


async def test_rolls_out_and_names_its_sets(world: World) -> None:
    await world.objects.create(deployment("web", 3))
    live = await world.rolled_out("web")
    [found] = world.sets()
    hash_ = found.metadata.labels[revisions.HASH_LABEL]
    assert found.metadata.name == f"web-{hash_}"
    assert all(p.metadata.labels[revisions.HASH_LABEL] == hash_ for p in world.active(app="web"))
    assert live.metadata.annotations[revisions.REVISION] == "1"
    await world.settle()
    live = await world.objects.get(DEPLOYMENT, "default", "web")
    assert reason(live) == "NewReplicaSetAvailable"
    assert reason(live, "Available") == "MinimumReplicasAvailable"
    assert found.metadata.annotations[revisions.DESIRED_REPLICAS] == "3"
    assert found.metadata.annotations[revisions.MAX_REPLICAS] == "4"
    before = await world.settle()
    assert await world.settle() == before


async def test_a_rolling_update_keeps_enough_and_undo_reuses_the_set(world: World) -> None:
    await world.objects.create(deployment("web", 4))
    await world.rolled_out("web")
    watchman = Watchman(world, "web")
    await edit(world, "web", version="2", cause="second")
    await world.until(DEPLOYMENT, "default", "web", lambda d: not is_rolled_out(d))
    await world.rolled_out("web")
    assert watchman.least >= 3
    assert watchman.most <= 5
    await edit(world, "web", version="1")
    await world.until(DEPLOYMENT, "default", "web", lambda d: not is_rolled_out(d))
    live = await world.rolled_out("web")
    assert [version(s) for s in world.sets()] == ["2", "1"]
    assert world.sets()[0].metadata.annotations[revisions.CHANGE_CAUSE] == "second"
    assert world.sets()[1].metadata.annotations[revisions.REVISION_HISTORY] == "1"
    assert live.metadata.annotations[revisions.REVISION] == "3"
    assert watchman.least >= 3


async def test_recreate_waits_until_the_old_pods_are_gone(world: World) -> None:
    made = deployment("web", 2)
    made.spec.strategy.type = "Recreate"
    await world.objects.create(made)
    await world.rolled_out("web")
    versions: set[frozenset[str]] = set()
    world.pods.subscribe(
        lambda old, new: versions.add(
            frozenset(p.spec.containers[0].command[1] for p in world.pods.list("default"))
        )
    )
    await edit(world, "web", version="2")
    await world.until(DEPLOYMENT, "default", "web", lambda d: not is_rolled_out(d))
    await world.rolled_out("web")
    assert frozenset({"1", "2"}) not in versions


async def test_paused_changes_roll_out_as_one(world: World) -> None:
    await world.objects.create(deployment("web", 2))
    await world.rolled_out("web")
    await edit(world, "web", paused=True)
    await world.until(DEPLOYMENT, "default", "web", lambda d: reason(d) == "DeploymentPaused")
    await edit(world, "web", version="2")
    await edit(world, "web", version="3", replicas=3)
    await world.until_all(lambda: len(world.active(app="web")) == 3, "scaled though paused")
    await world.settle()
    assert [version(s) for s in world.sets()] == ["1"]
    await edit(world, "web", paused=False)
    await world.until_all(lambda: [version(s) for s in world.sets()] == ["1", "3"], "resumed")
    await world.rolled_out("web")
    assert [version(s) for s in world.sets()] == ["1", "3"]


async def test_history_is_bounded(world: World) -> None:
    made = deployment("web", 1)
    made.spec.revisionHistoryLimit = 1
    await world.objects.create(made)
    await world.rolled_out("web")
    for number in ("2", "3", "4"):
        await edit(world, "web", version=number)
        await world.until_all(
            lambda n=number: any(version(s) == n and s.status.availableReplicas for s in world.sets()),
            f"version {number}",
        )
        await world.rolled_out("web")
    await world.until_all(lambda: [version(s) for s in world.sets()] == ["3", "4"], "old sets gone")


async def test_a_stuck_rollout_is_said_and_leaves_the_old_pods(world: World) -> None:
    made = deployment("web", 2)
    made.spec.progressDeadlineSeconds = 1
    await world.objects.create(made)
    await world.rolled_out("web")
    world.is_broken = lambda pod: pod.spec.containers[0].command[1] == "bad"
    await edit(world, "web", version="bad")
    live = await world.until(
        DEPLOYMENT, "default", "web", lambda d: reason(d) == "ProgressDeadlineExceeded", "deadline"
    )
    assert live.status.availableReplicas == 2
    await edit(world, "web", version="1")
    await world.until(DEPLOYMENT, "default", "web", lambda d: reason(d) == "NewReplicaSetAvailable")


async def test_adopts_a_set_of_the_same_template(world: World) -> None:
    made = deployment("web", 2)
    orphan = apps.ReplicaSet()
    orphan.metadata.name = "by-hand"
    orphan.metadata.namespace = "default"
    orphan.metadata.labels["app"] = "web"
    orphan.spec.replicas = 1
    orphan.spec.selector.matchLabels["app"] = "web"
    orphan.spec.template.CopyFrom(made.spec.template)
    await world.objects.create(orphan)
    await world.until(REPLICA_SET, "default", "by-hand", lambda s: s.status.readyReplicas == 1)
    await world.objects.create(made)
    await world.rolled_out("web")
    [found] = world.sets()
    assert found.metadata.name == "by-hand"
    assert found.metadata.ownerReferences[0].name == "web"


async def test_a_name_that_is_taken_is_avoided(world: World) -> None:
    """Another's set under the very name that the hash gives: a collision is counted and avoided."""
    await world.objects.create(deployment("web", 1))
    await world.rolled_out("web")
    [first] = world.sets()
    live = await world.objects.get(DEPLOYMENT, "default", "web")
    second = apps.Deployment()
    second.CopyFrom(live)
    second.spec.template.spec.containers[0].command[1] = "2"
    name = revisions.new_set(second, 1).metadata.name
    squatter = apps.ReplicaSet()
    squatter.metadata.name = name
    squatter.metadata.namespace = "default"
    squatter.spec.replicas = 0
    squatter.spec.selector.matchLabels["app"] = "squatter"
    squatter.spec.template.CopyFrom(first.spec.template)
    squatter.spec.template.metadata.labels["app"] = "squatter"
    await world.objects.create(squatter)
    await edit(world, "web", version="2")
    await world.until(
        DEPLOYMENT, "default", "web", lambda d: d.status.collisionCount == 1 and is_rolled_out(d)
    )


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 1), (2, 0), ("50%", "50%")])
async def test_strategies(world: World, surge: int | str, unavailable: int | str) -> None:
    made = deployment("web", 4)
    made.spec.strategy.rollingUpdate.maxSurge.CopyFrom(intstr.of(surge))
    made.spec.strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(unavailable))
    await world.objects.create(made)
    await world.rolled_out("web")
    watchman = Watchman(world, "web")
    await edit(world, "web", version="2")
    await world.until(DEPLOYMENT, "default", "web", lambda d: not is_rolled_out(d))
    await world.rolled_out("web")
    assert watchman.least >= 4 - intstr.resolve(intstr.of(unavailable), 4, False)
    assert watchman.most <= 4 + intstr.resolve(intstr.of(surge), 4, True)


async def test_min_ready_seconds_holds_the_rollout(world: World) -> None:
    made = deployment("web", 1)
    made.spec.minReadySeconds = 1
    await world.objects.create(made)
    ready_at: list[int] = []

    def seen(old: core.Pod | None, new: core.Pod | None) -> None:
        if new is not None and any(c.type == "Ready" for c in new.status.conditions) and not ready_at:
            ready_at.append(world.clock.monotonic_ns())

    world.informers.of(POD).subscribe(seen)
    await world.rolled_out("web")
    live = await world.objects.get(DEPLOYMENT, "default", "web")
    assert live.status.availableReplicas == 1
    [pod] = world.active(app="web")
    [ready] = [c for c in pod.status.conditions if c.type == "Ready"]
    assert world.clock.wall_ns() >= (ready.lastTransitionTime.seconds + 1) * 10**9
