"""Short words for the directed scenarios."""

from collections.abc import Callable, Coroutine
from typing import Any

from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICA_SET
from orchestra.pb import apps, core
from tests.simulation.cluster import builders
from tests.simulation.cluster.rollouts import is_current
from tests.simulation.cluster.state import is_active, is_ready
from tests.simulation.cluster.world import World, simulate

Story = Callable[[World], Coroutine[Any, Any, None]]


def play(story: Story, *, seeds: range = range(1, 3), **options: Any) -> None:
    """Tells the story in some worlds, whose delays differ."""
    for seed in seeds:
        simulate(seed, story, **options)


async def edit(world: World, name: str, change: Callable[[apps.Deployment], Any]) -> None:
    """A user changes a Deployment."""
    await world.user.mutate(DEPLOYMENT, "default", name, change)


async def new_version(world: World, name: str, version: int, **said: str) -> None:
    """A user changes its template."""
    made = builders.template(name, version, **said)
    await edit(world, name, lambda live: live.spec.template.CopyFrom(made))


def deployment(world: World, name: str) -> apps.Deployment:
    found = world.state.get(DEPLOYMENT, "default", name)
    assert found is not None
    return found


def sets(world: World, name: str) -> list[apps.ReplicaSet]:
    """Its sets, oldest revision first."""
    owned = world.state.owned(REPLICA_SET, deployment(world, name).metadata.uid)
    return sorted(owned, key=lambda s: int(s.metadata.annotations["deployment.kubernetes.io/revision"]))


def current(world: World, name: str) -> apps.ReplicaSet:
    """The set of its present template."""
    found = deployment(world, name)
    return next(s for s in sets(world, name) if is_current(s, found))


def pods(world: World, app: str) -> list[core.Pod]:
    """The active pods labelled with an application."""
    return [p for p in world.state.of(POD) if p.metadata.labels.get("app") == app and is_active(p)]


def ready(world: World, app: str) -> int:
    """How many of them are ready."""
    return sum(is_ready(pod) for pod in pods(world, app))


def wants(condition: Callable[[], bool], said: str) -> Callable[[], list[str]]:
    """For World.until: what is said to be missing until the condition holds."""
    return lambda: [] if condition() else [said]


def progressing(world: World, name: str) -> str:
    """The reason of the Progressing condition."""
    return next((c.reason for c in deployment(world, name).status.conditions if c.type == "Progressing"), "")
