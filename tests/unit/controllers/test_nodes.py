"""Nodes that go and come back, on a small cluster."""

import asyncio

from orchestra.controllers.plans import nodes as plans
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.nodes import Disruption
from orchestra.controllers.settings import ControllerSettings
from orchestra.objects.kinds import NODE, POD, REPLICA_SET
from orchestra.pb import core, meta
from tests.unit.controllers.cluster import World, is_node_ready, replica_set


def taints(node: core.Node) -> set[tuple[str, str]]:
    return {(t.key, t.effect) for t in node.spec.taints}


async def started(world: World, replicas: int = 3) -> None:
    await world.objects.create(replica_set("web", replicas))
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == replicas)


def on(world: World, node: str) -> list[core.Pod]:
    return [pod for pod in world.active(app="web") if pod.spec.nodeName == node]


async def test_a_lost_node_is_tainted_and_its_pods_are_replaced(world: World) -> None:
    await started(world)
    [victim] = on(world, "n2")
    unready: list[str] = []
    world.pods.subscribe(
        lambda old, new: (
            unready.append(new.metadata.name)
            if new is not None and any(c.reason == "NodeNotReady" for c in new.status.conditions)
            else None
        )
    )
    world.kill_node("n2")
    await world.until(NODE, "", "n2", lambda n: not is_node_ready(n) and len(taints(n)) == 2)
    await world.gone(POD, "default", victim.metadata.name)
    await world.until(REPLICA_SET, "default", "web", lambda s: s.status.readyReplicas == 3)
    assert not on(world, "n2")
    assert victim.metadata.name in unready
    node = await world.objects.get(NODE, "", "n2")
    assert taints(node) == {(plans.UNREACHABLE_TAINT, "NoSchedule"), (plans.UNREACHABLE_TAINT, "NoExecute")}
    assert {"NodeReady", "NodeNotReady", "TaintManagerEviction"} <= world.notes.reasons()
    world.revive_node("n2")
    await world.until(NODE, "", "n2", lambda n: is_node_ready(n) and not n.spec.taints)


async def test_a_node_that_restarts_is_given_time(world: World) -> None:
    await started(world)
    [pod] = on(world, "n1")
    world.liveness.disconnected("n1", 5, world.clock.monotonic_ns())
    await world.until(NODE, "", "n1", lambda n: taints(n) == {(plans.NOT_READY_TAINT, "NoSchedule")})
    world.revive_node("n1")
    await world.until(NODE, "", "n1", lambda n: is_node_ready(n) and not n.spec.taints)
    assert [p.metadata.uid for p in on(world, "n1")] == [pod.metadata.uid]


async def test_a_master_that_lost_most_nodes_doubts_itself(
    world: World, settings: ControllerSettings
) -> None:
    await started(world)
    gone_at: dict[str, list[int]] = {}

    def seen(old: core.Pod | None, new: core.Pod | None) -> None:
        if new is None and old is not None:
            gone_at.setdefault(old.spec.nodeName, []).append(world.clock.monotonic_ns())

    world.pods.subscribe(seen)
    began = world.clock.monotonic_ns()
    world.kill_node("n1")
    world.kill_node("n2")
    await world.until_all(lambda: world.group.nodes.disruption is Disruption.PARTIAL, "doubt")
    # Each in turn, and then everything runs on the one that is left.
    await world.until_all(lambda: len(on(world, "n3")) == 3, "replaced one node after the other")
    interval_ns = settings.disrupted_eviction_interval_ms * 10**6
    assert min(gone_at["n1"]) - began >= interval_ns
    assert min(gone_at["n2"]) - began >= 2 * interval_ns
    assert "EvictionSlowed" in world.notes.reasons()


async def test_a_lost_node_that_is_deleted_no_longer_counts(world: World) -> None:
    world.kill_node("n1")
    world.kill_node("n2")
    await world.until_all(lambda: world.group.nodes.disruption is Disruption.PARTIAL, "doubt")
    await world.objects.delete(NODE, "", "n1")
    await world.until_all(lambda: world.group.nodes.disruption is Disruption.NONE, "one of two is lost")
    await world.objects.delete(NODE, "", "n3")
    await world.until_all(lambda: world.group.nodes.disruption is Disruption.FULL, "one of one is lost")


