"""A whole cluster in one process on virtual time."""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from orchestra.controllers.settings import ControllerSettings
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.retention import Retention
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.simulation import convergence
from tests.simulation.invariants import Invariants
from tests.simulation.loop import VirtualClock, run
from tests.simulation.master import Master
from tests.simulation.network import Network
from tests.simulation.node import ModelPod, Node
from tests.simulation.state import State, Violation
from tests.simulation.trace import Trace

CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "24"}
TICK_SECONDS = 0.25
INJECTED = "injected by the simulation"


class World:
    """A store, a master (now and then none), nodes, and somebody who watches over what must hold."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 5,
        settings: ControllerSettings | None = None,
        capacity: dict[str, str] | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.trace = Trace()
        self.settings = settings or ControllerSettings()
        self.store = MemoryStore(clock=self.clock, retention=retention)
        self.state = State()
        self.invariants = Invariants(self.state, self.now)
        self.network = Network(self.chance("network"))
        self.user = ObjectStore(self.store, clock=self.clock, rng=self.chance("user"))
        self.master: Master | None = None
        self.crashes_injected = 0
        self._masters = 0
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._runs: dict[str, Node] = {}
        self.nodes = {
            f"n{i}": Node(
                f"n{i}", i, self.network, self.clock, self.chance(f"n{i}"), self.trace, capacity or CAPACITY
            )
            for i in range(1, nodes + 1)
        }
        for node in self.nodes.values():
            node.began = self._container_began
            node.told_to_stop = self._told_to_stop

    def chance(self, name: str) -> random.Random:
        """A generator of its own for each part, so that one part's use of chance does not move another's."""
        return random.Random(f"{self.seed}/{name}")

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """A master and every node, all ready."""
        self._spawn("watcher", self._watch())
        self._spawn("ticker", self._tick())
        self._spawn("leases", self.store.run())
        await self.start_master()
        for node in self.nodes.values():
            node.start_agent()
        await self.until(lambda: convergence.nodes_not_ready(self), 30.0)

    async def start_master(self) -> None:
        """A new process on what the store holds."""
        assert self.master is None
        self._masters += 1
        master = Master(
            self.store, self.network, self.clock, self.chance(f"master{self._masters}"), self.settings
        )
        self.trace.say(f"master {self._masters} starts")
        self.master = master
        await master.start()
        self.invariants.master_up_since = self.now()

    async def end_master(self, *, kill: bool) -> None:
        """Ends the master's process, if there is one."""
        master, self.master = self.master, None
        if master is None:
            return
        self.trace.say("master is killed" if kill else "master stops")
        self.invariants.master_up_since = None
        await (master.kill() if kill else master.stop())

    async def stop(self) -> None:
        """Ends everything."""
        await self.end_master(kill=False)
        for node in self.nodes.values():
            await node.kill_agent()
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
                self.fail(error)

        self._tasks.append(asyncio.get_running_loop().create_task(guarded(), name=name))

    # -- watching ------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """The run has failed."""
        if not self._failure.done():
            self.trace.say(f"FAILED: {error}")
            self._failure.set_exception(error)

    async def _watch(self) -> None:
        prefix = b"/registry/"
        with self.store.watch(prefix, prefix_end(prefix), start_revision=1, prev_kv=True) as watch:
            async for batch in watch:
                for event in batch.events:
                    self._saw(event)

    def _saw(self, event: Any) -> None:
        revision = event.kv.mod_revision
        if revision < self.state.revision:
            raise Violation(f"revision {revision} came after {self.state.revision}")
        self.state.revision = revision
        change = self.state.apply(event)
        if change is None:
            return
        kind, old, new = change
        what = "+" if old is None else "-" if new is None else "~"
        self.trace.say(f"{revision} {what} {event.kv.key.decode()[10:]}{describe(new)}", event.kv.value)
        self.invariants.saw(kind, old, new)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
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
        """Lets time pass. Raises: what made the run fail meanwhile."""
        await asyncio.wait([self._failure], timeout=seconds)
        if self._failure.done():
            self._failure.result()

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
        return await self.until(lambda: convergence.missing(self), seconds, 0.25)

    async def stay_quiet(self, seconds: float) -> None:
        """Lets time pass in which nothing but the end of Events may be written."""
        await self.sleep(2.0)
        revision = self.store.revision
        before = list(self.trace.lines)[-1:]
        await self.sleep(seconds)
        prefix = b"/registry/"
        events, _ = self.store.machine.events_since(revision + 1, prefix, prefix_end(prefix), 1000)
        writes = [e for e in events if not e.kv.key.startswith(b"/registry/events/")]
        writes += [e for e in events if e.kv.key.startswith(b"/registry/events/") and e.kv.value]
        if writes:
            said = ", ".join(f"{e.kv.mod_revision} {e.kv.key.decode()}" for e in writes[:10])
            raise Violation(f"an idle cluster wrote {len(writes)} times after {before}: {said}")


