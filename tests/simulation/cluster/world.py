"""A whole cluster on one timeline: masters on the replicated store, machines with agents, and users; each a
process of its own. One seed is one world.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from typing import Any

from orchestra.controllers.settings import ControllerSettings
from orchestra.mvcc.model import Event
from orchestra.objects.kinds import Kind
from tests.simulation.cluster import convergence
from tests.simulation.cluster.invariants import Invariants
from tests.simulation.cluster.masters import Masters
from tests.simulation.cluster.node import Node
from tests.simulation.cluster.pods import ModelPod
from tests.simulation.cluster.state import Violation
from tests.simulation.cluster.telling import describe, listening
from tests.simulation.cluster.users import User
from tests.simulation.processes import Process

CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "24"}
TICK_SECONDS = 0.25
LEADS_SECONDS = 30.0


class World:
    """Masters, nodes, and somebody who watches over what must hold.

    masters: how many. skewed: whether clocks run at different rates, and disks at different speeds.
    """

    def __init__(
        self,
        seed: int,
        *,
        masters: int = 1,
        nodes: int = 5,
        skewed: bool = False,
        settings: ControllerSettings | None = None,
        capacity: dict[str, str] | None = None,
    ) -> None:
        self.seed = seed
        self.masters = Masters(seed, masters, settings or ControllerSettings(), skewed=skewed)
        self.timeline = self.masters.timeline
        self.trace = self.masters.trace
        self.network = self.masters.wire
        self.driver = self.masters.driver
        self.record = self.masters.record
        self.state = self.record.state
        self.record.saw = self._saw
        self.record.failed = self.fail
        self.invariants = Invariants(self)
        self.user = User(self, self.chance("user"))
        self.newest_answered = 0
        self._failure: Exception | None = None
        self._runs: dict[str, Node] = {}
        self.nodes = {
            f"n{i}": Node(
                f"n{i}",
                i,
                self.network,
                self.chance(f"n{i}"),
                self.trace,
                capacity or CAPACITY,
                skewed=skewed,
            )
            for i in range(1, nodes + 1)
        }
        for node in self.nodes.values():
            node.began = self._container_began
            node.told_to_stop = self._told_to_stop
        self._check_masters = self.masters._after_turn
        self.timeline.after_turn = self._after_turn

    def chance(self, name: str) -> random.Random:
        """A generator of its own for each part, so that one part's use of chance does not move another's."""
        return random.Random(f"{self.seed}/cluster/{name}")

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.timeline.now

    # -- life ----------------------------------------------------------------------------------------

    def play(self, story: Callable[["World"], Coroutine[Any, Any, None]]) -> tuple[str, float]:
        """Tells a story to its end. The trace's hash and the virtual seconds that passed. Raises: Violation
        and whatever else went wrong.
        """
        from tests.simulation.group.record import recording

        async def main() -> None:
            await self.start()
            await story(self)
            await self.sleep(0)

        try:
            with recording(self.record), listening(self):
                self.timeline.run(self.driver.start(main(), "story"))
            return self.trace.hash(), self.now()
        finally:
            self.timeline.close()

    async def start(self) -> None:
        """Masters, one of them leading, and every node, all ready."""
        self.driver.start(self._tick(), "ticker")
        await self.start_master()
        for node in self.nodes.values():
            node.start_agent()
        await self.until(lambda: convergence.nodes_not_ready(self), LEADS_SECONDS)

    async def start_master(self) -> None:
        """Starts the masters that are down, and waits until one leads."""
        self.masters.boot_all()
        await self.until(
            lambda: [] if self.masters.reigning() else ["a master that leads"], LEADS_SECONDS, 0.001
        )

    async def end_master(self, *, kill: bool) -> None:
        """Ends the leading master's process, if there is one."""
        master = self.masters.reigning()
        if master is None:
            return
        if kill:
            master.kill()
            return
        self.trace.say(f"{master.name} is to stop")
        master.stop()
        await self.until(lambda: ["the master's end"] if master.up else [], LEADS_SECONDS, 0.001)

    # -- watching ------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """The run has failed."""
        if self._failure is None:
            self.trace.say(f"FAILED: {error}")
            self._failure = error

    def _after_turn(self, process: Process) -> None:
        if self._failure is not None:
            raise self._failure
        self._check_masters(process)

    def _saw(self, event: Event, kind: Kind, old: Any, new: Any) -> None:
        what = "+" if old is None else "-" if new is None else "~"
        said = f"{event.kv.mod_revision} {what} {event.kv.key.decode()[10:]}{describe(new)}"
        self.trace.say(said, event.kv.value)
        self.invariants.saw(kind, old, new)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.network.tick()
            for node in self.nodes.values():
                node.look(self.now())
            self.invariants.tick()

    def _container_began(self, pod: ModelPod, container: str, run: int) -> None:
        uid, node = pod.pod.metadata.uid, pod.node
        before = self._runs.setdefault(uid, node)
        self.trace.say(f"{node.name} runs {pod.pod.metadata.name}/{container}/{run}")
        if before is not node:
            self.fail(Violation(f"pod {pod.pod.metadata.name} runs on {node.name} and ran on {before.name}"))

    def _told_to_stop(self, pod: ModelPod) -> None:
        """SIGTERM: nobody may route to the pod any more, unless the time for that was over."""
        try:
            self.invariants.told_to_stop(pod.pod, pod.node.connected)
        except Violation as violation:
            self.fail(violation)

    # -- waiting -------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(max(seconds, 0.0))

    async def until(self, missing: Callable[[], list[str]], seconds: float, step: float = 0.05) -> float:
        """Waits until nothing is missing; how long that took. Raises: Violation saying what still is."""
        began = self.now()
        # What was just written has to be seen first.
        await self.sleep(step)
        while left := missing():
            if self.now() - began > seconds:
                lines = "\n  ".join(left[:20])
                raise Violation(f"after {seconds} s it is still not so:\n  {lines}")
            await self.sleep(step)
        return self.now() - began

    async def converge(self, seconds: float = 180.0) -> float:
        """Waits until all is as it was asked for; how long that took."""
        took = await self.until(lambda: convergence.missing(self), seconds, 0.25)
        await self.until(self.masters.missing, 10.0)
        self.masters.check()
        return took

    async def stay_quiet(self, seconds: float) -> None:
        """Lets time pass in which nothing but the end of Events may be written."""
        await self.sleep(2.0)
        revision = self.record.newest_revision
        before = list(self.trace.lines)[-1:]
        await self.sleep(seconds)
        events = self.record.events_between(
            revision + 1, self.record.newest_revision, b"/registry/", b"/registry0"
        )
        writes = [e for e in events if not e.kv.key.startswith(b"/registry/events/") or e.kv.value]
        if writes:
            said = ", ".join(f"{e.kv.mod_revision} {e.kv.key.decode()}" for e in writes[:10])
            raise Violation(f"an idle cluster wrote {len(writes)} times after {before}: {said}")


class Failed(AssertionError):
    """A run that failed, with its seed and what led to it."""


def simulate(
    seed: int, story: Callable[[World], Coroutine[Any, Any, None]], **options: Any
) -> tuple[str, float]:
    """Tells a story in a world of its own. The trace's hash and the virtual seconds that passed.

    Raises: Failed.
    """
    gc.collect()
    gc.disable()
    world = World(seed, **options)
    try:
        return world.play(story)
    except Exception as error:
        at = f"seed {seed}, at {world.now():.3f} virtual seconds: {type(error).__name__}: {error}"
        raise Failed(f"{at}\n\n{world.trace.tail()}\n\n{at}") from error
    finally:
        gc.enable()
