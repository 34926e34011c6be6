"""Model agents: they speak the real session and run no process, many in one Python process.

For benchmarks of the control plane at scale. A pod is Running and ready the moment it is ordered, by the real
state machine and with a real status, and is finished the moment it is deleted. It must not be used for
anything that a process would have to do.
"""

import asyncio
import os
from collections.abc import Mapping

from agents import node
from agents import pod_words as words
from agents.environment import HostPort
from agents.pod_plans import BackoffPlan, plan_of
from agents.pods import PodMachine
from agents.session import Session
from agents.status import StatusFacts, status_of
from orchestra.base.clock import Clock, SystemClock
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import agent_v1_pb2_grpc as rpc
from orchestra.pb import core

CAPACITY: Mapping[str, str] = {"cpu": "32", "memory": "128Gi", "pods": "250"}
# Dialling all at once would only measure the handshakes.
_DIAL_AT_ONCE = 50


class SimulatedAgent:
    """One model agent. Does for a Session what Agent does."""

    def __init__(self, name: str, address: str, master: str, *, clock: Clock | None = None) -> None:
        self.name = name
        self.address = address
        self.session = Session([master], self)
        self.pods: dict[str, wire.PodReport] = {}
        self._clock = clock or SystemClock()
        self._instance = os.urandom(8).hex()
        self._backoff = BackoffPlan()
        # Which are in the first full picture, while it is arriving.
        self._picture: set[str] | None = None

    def register(self) -> wire.Register:
        """A machine of the usual size."""
        self._picture = set()
        labels = {"orchestra.dev/runtime": "simulated", "kubernetes.io/hostname": self.name}
        info = core.NodeSystemInfo(operatingSystem="linux", architecture="amd64", kubeletVersion="simulated")
        found = wire.Register(
            name=self.name,
            instance=self._instance,
            labels=labels,
            node_info=info,
            pods=list(self.pods.values()),
        )
        found.addresses.add(type="InternalIP", address=self.address)
        for resource, quantity in node.quantities(CAPACITY).items():
            found.capacity[resource].CopyFrom(quantity)
            found.allocatable[resource].CopyFrom(quantity)
        return found

    def heartbeat(self) -> wire.Heartbeat:
        """A machine at rest."""
        return wire.Heartbeat(cpu_millis=100, memory_bytes=1 << 30, pods=len(self.pods))

    async def orders(self, orders: wire.Orders) -> None:
        """Pods run, or end, at once; routes are taken note of by saying Applied."""
        for order in orders.orders:
            if order.object.HasField("pod"):
                self._pod(order.object.pod, order.removed)
        if orders.synced and self._picture is not None:
            wanted, self._picture = self._picture, None
            for uid in [uid for uid in self.pods if uid not in wanted]:
                del self.pods[uid]

    def _pod(self, pod: core.Pod, removed: bool) -> None:
        uid = pod.metadata.uid
        if self._picture is not None and not removed:
            self._picture.add(uid)
        if removed:
            self.pods.pop(uid, None)
        elif pod.metadata.HasField("deletionTimestamp"):
            report = self.pods.pop(uid, None) or self._report(pod, pod.status)
            report.finished = True
            self.session.report(report)
        elif uid not in self.pods:
            self.pods[uid] = self._report(pod, self._running(pod))
            self.session.report(self.pods[uid])

    def _running(self, pod: core.Pod) -> core.PodStatus:
        now_ns = self._clock.wall_ns()
        now = words.Moment(now_ns, now_ns)
        machine = PodMachine(plan_of(pod, self._backoff))
        machine.begin(now)
        todo: list[words.Instruction] = machine.step(words.SandboxOpened(), now)
        while todo:
            match todo.pop(0):
                case words.Start() as start:
                    todo += machine.step(words.Started(start.container, start.run, now_ns), now)
                    state = machine.container(start.container)
                    if state is not None and state.plan.init_only:
                        todo += machine.step(words.Exited(start.container, start.run, 0, 0, now_ns), now)
                case words.StartProbes() as probes:
                    state = machine.container(probes.container)
                    for kind, plan in state.plan.probes.items() if state is not None else ():
                        for _ in range(plan.success_threshold):
                            result = words.ProbeResult(probes.container, probes.run, kind, True)
                            todo += [i for i in machine.step(result, now) if not isinstance(i, type(probes))]
                case words.RunHook() as hook:
                    todo += machine.step(words.PostStartDone(hook.container, hook.run), now)
                case _:
                    pass
        ports = {
            c.name: [HostPort(p.name, p.containerPort, p.containerPort) for p in c.ports]
            for c in pod.spec.containers
        }
        return status_of(machine, pod, StatusFacts(self.address, ports), pod.status, now_ns)

    @staticmethod
    def _report(pod: core.Pod, status: core.PodStatus) -> wire.PodReport:
        meta = pod.metadata
        return wire.PodReport(namespace=meta.namespace, name=meta.name, uid=meta.uid, status=status)

    def drained(self, uid: str) -> None:
        """Finished already."""

    def open_log(self, order: wire.OpenLog, stub: rpc.AgentsStub) -> None:
        """There is no log: the reader is told so by the master's own time limit."""


async def run_simulated(
    master: str, count: int, prefix: str = "sim-", *, ready: asyncio.Event | None = None
) -> None:
    """Runs `count` model agents until cancelled. `ready` is set once all know their orders."""
    agents = [
        SimulatedAgent(f"{prefix}{i}", f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", master)
        for i in range(count)
    ]
    dialling = asyncio.Semaphore(_DIAL_AT_ONCE)

    async def dial(agent: SimulatedAgent) -> None:
        async with dialling:
            tasks.create_task(agent.session.run(), name=agent.name)
            await agent.session.synced.wait()

    async with asyncio.TaskGroup() as tasks:
        await asyncio.gather(*(dial(agent) for agent in agents))
        if ready is not None:
            ready.set()