def describe(obj: Any | None) -> str:
    """The few words about an object that a reader of the trace wants."""
    if obj is None:
        return ""
    words = []
    if obj.metadata.HasField("deletionTimestamp"):
        words.append("deleting")
    spec, status = getattr(obj, "spec", None), getattr(obj, "status", None)
    if spec is not None and hasattr(spec, "nodeName"):
        condition = next((c for c in status.conditions if c.type == "Ready"), None)
        words += [spec.nodeName or "unbound", status.phase]
        if condition is not None:
            words.append("ready" if condition.status == "True" else f"unready ({condition.reason})")
    elif status is not None and hasattr(status, "readyReplicas"):
        words.append(f"wants {spec.replicas} has {status.replicas} ready {status.readyReplicas}")
        words.append(
            f"available {status.availableReplicas} gen {obj.metadata.generation}/{status.observedGeneration}"
        )
    elif spec is not None and hasattr(spec, "taints"):
        ready_ = next((c.status for c in status.conditions if c.type == "Ready"), "?")
        words += [f"ready={ready_}", *(t.key.rpartition("/")[2] + ":" + t.effect for t in spec.taints)]
    elif hasattr(obj, "endpoints"):
        words += [f"{e.targetRef.name}={'ready' if e.conditions.ready else 'unready'}" for e in obj.endpoints]
    elif hasattr(obj, "reason"):
        words += [obj.reason, obj.message[:100]]
    return " " + " ".join(words) if words else ""


class _Listener(logging.Handler):
    """Puts what the house says into the trace; a defect fails the run."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        values = getattr(record, "values", None) or {}
        cause = record.exc_info[1] if record.exc_info else None
        said = " ".join(f"{key}={value}" for key, value in values.items())
        name = record.name.removeprefix("orchestra.")
        self._world.trace.say(f"[{record.levelname[0]} {name}] {record.getMessage()} {said}")
        if record.levelno >= logging.ERROR and INJECTED not in f"{said} {_causes(cause)}":
            error = Violation(f"{name} said an error: {record.getMessage()} {said}: {cause!r}")
            error.__cause__ = cause
            self._world.fail(error)


def _causes(error: BaseException | None) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " ".join(_causes(inner) for inner in error.exceptions)
    return str(error) if error is not None else ""


@contextmanager
def _listening(world: World) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, listener = root.handlers[:], root.level, _Listener(world)
    root.handlers[:] = [listener]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class Failed(AssertionError):
    """A run that failed, with its seed and what led to it."""


def simulate(
    seed: int, story: Callable[[World], Coroutine[Any, Any, None]], **options: Any
) -> tuple[str, float]:
    """Runs a story in a world of its own. The trace's hash and the virtual seconds that passed.

    Raises: Failed.
    """

    async def main() -> tuple[str, float]:
        world = World(seed, **options)
        with _listening(world):
            try:
                await world.start()
                await story(world)
                await world.sleep(0)
            except Exception as error:
                raise Failed(
                    f"seed {seed}, at {world.now():.3f} virtual seconds: {error}\n\n{world.trace.tail()}\n\n"
                    f"seed {seed}, at {world.now():.3f} virtual seconds: {type(error).__name__}: {error}"
                ) from error
            finally:
                await world.stop()
        return world.trace.hash(), world.now()

    gc.collect()
    gc.disable()
    try:
        return run(main)
    finally:
        gc.enable()
