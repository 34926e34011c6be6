"""What goes wrong in a cluster, by chance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from orchestra.base.errors import ApiError
from orchestra.mvcc.errors import Refused
from orchestra.store.contract import StoreUnavailable
from tests.simulation.cluster.masters import SKEW_NS_MAX
from tests.simulation.cluster.node import Node
from tests.simulation.cluster.telling import INJECTED
from tests.simulation.group.scenes import _FAULTS as FAULTS
from tests.simulation.group.scenes import Turbulence

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

# Of a group's faults, those that befall masters here; who belongs to the group stays.
MASTER_FAULTS = (
    "kill",
    "kill all",
    "flap",
    "storm",
    "depose",
    "split",
    "lose power midway",
    "pause",
    "isolate",
    "cut one way",
    "weather",
    "fill disk",
    "fail sync",
    "move leader",
)
LONELY_FAULTS = ("kill", "lose power midway", "pause", "fill disk", "fail sync")


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
            (2, self.machine_stands_still),
            (2, self.some_masters_unseen),
            (2, self.clock_is_set),
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
        node = self._node(lambda n: n.name not in network.partitioned())
        if node is None:
            return ""
        network.partition(node.name)
        return f"{node.name} is cut off"

    async def join(self) -> str:
        network = self._world.network
        if not network.partitioned():
            return ""
        name = self._rng.choice(network.partitioned())
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

    async def machine_stands_still(self) -> str:
        node = self._node(lambda n: n.up and not n.stopped)
        if node is None or node.process is None:
            return ""
        process = node.process
        process.stopped = True
        self._world.trace.say(f"fault: {node.name} stands still")
        await asyncio.sleep(self._rng.random() ** 2 * 6.0)
        process.stopped = False
        return f"{node.name} goes on"

    async def some_masters_unseen(self) -> str:
        node = self._rng.choice(list(self._world.nodes.values()))
        masters = [master for master in self._world.masters.nodes.values() if self._rng.random() < 0.5]
        for master in masters:
            self._world.network.cut(node.name, master.name)
        return f"{node.name} does not reach {' '.join(master.name for master in masters) or 'all'}"

    async def clock_is_set(self) -> str:
        machines = [*self._world.nodes.values(), *self._world.masters.nodes.values()]
        machine = self._rng.choice(machines)
        machine.skew_ns = self._rng.randint(-SKEW_NS_MAX, SKEW_NS_MAX)
        return f"the clock of {machine.name} is {machine.skew_ns / 1e9:.3f} s off"

    async def controller_crashes(self) -> str:
        master = self._world.masters.reigning()
        if master is None:
            return ""
        controller = self._rng.choice(master.controllers.controllers)
        self.crash_at_next(controller.queue, "get")
        return f"controller {controller.name} is to crash"

    async def scheduler_crashes(self) -> str:
        master = self._world.masters.reigning()
        if master is None or master.reign is None:
            return ""
        self.crash_at_next(master.reign.scheduler, "_schedule")
        return "the scheduler is to crash"

    @staticmethod
    def crash_at_next(victim: Any, method: str) -> None:
        """Makes the next call of an async method raise, once."""

        async def crash() -> Any:
            victim.__dict__.pop(method, None)
            raise RuntimeError(INJECTED)

        setattr(victim, method, crash)

    async def compaction(self) -> str:
        record = self._world.record
        revision = record.newest_revision - self._rng.choice((0, 5, 200))
        if revision <= record.compacted:
            return ""
        try:
            await self._world.user.compact(revision)
        except (Refused, StoreUnavailable, ApiError) as error:
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

    def heal(self) -> None:
        """Everything works again."""
        world = self._world
        world.trace.say("faults of agents end")
        world.network.slow.clear()
        for node in world.nodes.values():
            world.network.join(node.name)
            node.slow, node.failures = 1.0, 0.0
            if node.process is not None:
                node.process.stopped = False
            if not node.agent_runs:
                node.start_agent()


class MasterFaults:
    """What befalls masters: the faults of groups, in bursts, with times between in which they are well."""

    def __init__(self, world: "World", ends: float) -> None:
        self._world = world
        self._rng = world.chance("master faults")
        self._turbulence = Turbulence(world.masters, 0.0)
        self._ends = ends
        self._running: set[asyncio.Task[None]] = set()
        names = MASTER_FAULTS if len(world.masters.nodes) > 1 else LONELY_FAULTS
        self._names = [name for name in names if name in FAULTS]
        self._weights = [FAULTS[name][1] * self._rng.choice((0.2, 1.0, 3.0)) for name in self._names]

    async def run(self) -> None:
        """Until their time is over and the last has passed."""
        rng, world = self._rng, self._world
        rest = rng.choice((1.5, 4.0, 8.0))
        while True:
            await asyncio.sleep(rng.expovariate(1.0) * rest)
            if world.now() >= self._ends:
                break
            for _ in range(rng.choice((1, 1, 2, 4))):
                (name,) = rng.choices(self._names, self._weights)
                world.trace.say(f"fault: masters: {name}")
                task = asyncio.get_running_loop().create_task(FAULTS[name][0](self._turbulence))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                if rng.random() < 0.5:
                    await asyncio.wait((task,))
                else:
                    await asyncio.sleep(rng.random())
        while self._running:
            await asyncio.wait(tuple(sorted(self._running, key=hash)))