async def test_all_nodes_gone_at_once_and_back() -> None:
    world = World(ControllerSettings(node_eviction_grace_ms=1, disrupted_eviction_interval_ms=60_000))
    await world.start()
    for name in ("n1", "n2", "n3"):
        await world.add_node(name)
    await started(world)
    kept = {p.metadata.uid for p in world.active(app="web")}
    for name in ("n1", "n2", "n3"):
        world.kill_node(name)
    for name in ("n1", "n2", "n3"):
        await world.until(NODE, "", name, lambda n: not is_node_ready(n))
    assert world.group.nodes.disruption is Disruption.FULL
    assert all(podq.is_ready(pod) for pod in world.active(app="web"))
    for name in ("n1", "n2", "n3"):
        world.revive_node(name)
    for name in ("n1", "n2", "n3"):
        await world.until(NODE, "", name, lambda n: is_node_ready(n) and not n.spec.taints)
    await world.settle()
    assert {p.metadata.uid for p in world.active(app="web")} == kept
    await world.stop()


async def test_a_cordoned_node_is_tainted(world: World) -> None:
    for cordoned in (True, False):

        def change(node: core.Node, cordoned: bool = cordoned) -> None:
            node.spec.unschedulable = cordoned

        await world.objects.mutate(NODE, "", "n1", change)
        wanted = {(plans.UNSCHEDULABLE_TAINT, "NoSchedule")} if cordoned else set()
        await world.until(NODE, "", "n1", lambda n, w=wanted: taints(n) == w)


async def test_a_new_master_waits_for_agents_before_it_judges(settings: ControllerSettings) -> None:
    world = World(settings)
    await world.objects.ensure_namespaces()
    node = core.Node()
    node.metadata.name = "n1"
    node.status.conditions.add(
        type="Ready", status="True", reason="AgentReady", message="the agent's session is open"
    )
    await world.objects.create(node)
    began = world.clock.monotonic_ns()
    await world.start()
    await world.until(NODE, "", "n1", lambda n: not is_node_ready(n), "judged")
    assert world.clock.monotonic_ns() - began >= settings.startup_grace_ms * 10**6 * 0.9
    await world.stop()


def known(name: str) -> core.Node:
    """A Node whose agent an earlier master knew."""
    node = core.Node(metadata=meta.ObjectMeta(name=name))
    node.status.conditions.add(
        type="Ready", status="True", reason="AgentReady", message="the agent's session is open"
    )
    return node


async def test_nobody_is_missed_before_agents_can_dial_in(settings: ControllerSettings) -> None:
    world = World(settings)
    world.liveness.opened_ns = None
    await world.objects.ensure_namespaces()
    await world.objects.create(known("n1"))
    await world.start()
    waited = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(settings.startup_grace_ms * 2.5 / 1000, waited.set_result, None)
    await waited
    assert is_node_ready(await world.objects.get(NODE, "", "n1"))
    opened = world.liveness.opened_ns = world.clock.monotonic_ns()
    await world.until(NODE, "", "n1", lambda n: not is_node_ready(n), "judged")
    assert world.clock.monotonic_ns() - opened >= settings.startup_grace_ms * 10**6
    await world.stop()


async def test_while_agents_still_dial_in_the_others_are_awaited(settings: ControllerSettings) -> None:
    world = World(settings)
    await world.objects.ensure_namespaces()
    await world.objects.create(known("late"))
    await world.start()
    loop = asyncio.get_running_loop()
    arrived = [0]

    def arrive(name: str) -> None:
        arrived[0] = world.clock.monotonic_ns()
        world.liveness.connected(name, "a", arrived[0])

    for number in range(3):
        loop.call_later(settings.startup_grace_ms * 0.7 * (number + 1) / 1000, arrive, f"n{number}")
    await world.until(NODE, "", "late", lambda n: not is_node_ready(n), "judged")
    assert world.clock.monotonic_ns() - arrived[0] >= settings.startup_grace_ms * 10**6
    await world.stop()


async def test_nodes_that_join_later_are_awaited_as_well() -> None:
    world = World(ControllerSettings(startup_grace_ms=400))
    await world.start()
    await world.add_node("n1")
    await world.objects.create(core.Node(metadata=meta.ObjectMeta(name="old")))
    await world.until(NODE, "", "old", lambda n: len(taints(n)) == 2, "a node without an agent is lost")
    await world.objects.delete(NODE, "", "old")
    seen: list[core.Node] = []
    world.group.nodes.informers[0].subscribe(lambda old, new: seen.append(new) if new is not None else None)
    for name in ("n2", "n3", "n4"):
        await world.add_node(name)
    assert world.group.nodes.disruption is Disruption.NONE
    assert not [node.metadata.name for node in seen if node.metadata.name != "old" and node.spec.taints]
    await world.stop()


async def test_pods_of_a_deleted_node_are_collected(world: World) -> None:
    await started(world)
    [pod] = on(world, "n3")
    world.kill_node("n3")
    await world.objects.delete(NODE, "", "n3")
    await world.gone(POD, "default", pod.metadata.name)
    await world.until_all(lambda: len(on(world, "n1")) + len(on(world, "n2")) == 3, "replaced")
