"""A pod on a machine: the real pod state machine over pretended containers.

What its containers do is said by annotations of the pod (see Behaviour), and by chance.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents import pod_words as words
from agents.environment import HostPort
from agents.pods import PodMachine
from agents.status import StatusFacts, status_of
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import core

if TYPE_CHECKING:
    from tests.simulation.cluster.node import Node


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a container of a pod does. Annotations: sim/ready-ms (never if negative), sim/crash-ms (ends by
    itself after so long, 0: never), sim/exit (with that code), sim/deaf (needs SIGKILL).
    """

    ready_ms: int = 0
    crash_ms: int = 0
    exit: int = 1
    deaf: bool = False

    @classmethod
    def of(cls, pod: core.Pod) -> "Behaviour":
        said = pod.metadata.annotations
        return cls(
            int(said.get("sim/ready-ms", "0")),
            int(said.get("sim/crash-ms", "0")),
            int(said.get("sim/exit", "1")),
            said.get("sim/deaf", "") == "true",
        )


class ModelPod:
    """One pod here: does what its machine says, with the delays of a real machine."""

    def __init__(self, node: "Node", pod: core.Pod, machine: PodMachine) -> None:
        self.node = node
        self.pod = pod
        self.machine = machine
        self.finished = False
        self.behaviour = Behaviour.of(pod)
        self.running: set[tuple[str, int]] = set()
        self._status = core.PodStatus()
        self._status.CopyFrom(pod.status)
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._probes: dict[str, asyncio.TimerHandle] = {}
        self._ports = {
            container.name: [
                HostPort(p.name, p.containerPort, p.hostPort or node.free_port(), p.protocol or "TCP")
                for p in container.ports
            ]
            for container in pod.spec.containers
        }

    def now(self) -> words.Moment:
        clock = self.node.clock
        return words.Moment(clock.wall_ns(), clock.monotonic_ns())

    def step(self, event: words.Event) -> None:
        """Tells the machine."""
        if not self.finished and self.node.up:
            self.do(self.machine.step(event, self.now()))

    def do(self, instructions: list[words.Instruction]) -> None:
        for instruction in instructions:
            self._do(instruction)

    def _later(self, most_ms: float, event: words.Event) -> None:
        seconds = self.node.work_seconds(most_ms)
        self.node.loop.call_later(seconds, self.step, event)

    def _do(self, said: words.Instruction) -> None:
        loop = self.node.loop
        match said:
            case words.Report():
                self.node.report(self.report())
            case words.OpenSandbox():
                failed = self.node.rng.random() < self.node.failures
                event = words.SandboxFailed("no room") if failed else words.SandboxOpened()
                self._later(10.0, event)
            case words.CloseSandbox():
                self._stop_timers()
                self._later(5.0, words.SandboxClosed())
            case words.Start():
                if self.node.rng.random() < self.node.failures:
                    self._later(
                        10.0, words.StartFailed(said.container, said.run, "StartError", "no such file")
                    )
                else:
                    loop.call_later(self.node.work_seconds(20.0), self._started, said)
            case words.Signal():
                if self.machine.deleted:
                    self.node.told_to_stop(self)
                if self.behaviour.deaf:
                    return
                loop.call_later(self.node.work_seconds(30.0), self.exit, said.container, said.run, 143, 15)
            case words.Kill():
                loop.call_later(self.node.work_seconds(2.0), self.exit, said.container, said.run, 137, 9)
            case words.StartProbes():
                self._probe(said)
            case words.StopProbes():
                probe = self._probes.pop(said.container, None)
                if probe is not None:
                    probe.cancel()
            case words.SetTimer():
                key = (said.timer, said.container)
                if (old := self._timers.pop(key, None)) is not None:
                    old.cancel()
                fired = words.TimerFired(said.timer, said.container, said.run)
                self._timers[key] = loop.call_later(said.after_ns / words.NS, self.step, fired)
            case words.RecordEvent():
                self.node.record(self.pod, said)
            case words.Finished():
                self.finished = True
                self.node.report(self.report())
                self.node.forget(self)

    def _started(self, said: words.Start) -> None:
        if not self.node.up or self.finished:
            return
        self.node.began(self, said.container, said.run)
        self.running.add((said.container, said.run))
        self.step(words.Started(said.container, said.run, self.node.clock.wall_ns()))
        if self.behaviour.crash_ms:
            seconds = self.behaviour.crash_ms * (0.5 + self.node.rng.random()) / 1000
            code = self.behaviour.exit
            self.node.loop.call_later(seconds, self.exit, said.container, said.run, code, 0)

    def exit(self, container: str, run: int, code: int, signal: int) -> None:
        """The process ends, if it is still there."""
        if (container, run) in self.running and self.node.up:
            self.running.discard((container, run))
            self.step(words.Exited(container, run, code, signal, self.node.clock.wall_ns()))

    def _probe(self, said: words.StartProbes) -> None:
        if self.behaviour.ready_ms < 0:
            return
        result = words.ProbeResult(said.container, said.run, words.Probe.READINESS, True)
        seconds = self.behaviour.ready_ms * (0.5 + self.node.rng.random()) / 1000
        handle = self.node.loop.call_later(seconds, self.step, result)
        self._probes[said.container] = handle

    def flap(self) -> None:
        """Readiness is lost, and comes back after a while."""
        for state in self.machine.mains:
            if words.Probe.READINESS in state.plan.probes and state.ready:
                name, run, kind = state.plan.name, state.run, words.Probe.READINESS
                for _ in range(state.plan.probes[kind].failure_threshold):
                    self.step(words.ProbeResult(name, run, kind, False, "no answer"))
                self._probe(words.StartProbes(name, run, True))

    def _stop_timers(self) -> None:
        for handle in (*self._timers.values(), *self._probes.values()):
            handle.cancel()
        self._timers.clear()
        self._probes.clear()

    def vanish(self) -> None:
        """The machine has lost its power."""
        self._stop_timers()
        self.running.clear()
        self.finished = True

    def report(self) -> wire.PodReport:
        """Its state now."""
        facts = StatusFacts(self.node.address, self._ports)
        self._status = status_of(self.machine, self.pod, facts, self._status, self.node.clock.wall_ns())
        meta = self.pod.metadata
        return wire.PodReport(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            status=self._status,
            finished=self.finished,
        )
