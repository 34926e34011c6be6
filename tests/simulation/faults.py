"""What goes wrong in a cluster, by chance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from orchestra.mvcc.errors import Refused
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.world import World

INJECTED = "injected by the simulation"


class Faults:
    """Each method is one thing that goes wrong. heal() ends them all."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.chance("faults")
        self._acts: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (5, self.power_cut),
            (6, self.power_back),
            (4, self.agent_killed),
            (3, self.agent_says_goodbye),
            (4, self.agent_back),
            (3, self.partition),
            (4, self.join),
            (2, self.slow_network),
            (2, self.slow_machine),
            (2, self.failing_machine),
            (3, self.slow_disk),
            (2, self.master_ends),
            (2, self.controller_crashes),
            (1, self.scheduler_crashes),
            (3, self.compaction),
            (6, self.process_crashes),
            (6, self.readiness_flaps),
        ]

    async def act(self) -> None:
        """One thing."""
        weights = [weight for weight, _ in self._acts]
        act = self._rng.choices([act for _, act in self._acts], weights)[0]
        said = await act()
        if said:
            self._world.trace.say(f"fault: {said}")

    def _node(self, which: Callable[[Node], bool]) -> Node | None:
        found = [node for node in self._world.nodes.values() if which(node)]
        return self._rng.choice(found) if found else None

    async def power_cut(self) -> str:
        node = self._node(lambda n: n.up)
        if node is None:
            return ""
        silently = self._rng.random() < 0.5
        self._world.trace.say(f"fault: {node.name} loses its power{' silently' if silently else ''}")
        await node.lose_power(silently=silently)
        return f"{node.name} is dark"

    async def power_back(self) -> str:
        node = self._node(lambda n: not n.up)
        if node is None:
            return ""
        node.start_agent()
        return f"{node.name} has power again"

    async def agent_killed(self) -> str:
        node = self._node(lambda n: n.up and n.agent_runs)
        if node is None:
            return ""
        await node.kill_agent()
        if self._rng.random() < 0.7:
            node.start_agent()
        return (
            f"the agent of {node.name} was killed; it {'runs' if node.agent_runs else 'does not run'} again"
        )

    async def agent_says_goodbye(self) -> str:
        node = self._node(lambda n: n.up and n.agent_runs)
        if node is None:
            return ""
        await node.stop_agent()
        return f"the agent of {node.name} restarts"

    async def agent_back(self) -> str:
        node = self._node(lambda n: n.up and not n.agent_runs)
        if node is None:
            return ""
        node.start_agent()
        return f"the agent of {node.name} is back"

    async def partition(self) -> str:
        network = self._world.network
        node = self._node(lambda n: n.name not in network.partitioned)
        if node is None:
            return ""
        network.partition(node.name)
        return f"{node.name} is cut off"

    async def join(self) -> str:
        network = self._world.network
        if not network.partitioned:
            return ""
        name = self._rng.choice(sorted(network.partitioned))
        network.join(name)
        return f"{name} is joined again"

    async def slow_network(self) -> str:
        name = self._rng.choice(sorted(self._world.nodes))
        slow = self._world.network.slow[name] = self._rng.choice((1.0, 10.0, 100.0))
        return f"the network of {name} is {slow} times slower"

    async def slow_machine(self) -> str:
        node = self._rng.choice(list(self._world.nodes.values()))
        node.slow = self._rng.choice((1.0, 10.0, 50.0))
        return f"{node.name} is {node.slow} times slower"

    async def failing_machine(self) -> str:
        node = self._rng.choice(list(self._world.nodes.values()))
        node.failures = self._rng.choice((0.0, 0.2, 0.6))
        return f"{node.name} fails {node.failures} of what it starts"

    async def slow_disk(self) -> str:
        if self._world.master is None:
            return ""
        self._world.master.disk.slow = self._rng.choice((1.0, 1.0, 5.0, 15.0))
        return f"the master's disk is {self._world.master.disk.slow} times slower"

    async def master_ends(self) -> str:
        kill = self._rng.random() < 0.6
        await self._world.end_master(kill=kill)
        await asyncio.sleep(self._rng.choice((0.0, 0.2, 3.0, 15.0)))
        await self._world.start_master()
        return "the master is back"

    async def controller_crashes(self) -> str:
        if self._world.master is None:
            return ""
        controller = self._rng.choice(self._world.master.controllers.controllers)
        self.crash_at_next(controller.queue, "get")
        return f"controller {controller.name} is to crash"

    async def scheduler_crashes(self) -> str:
        if self._world.master is None:
            return ""
        self.crash_at_next(self._world.master.scheduler, "_schedule")
        return "the scheduler is to crash"

    @staticmethod
    def crash_at_next(victim: Any, method: str) -> None:
        """Makes the next call of an async method raise, once."""

        async def crash() -> Any:
            victim.__dict__.pop(method, None)
            raise RuntimeError(INJECTED)

        setattr(victim, method, crash)

    async def compaction(self) -> str:
        store = self._world.store
        revision = store.revision - self._rng.choice((0, 5, 200))
        if revision <= store.compact_revision:
            return ""
        try:
            await store.compact(revision)
        except Refused as error:
            return f"no compaction: {error}"
        return f"compacted to {revision}"

    async def process_crashes(self) -> str:
        running = [pod for node in self._world.nodes.values() for pod in node.pods.values() if pod.running]
        if not running:
            return ""
        pod = self._rng.choice(running)
        container, run = sorted(pod.running)[0]
        pod.exit(container, run, self._rng.choice((0, 1, 139)), 0)
        return f"{pod.pod.metadata.name}/{container} ends by itself"

    async def readiness_flaps(self) -> str:
        pods = [pod for node in self._world.nodes.values() if node.up for pod in node.pods.values()]
        if not pods:
            return ""
        pod = self._rng.choice(pods)
        pod.flap()
        return f"{pod.pod.metadata.name} fails its readiness probe"

    async def heal(self) -> None:
        """Everything works again."""
        world = self._world
        world.trace.say("faults end")
        if world.master is None:
            await world.start_master()
        assert world.master is not None
        world.master.disk.slow = 1.0
        world.network.slow.clear()
        for name in sorted(world.network.partitioned):
            world.network.join(name)
        for node in world.nodes.values():
            node.slow, node.failures = 1.0, 0.0
            if not node.agent_runs:
                node.start_agent()
