"""The life of one pod, as a pure state machine: events in, instructions out.

Knows restart policies, order, probes' thresholds, deletion. Must not know processes, clocks or the wire: time
comes in with each event, waiting goes out as SetTimer, and everything else to be done goes out as an
instruction whose outcome comes back as an event. Every event about a container names its run, so that a late
word about an earlier run changes nothing.

One table says what happens: (state of the container, event) -> what to do; a pair that is not in it is
ignored, because it is the late word about something that has been decided otherwise.
"""

from collections.abc import Callable
from enum import Enum

from agents.pod_words import (
    AwaitDrain,
    CloseSandbox,
    ContainerPlan,
    Delete,
    Event,
    Exited,
    Failed,
    Finished,
    HookDone,
    Instruction,
    Kill,
    Moment,
    OpenSandbox,
    PodPlan,
    PostStartDone,
    Probe,
    ProbeResult,
    RecordEvent,
    Report,
    RunHook,
    SandboxClosed,
    SandboxFailed,
    SandboxOpened,
    SetTimer,
    Signal,
    Start,
    Started,
    StartFailed,
    StartProbes,
    StopProbes,
    Termination,
    Timer,
    TimerFired,
)

NS = 1_000_000_000
SIGTERM = 15
# An executable that could not be run, as Kubernetes reports it.
START_ERROR_CODE = 128
DRAIN_WAIT_NS = 3 * NS


class Stage(Enum):
    """Where the pod is. CLOSED: nothing runs and nothing will; it is only still known."""

    OPENING = "opening"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    CLOSING = "closing"
    CLOSED = "closed"


class Phase(Enum):
    """Where one container is."""

    WAITING = "waiting"  # not its turn yet
    STARTING = "starting"
    RUNNING = "running"
    HOOKED = "hooked"  # its preStop hook runs
    STOPPING = "stopping"  # told to end
    BACKOFF = "backoff"  # will be started again
    DONE = "done"  # ended for good


