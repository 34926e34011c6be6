"""One pod's worker: an actor that does what the pure machine says and tells it what came of it."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, assert_never

from agents import checkpoint
from agents import pod_words as words
from agents.environment import (
    EnvironmentFailure,
    HostPort,
    NodeFacts,
    hostname_of,
)
from agents.launch import Launching, container_spec, reserve_ports, start_message
from agents.logs import end_of_log
from agents.pod_plans import BackoffPlan, plan_of
from agents.pod_state import Stage
from agents.pods import PodMachine
from agents.ports import NoFreePort, PortReservations
from agents.probes import Prober, Target
from agents.runtime.contract import ContainerSpec, Runtime, RuntimeFailure, RuntimeLost, SandboxSpec
from agents.settings import AgentSettings
from agents.status import StatusFacts, gates_of, phase_of, status_of
from agents.volumes import PodDirectory, VolumeFailure, memory_volumes
from orchestra.aio.actor import Actor
from orchestra.base.clock import Clock
from orchestra.base.log import get_logger
from orchestra.objects.readiness import is_doubted
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import core

log = get_logger("agent.pod")

_MAILBOX_BOUND = 1024
# A pod that is only being prepared is not worth a write at the master unless it takes this long.
_PENDING_REPORT_S = 0.15
_HOOK_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Changed:
    """The master's newest form of the pod."""

    pod: core.Pod


class Reporter(Protocol):
    """Who passes on what a worker has to say."""

    def report(self, report: wire.PodReport) -> None:
        """A pod's state has changed."""
        ...

    def record(self, pod: core.Pod, event: words.RecordEvent) -> None:
        """Something a person may want to read."""
        ...

    def finished(self, uid: str) -> None:
        """Nothing is left of the pod here."""
        ...

    @property
    def connected(self) -> bool:
        """Whether somebody could say Drained."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers of an agent share."""

    settings: AgentSettings
    runtime: Runtime
    node: NodeFacts
    ports: PortReservations
    reporter: Reporter
    clock: Clock
    backoff: BackoffPlan


Message = words.Event | Changed


