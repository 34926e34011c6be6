"""Rollouts on virtual time: deadlines to the second, minutes of waiting in milliseconds."""

from orchestra.objects import intstr
from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICA_SET
from orchestra.pb import apps, meta
from tests.simulation.cluster import builders
from tests.simulation.cluster.scenes import (
    current,
    deployment,
    edit,
    new_version,
    play,
    pods,
    progressing,
    ready,
    sets,
    wants,
)
from tests.simulation.cluster.state import is_finished
from tests.simulation.cluster.world import World


def test_a_rollout_that_makes_no_progress_is_said_to_have_failed_and_can_be_mended() -> None:
    async def story(world: World) -> None:
        made = builders.deployment("web", 3, ready_ms="100")
        made.spec.progressDeadlineSeconds = 10
        await world.user.create(made)
        await world.converge()
        began = world.now()
        await new_version(world, "web", 2, ready_ms="-1")
        late = wants(lambda: progressing(world, "web") == "ProgressDeadlineExceeded", "not late")
        await world.until(late, 15.0)
        assert 9.0 <= world.now() - began <= 11.5
        assert ready(world, "web") >= 3
        await world.stay_quiet(60.0)
        await new_version(world, "web", 3, ready_ms="100")
        await world.converge()
        assert progressing(world, "web") == "NewReplicaSetAvailable"

    play(story)


def test_a_pod_counts_as_available_after_min_ready_seconds_and_the_rollout_waits_for_it() -> None:
    async def story(world: World) -> None:
        made = builders.deployment("web", 3, ready_ms="100")
        made.spec.minReadySeconds = 5
        made.spec.strategy.type = "RollingUpdate"
        made.spec.strategy.rollingUpdate.maxSurge.CopyFrom(intstr.of(1))
        made.spec.strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(0))
        await world.user.create(made)
        await world.until(wants(lambda: ready(world, "web") == 3, "not ready"), 5.0)
        began = world.now()
        await world.until(wants(lambda: deployment(world, "web").status.availableReplicas == 3, "early"), 8.0)
        # Conditions carry whole seconds, as in Kubernetes.
        assert 3.9 <= world.now() - began <= 5.3
        await world.converge()
        began = world.now()
        await new_version(world, "web", 2, ready_ms="100")
        await world.converge()
        assert 3 * 3.9 <= world.now() - began <= 3 * 6.0

    play(story)


def test_a_change_in_the_midst_of_a_rollout_takes_its_place() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 6, ready_ms="300"))
        await world.converge()
        for version in range(2, 6):
            await new_version(world, "web", version, ready_ms="300")
            await world.sleep(0.25)
        took = await world.converge()
        assert took < 10.0
        assert {p.metadata.annotations["version"] for p in pods(world, "web")} == {"5"}

    play(story)


def test_scaling_in_the_midst_of_a_rollout_is_shared_in_proportion() -> None:
    async def story(world: World) -> None:
        made = builders.deployment("web", 8, ready_ms="100")
        await world.user.create(made)
        await world.converge()
        # Never ready: the rollout stops where the strategy stops it.
        await new_version(world, "web", 2, ready_ms="-1")
        await world.until(wants(lambda: deployment(world, "web").status.replicas == 10, "no surge"), 10.0)
        await world.sleep(5.0)
        before = [found.spec.replicas for found in sets(world, "web")]
        assert before == [6, 4]
        await edit(world, "web", lambda live: setattr(live.spec, "replicas", 12))
        await world.sleep(5.0)
        assert [found.spec.replicas for found in sets(world, "web")] == [9, 6]
        await new_version(world, "web", 1, ready_ms="100")
        await world.converge()

    play(story)


def test_only_so_many_old_revisions_are_kept() -> None:
    async def story(world: World) -> None:
        made = builders.deployment("web", 2)
        made.spec.revisionHistoryLimit = 2
        await world.user.create(made)
        for version in range(2, 7):
            await world.converge()
            await new_version(world, "web", version)
        await world.converge()
        kept = [found.spec.template.metadata.annotations["version"] for found in sets(world, "web")]
        assert kept == ["4", "5", "6"]

    play(story)


def test_what_was_paused_moves_only_when_it_is_resumed() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 3))
        await world.converge()
        names = {pod.metadata.name for pod in pods(world, "web")}
        await edit(world, "web", lambda live: setattr(live.spec, "paused", True))
        await new_version(world, "web", 2)
        await new_version(world, "web", 3)
        await world.stay_quiet(60.0)
        assert {pod.metadata.name for pod in pods(world, "web")} == names
        await edit(world, "web", lambda live: setattr(live.spec, "paused", False))
        await world.converge()
        assert len(sets(world, "web")) == 2

    play(story)


def test_recreate_waits_for_the_pods_of_sets_that_were_there_before() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 3, deaf="true"))
        await world.converge()
        old = {pod.metadata.name for pod in pods(world, "web")}
        orphan = meta.DeleteOptions(propagationPolicy="Orphan")
        await world.user.delete(DEPLOYMENT, "default", "web", orphan)
        await world.until(wants(lambda: world.state.get(DEPLOYMENT, "default", "web") is None, "there"), 5.0)
        for found in world.state.of(REPLICA_SET):
            await world.user.mutate(
                REPLICA_SET, "default", found.metadata.name, lambda live: setattr(live.spec, "replicas", 0)
            )
        # The old pods take their two seconds of grace; the new Deployment adopts their set meanwhile.
        await world.until(wants(lambda: not pods(world, "web"), "not asked to go"), 1.0)
        made = builders.deployment("web", 2, 2)
        made.spec.strategy.type = "Recreate"
        await world.user.create(made)
        while not pods(world, "web"):
            await world.sleep(0.005)
        running = {pod.metadata.name for pod in world.state.of(POD) if not is_finished(pod)}
        assert not old & running
        await world.converge()

    play(story)


def test_a_hash_that_is_taken_makes_no_second_set_of_the_same_template() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 1))
        await world.converge()
        taken = current(world, "web").metadata.name
        orphan = meta.DeleteOptions(propagationPolicy="Orphan")
        await world.user.delete(DEPLOYMENT, "default", "web", orphan)
        await world.until(wants(lambda: world.state.get(DEPLOYMENT, "default", "web") is None, "there"), 5.0)
        await world.user.create(builders.deployment("web", 1))
        await world.converge()
        assert [found.metadata.name for found in sets(world, "web")] == [taken]

    play(story)


def test_a_size_and_a_strategy_changed_in_the_midst_of_a_rollout_do_not_hold_it_up() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 6, ready_ms="100"))
        await world.converge()
        await new_version(world, "web", 2, ready_ms="-1")
        await world.sleep(2.0)
        assert len([found for found in sets(world, "web") if found.spec.replicas]) == 2

        def change(live: apps.Deployment) -> None:
            live.spec.strategy.Clear()
            live.spec.strategy.type = "Recreate"
            live.spec.replicas = 3
            live.spec.template.CopyFrom(builders.template("web", 3, ready_ms="100"))

        await edit(world, "web", change)
        await world.converge(30.0)

    play(story)
