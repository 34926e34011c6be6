"""A machine with an agent: the real session, and pods (pods.py)."""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agents import pod_words as words
from agents.pod_plans import BackoffPlan, plan_of
from agents.pods import PodMachine
from agents.session import Session
from orchestra.objects.readiness import is_doubted
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import core
from tests.simulation.cluster.masters import RATE_ERROR, MachineClock
from tests.simulation.cluster.pods import ModelPod
from tests.simulation.cluster.wire import Wire
from tests.simulation.processes import Process, ProcessLoop
from tests.simulation.trace import Trace

BACKOFF = BackoffPlan(500_000_000, 8_000_000_000, 20_000_000_000)
RESTART_SECONDS = 60
START_SECONDS = 0.05
_ORPHAN_GRACE_NS = words.NS


class Node:
    """One machine. up: it has power. Its agent process comes and goes; its containers outlive the agent."""

    def __init__(
        self,
        name: str,
        number: int,
        wire: Wire,
        rng: random.Random,
        trace: Trace,
        capacity: Mapping[str, str],
        *,
        skewed: bool,
    ) -> None:
        self.name = name
        self.address = f"127.77.0.{10 + number}"
        self.skew_ns = 0
        self.rng = rng
        self.pods: dict[str, ModelPod] = {}
        self.process: Process | None = None
        self.lives = 0
        self.slow = 1.0
        self.failures = 0.0
        self.capacity = capacity
        # Who is told of what happens here.
        self.began: Callable[[ModelPod, str, int], None] = lambda pod, container, run: None
        self.told_to_stop: Callable[[ModelPod], None] = lambda pod: None
        # Since when nothing of its own or of its way to the masters has been amiss; None: something is.
        self.well_since: float | None = None
        self._skewed = skewed
        self._wire = wire
        self._trace = trace
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._instance = ""
        self._picture: set[str] | None = None
        self._ports = 20_000

    # -- life ----------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether it has power."""
        return self.process is not None

    @property
    def agent_runs(self) -> bool:
        return self._task is not None

    @property
    def stopped(self) -> bool:
        """Whether nothing on it goes on."""
        return self.process is not None and self.process.stopped

    @property
    def loop(self) -> ProcessLoop:
        """Where its time passes."""
        assert self.process is not None
        return self.process.loop

    @property
    def clock(self) -> MachineClock:
        """Its clocks."""
        assert self.process is not None
        return MachineClock(self.process, self._wire.timeline, lambda: self.skew_ns)

    def start_agent(self) -> None:
        """A new agent process; it takes over what runs here."""
        assert self._task is None
        process = self.process
        if process is None:
            self.lives += 1
            error = RATE_ERROR if self._skewed else 0.0
            rate = self.rng.uniform(1 - error, 1 + error)
            process = self.process = self._wire.timeline.process(f"{self.name}.{self.lives}", rate)
        self._instance = f"{self.rng.getrandbits(64):016x}"
        known = list(self._wire.masters)
        self.rng.shuffle(known)
        # It is told of the others by whoever it finds.
        known = known[: self.rng.randint(1, len(known))]
        dial = partial(self._wire.dial, self.name, process)
        session = self._session = Session(known, self, rng=self.rng, dial=dial)
        self._task = process.start(self._begin_agent(session), "agent")

    async def _begin_agent(self, session: Session) -> None:
        # A process takes its time to start: the end of the one before is heard first.
        await asyncio.sleep(START_SECONDS)
        await session.run()

    async def stop_agent(self) -> None:
        """An orderly end of the agent that says it will be back; the pods go on running."""
        if self._session is not None and self.process is not None:
            said = self.process.start(self._session.say_goodbye(restarting_s=RESTART_SECONDS), "goodbye")
            await self._ended(said)
        await self.kill_agent()

    async def kill_agent(self) -> None:
        """SIGKILL to the agent alone: its stream breaks, the pods go on running."""
        task, self._task, self._session = self._task, None, None
        self.well_since = None
        if task is not None:
            for link in self._wire.links(self.name):
                link.cut()
            task.cancel()
            await self._ended(task)

    async def _ended(self, task: asyncio.Task[None]) -> None:
        """Waits, in another process, for a task in this machine's."""
        process = self.process
        while process is not None and process.alive and not (task.done() or process.stopped):  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def lose_power(self, *, silently: bool) -> None:
        """Everything here is gone. silently: nobody is told; otherwise the kernel closes the streams."""
        process = self.process
        if process is None:
            return
        for pod in list(self.pods.values()):
            pod.vanish()
        self.pods.clear()
        self._task = self._session = self.well_since = None
        for link in self._wire.links(self.name):
            if silently:
                link.silence()
            else:
                link.hang_up()
        process.kill()
        self.process = None

    def look(self, now: float) -> None:
        """Notes whether all is well here, on the machine and on its way to the masters."""
        well = (
            self.agent_runs
            and not self.stopped
            and self.slow < 2
            and self._wire.slow.get(self.name, 1.0) < 20
        )
        if not well or any(node == self.name for node, _ in self._wire.cuts):
            self.well_since = None
        elif self.well_since is None:
            self.well_since = now

    def work_seconds(self, most_ms: float) -> float:
        """How long something takes here now."""
        return (0.2 + self.rng.random() ** 2) * most_ms * self.slow / 1000

    def free_port(self) -> int:
        self._ports = 20_000 + (self._ports - 20_000 + 1) % 10_000
        return self._ports

    # -- what the session asks -------------------------------------------------------------------------

    def register(self) -> wire.Register:
        self._picture = set()
        said = wire.Register(
            name=self.name,
            instance=self._instance,
            labels={"zone": f"z{len(self.name) % 2}"},
            pods=[pod.report() for pod in self.pods.values()],
        )
        said.addresses.add(type="InternalIP", address=self.address)
        for name in sorted(self.capacity):
            said.capacity[name].string = self.capacity[name]
            said.allocatable[name].string = self.capacity[name]
        said.node_info.architecture = "amd64"
        said.node_info.operatingSystem = "linux"
        return said

    def heartbeat(self) -> wire.Heartbeat:
        return wire.Heartbeat(cpu_millis=100, pods=len(self.pods))

    async def orders(self, orders: wire.Orders) -> None:
        routes = orders.synced
        for order in orders.orders:
            if order.object.WhichOneof("object") == "pod":
                self._pod_order(order.object.pod, order.removed)
            else:
                routes = True
        if orders.synced and self._picture is not None:
            wanted, self._picture = self._picture, None
            for uid in [uid for uid in self.pods if uid not in wanted]:
                pod = self.pods[uid]
                pod.step(words.Delete(pod.machine.plan.grace_ns, undrained=True))
        if routes:
            await asyncio.sleep(self.work_seconds(2.0))

    def _pod_order(self, pod: core.Pod, removed: bool) -> None:
        uid = pod.metadata.uid
        known = self.pods.get(uid)
        if removed:
            if known is not None:
                known.step(words.Delete(_ORPHAN_GRACE_NS, undrained=True))
            return
        if self._picture is not None:
            self._picture.add(uid)
        if known is not None:
            self._changed(known, pod)
        elif pod.metadata.HasField("deletionTimestamp"):
            meta = pod.metadata
            self.report(
                wire.PodReport(
                    namespace=meta.namespace, name=meta.name, uid=uid, status=pod.status, finished=True
                )
            )
        elif pod.status.phase not in ("Succeeded", "Failed"):
            self._begin(pod)

    def _changed(self, known: ModelPod, pod: core.Pod) -> None:
        old, known.pod = known.pod, pod
        if pod.metadata.HasField("deletionTimestamp"):
            grace_ns = pod.metadata.deletionGracePeriodSeconds * words.NS
            known.step(words.Delete(grace_ns, not self.connected))
        elif pod.metadata.generation != old.metadata.generation or is_doubted(pod):
            self.report(known.report())

    def _begin(self, pod: core.Pod) -> None:
        machine = PodMachine(plan_of(pod, BACKOFF))
        seen = {s.name: s for s in pod.status.containerStatuses if s.containerID}
        now = self.clock.wall_ns()
        if seen:
            # It ran here before the machine lost its power: what the real agent makes of that.
            machine.begun_ns = now
            for c in machine.mains:
                status = seen.get(c.plan.name)
                if status is None:
                    continue
                c.run = status.restartCount + 1
                c.started_ns = now
                c.current = words.Termination(137, 9, "ContainerStatusUnknown", "", now, now, c.run)
        made = self.pods[pod.metadata.uid] = ModelPod(self, pod, machine)
        made.do(machine.begin(made.now()))

    def drained(self, uid: str) -> None:
        pod = self.pods.get(uid)
        if pod is not None:
            pod.step(words.TimerFired(words.Timer.DRAIN))

    def open_log(self, order: wire.OpenLog, stub: Any) -> None:
        """Nobody asks for logs here."""

    # -- what pods say ---------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._session is not None and self._session.connected

    def report(self, report: wire.PodReport) -> None:
        if self._session is not None:
            self._session.report(report)

    def record(self, pod: core.Pod, said: words.RecordEvent) -> None:
        if self._session is None:
            return
        event = core.Event(type=said.type, reason=said.reason, message=said.message)
        event.involvedObject.kind, event.involvedObject.apiVersion = "Pod", "v1"
        event.involvedObject.name = pod.metadata.name
        event.involvedObject.namespace = pod.metadata.namespace
        event.involvedObject.uid = pod.metadata.uid
        self._session.record(event)

    def forget(self, pod: ModelPod) -> None:
        self.pods.pop(pod.pod.metadata.uid, None)
