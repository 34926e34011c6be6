"""Nodes that are lost, come back, or say that they will: to the millisecond."""

import pytest

from agents.pod_state import ContainerState
from orchestra.controllers.settings import ControllerSettings
from orchestra.objects.kinds import NODE, POD
from orchestra.pb import core
from tests.simulation.cluster import builders
from tests.simulation.cluster.faults import Faults
from tests.simulation.cluster.node import Node
from tests.simulation.cluster.scenes import new_version, play, pods, ready, wants
from tests.simulation.cluster.state import is_ready
from tests.simulation.cluster.wire import SILENCE_SECONDS
from tests.simulation.cluster.world import World

GRACE_SECONDS = ControllerSettings().node_eviction_grace_ms / 1000
INTERVAL_SECONDS = ControllerSettings().disrupted_eviction_interval_ms / 1000
STARTUP_SECONDS = ControllerSettings().startup_grace_ms / 1000


async def _ten(world: World) -> None:
    await world.user.create(builders.deployment("web", 10))
    await world.user.create(builders.service("web"))
    await world.converge()


def _on(world: World, *nodes: str) -> set[str]:
    return {p.metadata.uid for p in pods(world, "web") if p.spec.nodeName in nodes}


@pytest.mark.parametrize("silently", [False, True])
def test_pods_of_a_lost_node_run_elsewhere_after_the_grace(silently: bool) -> None:
    async def story(world: World) -> None:
        await _ten(world)
        lost = _on(world, "n2")
        assert lost
        began = world.now()
        await world.nodes["n2"].lose_power(silently=silently)
        heard = SILENCE_SECONDS if silently else 0.0
        await world.until(wants(lambda: not _on(world, "n2"), "still there"), 10.0, 0.005)
        assert heard + GRACE_SECONDS <= world.now() - began <= heard + GRACE_SECONDS + 0.1
        await world.until(wants(lambda: ready(world, "web") == 10, "not replaced"), 2.0, 0.005)
        assert world.now() - began <= heard + GRACE_SECONDS + 0.3
        world.nodes["n2"].start_agent()
        await world.converge()

    play(story)


def test_a_short_absence_costs_no_pod() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        before = _on(world, *world.nodes)
        for _ in range(5):
            for node in world.nodes.values():
                await node.kill_agent()
                node.start_agent()
                await world.sleep(0.3)
        await world.converge(5.0)
        assert _on(world, *world.nodes) == before

    play(story)


def test_when_most_nodes_vanish_one_is_evicted_at_a_time() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        gone = ("n1", "n2", "n3")
        began = world.now()
        for name in gone:
            await world.nodes[name].lose_power(silently=False)
        left = []
        for turn in range(1, 4):
            await world.sleep(began + turn * INTERVAL_SECONDS - 0.5 - world.now())
            left.append(sum(bool(_on(world, name)) for name in gone))
        assert left[0] == 3
        assert left == sorted(left, reverse=True)
        assert left[2] >= 1
        for name in gone:
            world.nodes[name].start_agent()
        await world.converge()

    play(story)


def test_when_all_nodes_vanish_at_once_and_return_nothing_was_evicted() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        before = _on(world, *world.nodes)
        for name in world.nodes:
            world.network.partition(name)
        await world.sleep(SILENCE_SECONDS + 5.0)
        for name in world.nodes:
            world.network.join(name)
        await world.converge()
        assert _on(world, *world.nodes) == before
        assert all(pod.restarts == 0 for node in world.nodes.values() for pod in _machines(node))

    play(story)


def _machines(node: Node) -> list[ContainerState]:
    return [state for pod in node.pods.values() for state in pod.machine.mains]


def test_an_agent_that_says_it_restarts_is_given_the_time() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        before = _on(world, *world.nodes)
        await world.nodes["n1"].stop_agent()
        await world.sleep(50.0)
        assert _on(world, *world.nodes) == before
        world.nodes["n1"].start_agent()
        await world.converge()
        assert _on(world, *world.nodes) == before
        await world.nodes["n1"].stop_agent()
        await world.sleep(70.0)
        assert not _on(world, "n1")
        world.nodes["n1"].start_agent()
        await world.converge()

    play(story)


@pytest.mark.parametrize("masters", [1, 3])
def test_after_a_masters_end_a_node_is_awaited_before_it_is_judged(masters: int) -> None:
    async def story(world: World) -> None:
        await _ten(world)
        lost = _on(world, "n5")
        assert lost
        await world.nodes["n5"].lose_power(silently=False)
        await world.end_master(kill=True)
        await world.sleep(1.0)
        await world.start_master()
        assert world.record.mandate is not None
        began = world.record.mandate.moment
        await world.until(wants(lambda: not _on(world, "n5"), "still there"), 20.0, 0.01)
        # The others dial in within a moment; from the last of them on it is awaited.
        assert STARTUP_SECONDS <= world.now() - began <= STARTUP_SECONDS + GRACE_SECONDS + 1.0
        world.nodes["n5"].start_agent()
        await world.converge()

    play(story, masters=masters)


@pytest.mark.parametrize("masters", [1, 3])
def test_a_masters_restart_costs_no_pod_and_no_write(masters: int) -> None:
    async def story(world: World) -> None:
        await _ten(world)
        before = _on(world, *world.nodes)
        await world.stay_quiet(30.0)
        for kill in (True, False, True):
            revision = world.record.newest_revision
            await world.end_master(kill=kill)
            await world.sleep(0.5)
            await world.start_master()
            await world.sleep(30.0)
            written = world.record.events_between(
                revision + 1, world.record.newest_revision, b"/registry/", b"/registry0"
            )
            assert not written
        assert _on(world, *world.nodes) == before

    play(story, masters=masters)


def test_a_pod_of_a_node_that_was_cut_off_runs_once_in_the_end() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        world.network.partition("n3")
        await world.sleep(20.0)
        assert world.nodes["n3"].pods, "nobody told it to stop them"
        assert ready(world, "web") == 10
        world.network.join("n3")
        await world.converge()

    play(story)


def test_a_crash_of_one_controller_does_not_stop_the_others() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        master = world.masters.reigning()
        assert master is not None
        assert master.mandates is not None
        assert master.reign is not None
        names = [controller.name for controller in master.controllers.controllers]
        for controller in master.controllers.controllers:
            Faults.crash_at_next(controller.queue, "get")
        await new_version(world, "web", 2)
        await world.converge(20.0)
        Faults.crash_at_next(master.reign.scheduler, "_schedule")
        await new_version(world, "web", 99)
        await world.converge(20.0)
        crashed = {s.name for s in master.mandates.actors() if s.restarts}
        assert crashed <= {*(f"controller/{name}" for name in names), "scheduler"}
        assert {"scheduler", "controller/replicaset", "controller/deployment"} <= crashed

    play(story)


def test_a_cordoned_node_gets_no_pods_and_keeps_its_own() -> None:
    async def story(world: World) -> None:
        await _ten(world)
        before = _on(world, "n1")

        def cordon(live: core.Node) -> None:
            live.spec.unschedulable = True

        await world.user.mutate(NODE, "", "n1", cordon)
        await world.sleep(1.0)
        await world.user.create(builders.replica_set("more", 12))
        await world.converge()
        assert _on(world, "n1") == before
        more = [p for p in world.state.of(POD) if p.metadata.labels.get("app") == "more"]
        assert all(p.spec.nodeName != "n1" and is_ready(p) for p in more)

    play(story)
