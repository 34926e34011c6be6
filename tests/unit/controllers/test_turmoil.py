"""Everything at once, then quiet: whatever happened, the end is what was asked for."""

import asyncio
import random

import pytest

from orchestra.base.errors import Conflict, NotFound
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.settings import ControllerSettings
from orchestra.objects import intstr
from orchestra.objects.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE
from orchestra.pb import apps, core, meta
from tests.unit.controllers.cluster import World, deployment, is_rolled_out

NAMES = ("a", "b")
NODES = ("n1", "n2", "n3")


@pytest.fixture
def settings() -> ControllerSettings:
    return ControllerSettings(
        node_eviction_grace_ms=10, startup_grace_ms=200, disrupted_eviction_interval_ms=30
    )


class Turmoil:
    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)

    async def act(self) -> None:
        name = self.rng.choice(NAMES)
        match self.rng.randrange(8):
            case 0:
                await self.edit(name, replicas=self.rng.randrange(6))
            case 1 | 2:
                await self.edit(name, version=self.rng.randrange(4))
            case 3:
                await self.edit(name, paused=self.rng.random() < 0.5)
            case 4:
                pods = self.world.active(app=name)
                if pods:
                    await self.world.objects.delete(POD, "default", self.rng.choice(pods).metadata.name)
            case 5:
                self.world.kill_node(self.rng.choice(NODES))
            case 6:
                for node in self.world.dead.copy():
                    self.world.revive_node(node)
            case 7:
                await self.fail(name)

    async def edit(self, name: str, **changes: int) -> None:
        def change(live: apps.Deployment) -> None:
            if "replicas" in changes:
                live.spec.replicas = changes["replicas"]
            if "version" in changes:
                live.spec.template.spec.containers[0].command[1] = str(changes["version"])
            if "paused" in changes:
                live.spec.paused = bool(changes["paused"])

        await self.world.objects.mutate(DEPLOYMENT, "default", name, change)

    async def fail(self, name: str) -> None:
        pods = self.world.active(app=name)
        if not pods:
            return

        def change(live: core.Pod) -> None:
            live.status.phase = "Failed"

        pod = self.rng.choice(pods)
        await self.world.objects.mutate(POD, "default", pod.metadata.name, change, subresource="status")


async def calm(world: World) -> None:
    """Every node back, nothing paused, and time to finish."""
    for node in NODES:
        world.revive_node(node)
    for name in NAMES:
        await Turmoil(world, 0).edit(name, paused=0)
    await world.until_all(
        lambda: all(is_rolled_out(world.informers.of(DEPLOYMENT).get("default", name)) for name in NAMES),
        "rolled out",
    )
    await world.settle()


def assert_as_asked(world: World) -> None:
    live = {name: world.informers.of(DEPLOYMENT).get("default", name) for name in NAMES}
    sets = {found.metadata.uid: found for found in world.sets()}
    running = [pod for pod in world.pods.list("default") if podq.is_active(pod)]
    for name in NAMES:
        mine = [pod for pod in running if pod.metadata.labels["app"] == name]
        assert len(mine) == live[name].spec.replicas
        version = live[name].spec.template.spec.containers[0].command[1]
        assert {pod.spec.containers[0].command[1] for pod in mine} <= {version}
        ready = {
            endpoint.targetRef.uid
            for found in world.informers.of(ENDPOINT_SLICE).list("default")
            if found.metadata.labels["kubernetes.io/service-name"] == name
            for endpoint in found.endpoints
            if endpoint.conditions.ready
        }
        assert ready == {pod.metadata.uid for pod in mine if podq.is_ready(pod)}
    for pod in world.pods.list("default"):
        controller = podq.controller_of(pod.metadata)
        assert controller is not None
        assert controller.uid in sets


@pytest.mark.parametrize("seed", range(6))
async def test_turmoil(world: World, seed: int) -> None:
    for name in NAMES:
        made = deployment(name, 3)
        made.spec.strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(1))
        await world.objects.create(made)
        service = core.Service(metadata=meta.ObjectMeta(name=name, namespace="default"))
        service.spec.selector["app"] = name
        service.spec.ports.add(port=80, protocol="TCP").targetPort.CopyFrom(intstr.of("http"))
        await world.objects.create(service)
    turmoil = Turmoil(world, seed)
    for _ in range(60):
        try:
            await turmoil.act()
        except (Conflict, NotFound):
            continue
        for _ in range(turmoil.rng.randrange(12)):
            await asyncio.sleep(0)
    await calm(world)
    assert_as_asked(world)
    before = await world.settle()
    assert await world.settle() == before
    for kind in (DEPLOYMENT, SERVICE):
        for name in NAMES:
            await world.objects.delete(kind, "default", name)
    await world.until_all(lambda: not world.pods.list("default") and not world.sets(), "all gone")
