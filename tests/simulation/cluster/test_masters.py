"""Masters that die, stand still or are cut off: one leads, in nobody else's name, and no pod is the worse for it.

Each story is also told with a bug planted that it must bring to light.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestra.base.errors import Unavailable
from orchestra.objects.kinds import POD
from tests.simulation.cluster import builders
from tests.simulation.cluster.masters import Master
from tests.simulation.cluster.mutants import planted
from tests.simulation.cluster.scenes import edit, pods, wants
from tests.simulation.cluster.world import Failed, World, simulate

Story = Callable[[World], Coroutine[Any, Any, None]]


def _leader(world: World) -> Master:
    found = world.masters.reigning()
    assert found is not None
    return found


async def _another_leads(world: World, before: Master) -> None:
    await world.until(
        wants(lambda: world.masters.reigning() not in (None, before), "another leader"), 10.0, 0.001
    )


async def _scale(world: World, replicas: int) -> None:
    """Until somebody has answered."""
    while True:
        try:
            await edit(world, "web", lambda live: setattr(live.spec, "replicas", replicas))
        except Unavailable as error:
            world.trace.say(f"user: {error}")
        else:
            return


async def late_leaders(world: World) -> None:
    """Leaders stand still in the midst of their work, and go on when it is another's."""
    await world.user.create(builders.deployment("web", 4))
    await world.user.create(builders.service("web"))
    await world.converge()
    for turn in range(6):
        await _scale(world, 6 if turn % 2 else 2)
        await world.sleep(0.003 * turn)
        before = _leader(world)
        assert before.process is not None
        before.process.stopped = True
        await _another_leads(world, before)
        await _scale(world, 4)
        before.process.stopped = False
        await world.sleep(0.5)
    await world.converge(30.0)


async def deaths(world: World) -> None:
    """Leaders die while some agents take their time to find the next one."""
    await world.user.create(builders.deployment("web", 10))
    await world.converge()
    homes = {pod.metadata.uid: pod.spec.nodeName for pod in pods(world, "web")}
    for name in ("n1", "n2"):
        world.network.slow[name] = 150.0
    await world.sleep(1.0)
    for power in (False, True, False):
        before = _leader(world)
        before.kill(power=power)
        await _another_leads(world, before)
        await world.sleep(5.0)
        before.boot()
        await world.sleep(1.0)
    await world.converge(30.0)
    assert {pod.metadata.uid: pod.spec.nodeName for pod in world.state.of(POD)} == homes


async def stale_reads(world: World) -> None:
    """A master that is cut off is asked like the others."""
    others = [master for master in world.masters.nodes.values() if master is not _leader(world)]
    alone = others[0]
    for master in world.masters.nodes.values():
        world.masters.network.cut(alone.id, master.id)
        world.masters.network.cut(master.id, alone.id)
    for number in range(8):
        try:
            await world.user.create(builders.deployment(f"d{number}", 0))
            await world.user.list(POD)
        except Unavailable as error:
            world.trace.say(f"user: {error}")
    world.masters.network.mend()
    await world.converge(30.0)


@pytest.mark.parametrize("story", [late_leaders, deaths, stale_reads])
@pytest.mark.parametrize("masters", [3, 5])
def test_it_is_as_if_nothing_had_been(story: Story, masters: int) -> None:
    simulate(1, story, masters=masters)


@pytest.mark.parametrize(
    ("bug", "story", "said"),
    [
        ("controllers write without a guard", late_leaders, "in no mandate's name"),
        ("a new leader gives no fresh grace", deaths, "assert"),
        ("reads do not wait", stale_reads, "was answered"),
    ],
)
def test_a_planted_bug_is_found(bug: str, story: Story, said: str) -> None:
    with planted(bug), pytest.raises(Failed, match=said):
        simulate(1, story, masters=3)