class PodWorker(Actor[Message]):
    """Owner of one pod here. Messages: the machine's events, and Changed."""

    def __init__(
        self,
        pod: core.Pod,
        around: Surroundings,
        *,
        machine: PodMachine | None = None,
        ports: dict[str, list[HostPort]] | None = None,
    ) -> None:
        super().__init__(_MAILBOX_BOUND)
        self._pod = pod
        self._around = around
        self.machine = machine or PodMachine(plan_of(pod, around.backoff))
        self._resumes = machine is not None and machine.stage is not Stage.OPENING
        self._ports = ports
        self._directory = PodDirectory.of(around.settings.data_dir, pod)
        self._specs = {c.name: c for c in (*pod.spec.initContainers, *pod.spec.containers)}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[tuple[words.Timer, str], asyncio.TimerHandle] = {}
        self._probers: dict[str, Prober] = {}
        self._status = core.PodStatus()
        self._status.CopyFrom(pod.status)
        self._pending_report: asyncio.TimerHandle | None = None
        self._started = False
        self._opened: asyncio.Task[None] | None = None
        self._finished = False

    # -- reading -------------------------------------------------------------------------------------

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self._pod.metadata.uid)

    @property
    def title(self) -> str:
        """namespace/name, for logs."""
        return f"{self._pod.metadata.namespace}/{self._pod.metadata.name}"

    @property
    def pod(self) -> core.Pod:
        """As the master said it last."""
        return self._pod

    @property
    def directory(self) -> PodDirectory:
        """Its files."""
        return self._directory

    def pod_report(self) -> wire.PodReport:
        """The state now."""
        self._refresh_status()
        meta = self._pod.metadata
        return wire.PodReport(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            status=self._status,
            finished=self._finished,
        )

    def _refresh_status(self) -> None:
        facts = StatusFacts(self._around.node.address, self._ports or {})
        now = self._around.clock.wall_ns()
        self._status = status_of(self.machine, self._pod, facts, self._status, now)

    # -- actor ---------------------------------------------------------------------------------------

    async def started(self) -> None:
        now = self._now()
        if self._started or self._resumes:
            self._resumes, self._started = False, True
            for port in (p for found in (self._ports or {}).values() for p in found):
                self._around.ports.hold(port.host_port)
            self._do_all(self.machine.resume(now))
            return
        self._started = True
        try:
            self._ports = reserve_ports(self._specs.values(), self._around.ports, self._around.node.address)
            self._directory.make(self._pod, work=not self._around.settings.working_directory)
        except (NoFreePort, OSError) as error:
            self._do_all(self.machine.step(words.Failed("FailedMount", str(error)), now))
            return
        self._do_all(self.machine.begin(now))

    async def receive(self, message: Message) -> None:
        if isinstance(message, Changed):
            self._change(message.pod)
            return
        if isinstance(message, words.Exited):
            message = self._explained(message)
        self._do_all(self.machine.step(message, self._now()))

    def _explained(self, ended: words.Exited) -> words.Exited:
        """With the end of the log as its message, where the manifest asks for that."""
        spec = self._specs.get(ended.container)
        if spec is None or not ended.code or spec.terminationMessagePolicy != "FallbackToLogsOnError":
            return ended
        return replace(ended, message=end_of_log(self._directory.log(ended.container, ended.run)))

    async def stopped(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._pending_report is not None:
            self._pending_report.cancel()
        for prober in self._probers.values():
            prober.stop()
        self._probers.clear()

    def _now(self) -> words.Moment:
        clock = self._around.clock
        return words.Moment(clock.wall_ns(), clock.monotonic_ns())

    def _change(self, pod: core.Pod) -> None:
        old, self._pod = self._pod, pod
        if pod.metadata.HasField("deletionTimestamp"):
            grace_s = pod.metadata.deletionGracePeriodSeconds
            undrained = not self._around.reporter.connected
            event = words.Delete(grace_s * words.NS, undrained)
            self._do_all(self.machine.step(event, self._now()))
            return
        deadline_s = pod.spec.activeDeadlineSeconds
        if deadline_s != old.spec.activeDeadlineSeconds:
            self._do_all(self.machine.step(words.DeadlineSet(deadline_s * words.NS), self._now()))
        changed = pod.metadata.generation != old.metadata.generation or gates_of(pod) != gates_of(old)
        if changed or is_doubted(pod):
            self._report()

    # -- doing ---------------------------------------------------------------------------------------

    def _do_all(self, instructions: Sequence[words.Instruction]) -> None:
        for instruction in instructions:
            self._do(instruction)

    def _do(self, instruction: words.Instruction) -> None:
        match instruction:
            case words.Report():
                self._report()
            case words.Start():
                self._spawn(self._start(instruction))
            case words.OpenSandbox():
                self._opened = self._spawn(self._open())
            case words.CloseSandbox():
                self._let_go()
                self._spawn(self._close())
            case words.Signal():
                name = self._name(instruction.container, instruction.run)
                self._spawn(self._quietly(self._around.runtime.signal(name, instruction.number)))
            case words.Kill():
                name = self._name(instruction.container, instruction.run)
                self._spawn(self._quietly(self._around.runtime.kill(name)))
            case words.RunHook():
                self._spawn(self._hook(instruction))
            case words.StartProbes():
                self._prober(instruction).start(instruction.started_up)
            case words.StopProbes():
                prober = self._probers.pop(instruction.container, None)
                if prober is not None:
                    prober.stop()
            case words.SetTimer():
                self._set_timer(instruction)
            case words.AwaitDrain():
                pass
            case words.RecordEvent():
                self._around.reporter.record(self._pod, instruction)
            case words.Finished():
                self._spawn(self._finish())
            case _ as never:
                assert_never(never)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RuntimeLost:
            # The agent hears of it too, and ends; whoever comes next begins anew.
            log.error("lost the spawner", pod=self.title)
        except Exception as error:  # noqa: BLE001 - a defect in one step must not hide
            log.error("a step of a pod failed", error, pod=self.title)

    def _name(self, container: str, run: int) -> str:
        return f"{self.uid}/{container}/{run}"

    def _set_timer(self, timer: words.SetTimer) -> None:
        key = (timer.timer, timer.container)
        old = self._timers.pop(key, None)
        if old is not None:
            old.cancel()
        fired = words.TimerFired(timer.timer, timer.container, timer.run)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(timer.after_ns / words.NS, lambda: self._fire(key, fired))

    def _fire(self, key: tuple[words.Timer, str], fired: words.TimerFired) -> None:
        self._timers.pop(key, None)
        if not self.mailbox.closed:
            self._spawn(self.tell(fired))

    async def _open(self) -> None:
        spec = SandboxSpec(
            self.uid,
            hostname_of(self._pod),
            share_pids=self._pod.spec.shareProcessNamespace,
            memory_volumes=memory_volumes(self._pod, self._directory),
            checkpoint=checkpoint.dump(self.machine, self._pod, self._ports or {}),
        )
        try:
            await self._around.runtime.open_sandbox(spec)
        except RuntimeFailure as error:
            await self.tell(words.SandboxFailed(str(error)))
        else:
            await self.tell(words.SandboxOpened())

    async def _close(self) -> None:
        if self._opened is not None:
            await asyncio.wait([self._opened])
        try:
            await self._around.runtime.close_sandbox(self.uid)
        except RuntimeLost:
            raise
        except RuntimeFailure as error:
            log.error("the pod's sandbox could not be closed", error, pod=self.title)
        for found in (self._ports or {}).values():
            for port in found:
                self._around.ports.release(port.host_port)
        await self.tell(words.SandboxClosed())

    async def _start(self, order: words.Start) -> None:
        try:
            spec = self._container_spec(order)
            launch = await self._around.runtime.start(spec)
        except (EnvironmentFailure, VolumeFailure, OSError) as error:
            await self.tell(words.StartFailed(order.container, order.run, words.CONFIG_ERROR, str(error)))
        except RuntimeLost:
            raise
        except RuntimeFailure as error:
            said = start_message(error, self._specs[order.container])
            await self.tell(words.StartFailed(order.container, order.run, "StartError", said))
        else:
            await self.tell(words.Started(order.container, order.run, launch.started_ns))

    def _container_spec(self, order: words.Start) -> ContainerSpec:
        container = self._specs[order.container]
        ports = (self._ports or {}).get(container.name, [])
        return container_spec(
            self._pod,
            container,
            self._name(container.name, order.run),
            Launching(
                self._around.settings, self._around.node, self._around.runtime.isolation, self._directory
            ),
            ports,
        )

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        """For signals: a container that has ended meanwhile is what was wanted."""
        try:
            await work
        except RuntimeLost:
            raise
        except RuntimeFailure as error:
            log.debug("signal not delivered", pod=self.title, why=error)

    async def _hook(self, order: words.RunHook) -> None:
        spec = self._specs[order.container]
        hook = spec.lifecycle.preStop if order.pre_stop else spec.lifecycle.postStart
        timeout = order.grace_ns / words.NS if order.pre_stop else _HOOK_MAX_S
        wrong = await self._target(order.container, order.run).ask(hook, max(0.01, timeout))
        done = words.HookDone if order.pre_stop else words.PostStartDone
        await self.tell(done(order.container, order.run, wrong))

    def _target(self, container: str, run: int) -> Target:
        ports = (self._ports or {}).get(container, [])
        return Target(self._around.runtime, self._name(container, run), self._around.node.address, ports)

    def _prober(self, order: words.StartProbes) -> Prober:
        found = self._probers.get(order.container)
        if found is None or found.run != order.run:
            if found is not None:
                found.stop()
            target = self._target(order.container, order.run)
            found = Prober(self._specs[order.container], order.run, target, self.tell)
            self._probers[order.container] = found
        return found

    async def _finish(self) -> None:
        self._finished = True
        await asyncio.to_thread(self._directory.remove)
        self._around.reporter.report(self.pod_report())
        self._around.reporter.finished(self.uid)
        self.mailbox.close()

    # -- reporting -----------------------------------------------------------------------------------

    def _report(self) -> None:
        if self._finished:
            return
        preparing = phase_of(self.machine) == "Pending" and not any(
            c.current or c.config_refused for c in self.machine.containers
        )
        if (
            preparing
            and not self.machine.opening_message
            and self.machine.stage in (Stage.OPENING, Stage.RUNNING)
        ):
            # The first of many words counts: however often they come, one is told in time.
            if self._pending_report is None:
                loop = asyncio.get_running_loop()
                self._pending_report = loop.call_later(_PENDING_REPORT_S, self._send_report)
            return
        if self._pending_report is not None:
            self._pending_report.cancel()
        self._send_report()

    def _send_report(self) -> None:
        self._pending_report = None
        self._around.reporter.report(self.pod_report())
        if self.machine.stage not in (Stage.OPENING, Stage.CLOSED):
            text = checkpoint.dump(self.machine, self._pod, self._ports or {})
            self._spawn(self._quietly(self._around.runtime.remember(self.uid, text)))