class ContainerState:
    """What is known of one container. Only the machine writes it."""

    __slots__ = (
        "attempt_ns",
        "backoff_ns",
        "current",
        "last",
        "message",
        "phase",
        "plan",
        "ready",
        "results",
        "run",
        "started_ns",
        "started_up",
    )

    def __init__(self, plan: ContainerPlan) -> None:
        self.plan = plan
        self.phase = Phase.WAITING
        # The number of the newest run, from 1; restartCount is run - 1.
        self.run = 0
        self.started_ns = 0
        self.attempt_ns = 0
        self.backoff_ns = 0
        self.ready = False
        self.started_up = False
        self.message = ""
        self.current: Termination | None = None
        self.last: Termination | None = None
        # probe -> (passed last time, how often in a row)
        self.results: dict[Probe, tuple[bool, int]] = {}

    @property
    def live(self) -> bool:
        """Whether a process of it exists or is being made."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.HOOKED, Phase.STOPPING)

    @property
    def restarts(self) -> int:
        """restartCount: how often it was started after the first time."""
        return max(0, self.run - 1)


class PodMachine:
    """One pod. `step` is the only way in; the states are read by status and checkpoints."""

    def __init__(self, plan: PodPlan) -> None:
        self.plan = plan
        self.stage = Stage.OPENING
        self.inits = [ContainerState(c) for c in plan.inits]
        self.mains = [ContainerState(c) for c in plan.mains]
        self.begun_ns = 0
        self.deleted = False
        self.grace_ns = plan.grace_ns
        # Set when the pod as a whole was failed from outside its containers (reason, message).
        self.failed: tuple[str, str] | None = None
        self.opening_message = ""
        self._stop_at_ns = 0
        self._out: list[Instruction] = []

    # -- reading -------------------------------------------------------------------------------------

    @property
    def containers(self) -> list[ContainerState]:
        """Init containers first."""
        return [*self.inits, *self.mains]

    def container(self, name: str) -> ContainerState | None:
        """The container of a name."""
        return next((c for c in self.containers if c.plan.name == name), None)

    @property
    def initialized(self) -> bool:
        """Whether every init container has done its part."""
        return all(self._init_passed(c) for c in self.inits)

    @property
    def complete(self) -> bool:
        """Whether every ordinary container has ended for good."""
        return all(c.phase is Phase.DONE for c in self.mains) or self._init_lost

    @property
    def _init_lost(self) -> bool:
        return any(c.phase is Phase.DONE and not self._init_passed(c) for c in self.inits)

    @staticmethod
    def _init_passed(c: ContainerState) -> bool:
        if c.plan.sidecar:
            return c.started_up or (c.phase is Phase.DONE and c.run > 0)
        return c.phase is Phase.DONE and c.current is not None and c.current.code == 0

    # -- the way in ----------------------------------------------------------------------------------

    def begin(self, now: Moment) -> list[Instruction]:
        """The first step."""
        self.begun_ns = now.wall_ns
        if self.plan.deadline_ns:
            self._say(SetTimer(Timer.DEADLINE, "", 0, self.plan.deadline_ns))
        self._say(OpenSandbox())
        return self._take()

    def resume(self, now: Moment) -> list[Instruction]:
        """The first step after the states were restored from a checkpoint: go on from there."""
        for c in self.containers:
            if c.phase is Phase.RUNNING and not c.plan.init_only:
                self._say(StartProbes(c.plan.name, c.run, c.started_up))
            elif c.phase is Phase.BACKOFF:
                self._say(SetTimer(Timer.BACKOFF, c.plan.name, c.run, c.backoff_ns))
        if self.plan.deadline_ns:
            left = self.plan.deadline_ns - (now.wall_ns - self.begun_ns)
            self._say(SetTimer(Timer.DEADLINE, "", 0, max(NS // 1000, left)))
        self._advance(now)
        self._say(Report())
        return self._take()

    def step(self, event: Event, now: Moment) -> list[Instruction]:
        """What has to be done now that `event` happened."""
        name = getattr(event, "container", "")
        if name:
            c = self.container(name)
            if c is not None and c.run == event.run:  # type: ignore[union-attr]
                key = (c.phase, event.timer if isinstance(event, TimerFired) else type(event))
                act = _CONTAINER_TABLE.get(key)
                if act is not None:
                    act(self, c, event, now)
        else:
            handler = _POD_TABLE.get(event.timer if isinstance(event, TimerFired) else type(event))
            if handler is not None:
                handler(self, event, now)
        return self._take()

    def _say(self, instruction: Instruction) -> None:
        self._out.append(instruction)

    def _take(self) -> list[Instruction]:
        # One report says everything: only the last of a step counts.
        out, self._out = self._out, []
        if Report() in out:
            out = [i for i in out if not isinstance(i, Report)]
            # Before Finished and CloseSandbox would be too early, after them is too late for nobody.
            out.append(Report())
        return out

    # -- the pod -------------------------------------------------------------------------------------

    def _opened(self, event: Event, now: Moment) -> None:
        if self.stage is Stage.OPENING:
            self.stage = Stage.RUNNING
            self.opening_message = ""
            self._advance(now)
            self._say(Report())

    def _open_failed(self, event: SandboxFailed, now: Moment) -> None:
        if self.stage is Stage.OPENING:
            self.opening_message = event.message
            self._say(RecordEvent("Warning", "FailedCreatePodSandBox", event.message, ""))
            self._say(SetTimer(Timer.REOPEN, "", 0, self.plan.backoff_initial_ns))
            self._say(Report())

    def _reopen(self, event: Event, now: Moment) -> None:
        if self.stage is Stage.OPENING:
            self._say(OpenSandbox())

    def _advance(self, now: Moment) -> None:
        """Starts whatever has its turn now, or ends the pod that has nothing more to do."""
        if self.stage is not Stage.RUNNING:
            if self.stage is Stage.STOPPING:
                self._stop_next(now)
            return
        for c in self.inits:
            if c.phase is Phase.WAITING:
                self._start(c, now)
            if not self._init_passed(c):
                if self._init_lost:
                    self._stop_all(now, self.grace_ns)
                return
        for c in self.mains:
            if c.phase is Phase.WAITING:
                self._start(c, now)
        if self.complete:
            self._stop_all(now, self.grace_ns)

    def _delete(self, event: Delete, now: Moment) -> None:
        shorter = event.grace_ns < self.grace_ns or not self.deleted
        self.deleted = True
        self.grace_ns = event.grace_ns if shorter else self.grace_ns
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            was_ready = any(c.ready for c in self.mains)
            self.stage = Stage.DRAINING
            if was_ready and event.grace_ns and not event.undrained:
                self._say(AwaitDrain())
                self._say(SetTimer(Timer.DRAIN, "", 0, DRAIN_WAIT_NS))
                self._say(Report())
            else:
                self._drained(event, now)
        elif self.stage is Stage.STOPPING and shorter:
            self._stop_at_ns = min(self._stop_at_ns, now.monotonic_ns + event.grace_ns)
            for c in self.containers:
                if c.phase in (Phase.HOOKED, Phase.STOPPING):
                    self._set_grace(c, self._stop_at_ns - now.monotonic_ns)
        elif self.stage is Stage.CLOSED:
            self._say(Finished())

    def _drained(self, event: Event, now: Moment) -> None:
        if self.stage is Stage.DRAINING:
            self._stop_all(now, self.grace_ns)
            self._say(Report())

    def _deadline(self, event: Event, now: Moment) -> None:
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            self.failed = (
                "DeadlineExceeded",
                "Pod was active on the node longer than the specified deadline",
            )
            self._say(RecordEvent("Normal", "DeadlineExceeded", self.failed[1], ""))
            self._stop_all(now, self.grace_ns)
            self._say(Report())

    def _fail(self, event: Failed, now: Moment) -> None:
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            self.failed = (event.reason, event.message)
            self._say(RecordEvent("Warning", event.reason, event.message, ""))
            self._stop_all(now, self.grace_ns)
            self._say(Report())

    def _stop_all(self, now: Moment, grace_ns: int) -> None:
        self.stage = Stage.STOPPING
        self._stop_at_ns = now.monotonic_ns + grace_ns
        for c in self.containers:
            if c.phase in (Phase.WAITING, Phase.BACKOFF):
                c.phase = Phase.DONE
        self._stop_next(now)

    def _stop_next(self, now: Moment) -> None:
        """Ordinary containers first, then sidecars from the last to the first, then the sandbox."""
        others = [c for c in self.containers if not c.plan.sidecar and c.live]
        sidecars = [c for c in reversed(self.inits) if c.plan.sidecar and c.live]
        for c in others or sidecars[:1]:
            if c.phase is Phase.RUNNING:
                self._stop(c, now, self._stop_at_ns - now.monotonic_ns)
        if not others and not sidecars:
            self.stage = Stage.CLOSING
            self._say(CloseSandbox())

    def _closed(self, event: Event, now: Moment) -> None:
        if self.stage is Stage.CLOSING:
            self.stage = Stage.CLOSED
            self._say(Finished() if self.deleted else Report())

    # -- one container -------------------------------------------------------------------------------

    def _start(self, c: ContainerState, now: Moment) -> None:
        c.run += 1
        c.phase = Phase.STARTING
        c.attempt_ns = now.monotonic_ns
        c.ready = c.started_up = False
        c.results.clear()
        c.message = ""
        self._say(Start(c.plan.name, c.run))

    def _started(self, c: ContainerState, event: Started, now: Moment) -> None:
        c.phase = Phase.RUNNING
        c.started_ns = event.at_ns
        if c.current is not None:
            c.last, c.current = c.current, None
        self._say(RecordEvent("Normal", "Started", f"Started container {c.plan.name}", c.plan.name))
        if self.stage in (Stage.STOPPING, Stage.CLOSING):
            self._stop_next(now)
        elif c.plan.post_start:
            self._say(RunHook(c.plan.name, c.run, False, 0))
        else:
            self._come_up(c, now)
        self._say(Report())

    def _come_up(self, c: ContainerState, now: Moment) -> None:
        c.started_up = Probe.STARTUP not in c.plan.probes
        c.ready = c.started_up and Probe.READINESS not in c.plan.probes and not c.plan.init_only
        if c.plan.probes:
            self._say(StartProbes(c.plan.name, c.run, c.started_up))
        if c.started_up and c.plan.sidecar:
            self._advance(now)

    def _post_started(self, c: ContainerState, event: PostStartDone, now: Moment) -> None:
        if event.message:
            self._say(RecordEvent("Warning", "FailedPostStartHook", event.message, c.plan.name))
            self._stop(c, now, self.plan.grace_ns)
        elif self.stage is Stage.RUNNING:
            self._come_up(c, now)
        self._say(Report())

    def _start_failed(self, c: ContainerState, event: StartFailed, now: Moment) -> None:
        c.started_ns = now.wall_ns
        self._say(RecordEvent("Warning", "Failed", f"Error: {event.message}", c.plan.name))
        ended = Termination(START_ERROR_CODE, 0, event.reason, event.message, now.wall_ns, now.wall_ns, c.run)
        self._end(c, ended, now)

    def _exited(self, c: ContainerState, event: Exited, now: Moment) -> None:
        reason = "Completed" if event.code == 0 else "Error"
        ended = Termination(event.code, event.signal, reason, event.message, c.started_ns, event.at_ns, c.run)
        self._end(c, ended, now)

    def _end(self, c: ContainerState, ended: Termination, now: Moment) -> None:
        if c.current is not None:
            c.last = c.current
        c.current = ended
        was_started_up, c.started_up = c.started_up, False
        c.ready = False
        self._say(StopProbes(c.plan.name, c.run))
        if self._restarts(c, ended):
            self._back_off(c, now)
        else:
            c.phase = Phase.DONE
            c.started_up = was_started_up and c.plan.sidecar
            self._advance(now)
        self._say(Report())

    def _restarts(self, c: ContainerState, ended: Termination) -> bool:
        if self.stage in (Stage.STOPPING, Stage.CLOSING, Stage.CLOSED, Stage.DRAINING):
            return False
        if c.plan.policy == "Never":
            return False
        return ended.code != 0 or (c.plan.policy == "Always" and not c.plan.init_only)

    def _back_off(self, c: ContainerState, now: Moment) -> None:
        """The first restart comes at once, each further one after twice the wait, as in Kubernetes."""
        ran_ns = now.monotonic_ns - c.attempt_ns
        if c.backoff_ns == 0 or ran_ns >= self.plan.backoff_reset_ns:
            c.backoff_ns = self.plan.backoff_initial_ns
            self._start(c, now)
            return
        wait = c.backoff_ns
        c.backoff_ns = min(c.backoff_ns * 2, self.plan.backoff_max_ns)
        c.phase = Phase.BACKOFF
        c.message = (
            f"back-off {_duration(wait)} restarting failed container={c.plan.name} pod={self.plan.title}"
        )
        self._say(RecordEvent("Warning", "BackOff", c.message, c.plan.name))
        self._say(SetTimer(Timer.BACKOFF, c.plan.name, c.run, wait))

    def _backoff_over(self, c: ContainerState, event: Event, now: Moment) -> None:
        if self.stage is Stage.RUNNING:
            self._start(c, now)

    def _stop(self, c: ContainerState, now: Moment, grace_ns: int) -> None:
        """preStop hook, SIGTERM, and SIGKILL when the grace is over; without grace SIGKILL at once."""
        self._say(RecordEvent("Normal", "Killing", f"Stopping container {c.plan.name}", c.plan.name))
        self._say(StopProbes(c.plan.name, c.run))
        c.ready = False
        if grace_ns <= 0:
            c.phase = Phase.STOPPING
            self._say(Kill(c.plan.name, c.run))
            return
        self._set_grace(c, grace_ns)
        if c.plan.pre_stop:
            c.phase = Phase.HOOKED
            self._say(RunHook(c.plan.name, c.run, True, grace_ns))
        else:
            c.phase = Phase.STOPPING
            self._say(Signal(c.plan.name, c.run, c.plan.stop_signal))

    def _set_grace(self, c: ContainerState, grace_ns: int) -> None:
        self._say(SetTimer(Timer.GRACE, c.plan.name, c.run, max(0, grace_ns)))

    def _hook_done(self, c: ContainerState, event: HookDone, now: Moment) -> None:
        c.phase = Phase.STOPPING
        if event.message:
            self._say(RecordEvent("Warning", "FailedPreStopHook", event.message, c.plan.name))
        self._say(Signal(c.plan.name, c.run, c.plan.stop_signal))

    def _grace_over(self, c: ContainerState, event: Event, now: Moment) -> None:
        c.phase = Phase.STOPPING
        self._say(Kill(c.plan.name, c.run))

    def _probed(self, c: ContainerState, event: ProbeResult, now: Moment) -> None:
        if self.stage not in (Stage.RUNNING, Stage.DRAINING):
            return
        probe = c.plan.probes[event.probe]
        passed_before, times = c.results.get(event.probe, (event.passed, 0))
        times = times + 1 if passed_before == event.passed else 1
        c.results[event.probe] = (event.passed, times)
        if not event.passed:
            kind = event.probe.value.capitalize()
            self._say(
                RecordEvent("Warning", "Unhealthy", f"{kind} probe failed: {event.message}", c.plan.name)
            )
        if times < (probe.success_threshold if event.passed else probe.failure_threshold):
            return
        if event.probe is Probe.READINESS:
            if c.ready != event.passed:
                c.ready = event.passed
                self._say(Report())
        elif event.passed:
            if event.probe is Probe.STARTUP and not c.started_up:
                c.started_up = True
                c.ready = Probe.READINESS not in c.plan.probes and not c.plan.init_only
                self._say(StartProbes(c.plan.name, c.run, True))
                if c.plan.sidecar:
                    self._advance(now)
                self._say(Report())
        elif self.stage is Stage.RUNNING:
            said = f"Container {c.plan.name} failed {event.probe.value} probe, will be restarted"
            self._say(RecordEvent("Normal", "Killing", said, c.plan.name))
            self._stop(c, now, self.plan.grace_ns if probe.grace_ns is None else probe.grace_ns)
            self._say(Report())


def _duration(ns: int) -> str:
    """`10s`, `1m20s`, `500ms`: as Go writes a duration."""
    if ns < NS:
        return f"{ns // 1_000_000}ms"
    minutes, seconds = divmod(ns // NS, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


_Act = Callable[..., None]
_M = PodMachine

# (state, event or timer) -> what happens. The event names the state's run, or it would not be here.
_CONTAINER_TABLE: dict[tuple[Phase, object], _Act] = {
    (Phase.STARTING, Started): _M._started,
    (Phase.STARTING, StartFailed): _M._start_failed,
    # An end can overtake the word that the start succeeded.
    (Phase.STARTING, Exited): _M._exited,
    (Phase.RUNNING, Exited): _M._exited,
    (Phase.RUNNING, PostStartDone): _M._post_started,
    (Phase.RUNNING, ProbeResult): _M._probed,
    (Phase.HOOKED, HookDone): _M._hook_done,
    (Phase.HOOKED, Exited): _M._exited,
    (Phase.HOOKED, Timer.GRACE): _M._grace_over,
    (Phase.STOPPING, Exited): _M._exited,
    (Phase.STOPPING, Timer.GRACE): _M._grace_over,
    (Phase.BACKOFF, Timer.BACKOFF): _M._backoff_over,
}

_POD_TABLE: dict[object, _Act] = {
    SandboxOpened: _M._opened,
    SandboxFailed: _M._open_failed,
    SandboxClosed: _M._closed,
    Delete: _M._delete,
    Failed: _M._fail,
    Timer.DRAIN: _M._drained,
    Timer.DEADLINE: _M._deadline,
    Timer.REOPEN: _M._reopen,
}
