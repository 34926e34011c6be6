"""The life of one pod, as a pure state machine: events in, instructions out.

Knows restart policies, order, probes' thresholds, deletion. Must not know processes, clocks or the wire: time
comes in with each event, waiting goes out as SetTimer, and everything else to be done goes out as an
instruction whose outcome comes back as an event. Every event about a container names its run, so that a late
word about an earlier run changes nothing.

One table says what happens: (state of the container, event) -> what to do; a pair that is not in it is
ignored, because it is the late word about something that has been decided otherwise.
"""

from collections.abc import Callable
from dataclasses import replace

from agents import pod_words as w
from agents.pod_state import ContainerState, Phase, Stage, duration

NS = 1_000_000_000
SIGTERM = 15
# An executable that could not be run, as Kubernetes reports it.
START_ERROR_CODE = 128
DRAIN_WAIT_NS = 3 * NS


class PodMachine:
    """One pod. `step` is the only way in; the states are read by status and checkpoints."""

    def __init__(self, plan: w.PodPlan) -> None:
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
        self._out: list[w.Instruction] = []

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
        return all(c.passed for c in self.inits)

    @property
    def complete(self) -> bool:
        """Whether every ordinary container has ended for good."""
        return all(c.phase is Phase.DONE for c in self.mains) or self._init_lost

    @property
    def _init_lost(self) -> bool:
        return any(c.phase is Phase.DONE and not c.passed for c in self.inits)

    # -- the way in ----------------------------------------------------------------------------------

    def begin(self, now: w.Moment) -> list[w.Instruction]:
        """The first step."""
        self.begun_ns = now.wall_ns
        self._set_deadline(now)
        self._say(w.OpenSandbox())
        return self._take()

    def resume(self, now: w.Moment) -> list[w.Instruction]:
        """The first step after the states were restored, or after a crash that took the timers."""
        for c in self.containers:
            if c.phase is Phase.RUNNING and not c.plan.init_only:
                self._say(w.StartProbes(c.plan.name, c.run, c.started_up))
            elif c.phase is Phase.BACKOFF:
                self._say(w.SetTimer(w.Timer.BACKOFF, c.plan.name, c.run, c.backoff_ns))
            elif c.phase in (Phase.HOOKED, Phase.STOPPING):
                self._set_grace(c, self._stop_at_ns - now.monotonic_ns)
        if self.stage is Stage.OPENING:
            self._say(w.OpenSandbox())
        elif self.stage is Stage.DRAINING:
            self._say(w.SetTimer(w.Timer.DRAIN, "", 0, DRAIN_WAIT_NS))
        self._set_deadline(now)
        self._advance(now)
        self._say(w.Report())
        return self._take()

    def step(self, event: w.Event, now: w.Moment) -> list[w.Instruction]:
        """What has to be done now that `event` happened."""
        name = getattr(event, "container", "")
        if name:
            c = self.container(name)
            if c is not None and c.run == event.run:  # type: ignore[union-attr]
                key = (c.phase, event.timer if isinstance(event, w.TimerFired) else type(event))
                act = _CONTAINER_TABLE.get(key)
                if act is not None:
                    act(self, c, event, now)
        else:
            key_ = event.timer if isinstance(event, w.TimerFired) else type(event)
            if key_ in _POD_TABLE:
                _POD_TABLE[key_](self, event, now)
        return self._take()

    def _say(self, instruction: w.Instruction) -> None:
        self._out.append(instruction)

    def _take(self) -> list[w.Instruction]:
        # One report says everything: only the last of a step counts.
        out, self._out = self._out, []
        if w.Report() in out:
            out = [i for i in out if not isinstance(i, w.Report)]
            out.append(w.Report())
        return out

    # -- the pod -------------------------------------------------------------------------------------

    def _opened(self, event: w.Event, now: w.Moment) -> None:
        if self.stage is Stage.OPENING:
            self.stage = Stage.RUNNING
            self.opening_message = ""
            self._advance(now)
            self._say(w.Report())

    def _open_failed(self, event: w.SandboxFailed, now: w.Moment) -> None:
        if self.stage is Stage.OPENING:
            self.opening_message = event.message
            self._say(w.RecordEvent("Warning", "FailedCreatePodSandBox", event.message, ""))
            self._say(w.SetTimer(w.Timer.REOPEN, "", 0, self.plan.backoff_initial_ns))
            self._say(w.Report())

    def _reopen(self, event: w.Event, now: w.Moment) -> None:
        if self.stage is Stage.OPENING:
            self._say(w.OpenSandbox())

    def _advance(self, now: w.Moment) -> None:
        """Starts whatever has its turn now, or ends the pod that has nothing more to do."""
        if self.stage is not Stage.RUNNING:
            if self.stage is Stage.STOPPING:
                self._stop_next(now)
            return
        for c in self.inits:
            if c.phase is Phase.WAITING:
                self._start(c, now)
            if not c.passed:
                if self._init_lost:
                    self._stop_all(now, self.grace_ns)
                return
        for c in self.mains:
            if c.phase is Phase.WAITING:
                self._start(c, now)
        if self.complete:
            self._stop_all(now, self.grace_ns)

    def _delete(self, event: w.Delete, now: w.Moment) -> None:
        shorter = event.grace_ns < self.grace_ns or not self.deleted
        self.deleted = True
        self.grace_ns = event.grace_ns if shorter else self.grace_ns
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            was_ready = any(c.ready for c in self.mains)
            self.stage = Stage.DRAINING
            if was_ready and event.grace_ns and not event.undrained:
                self._say(w.AwaitDrain())
                self._say(w.SetTimer(w.Timer.DRAIN, "", 0, DRAIN_WAIT_NS))
                self._say(w.Report())
            else:
                self._drained(event, now)
        elif self.stage is Stage.STOPPING and shorter:
            self._stop_at_ns = min(self._stop_at_ns, now.monotonic_ns + event.grace_ns)
            for c in self.containers:
                if c.phase in (Phase.HOOKED, Phase.STOPPING):
                    self._set_grace(c, self._stop_at_ns - now.monotonic_ns)
        elif self.stage is Stage.CLOSED:
            self._say(w.Finished())

    def _drained(self, event: w.Event, now: w.Moment) -> None:
        if self.stage is Stage.DRAINING:
            self._stop_all(now, self.grace_ns)
            self._say(w.Report())

    def _set_deadline(self, now: w.Moment) -> None:
        if self.plan.deadline_ns:
            left = self.plan.deadline_ns - (now.wall_ns - self.begun_ns)
            self._say(w.SetTimer(w.Timer.DEADLINE, "", 0, max(NS // 1000, left)))

    def _deadline_set(self, event: w.DeadlineSet, now: w.Moment) -> None:
        self.plan = replace(self.plan, deadline_ns=event.deadline_ns)
        self._set_deadline(now)

    def _deadline(self, event: w.Event, now: w.Moment) -> None:
        said = "Pod was active on the node longer than the specified deadline"
        self._fail(w.Failed("DeadlineExceeded", said), now)

    def _fail(self, event: w.Failed, now: w.Moment) -> None:
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            self.failed = (event.reason, event.message)
            self._say(w.RecordEvent("Warning", event.reason, event.message, ""))
            self._stop_all(now, self.grace_ns)
            self._say(w.Report())

    def _stop_all(self, now: w.Moment, grace_ns: int) -> None:
        self.stage = Stage.STOPPING
        self._stop_at_ns = now.monotonic_ns + grace_ns
        for c in self.containers:
            if c.phase in (Phase.WAITING, Phase.BACKOFF):
                c.phase = Phase.DONE
        self._stop_next(now)

    def _stop_next(self, now: w.Moment) -> None:
        """Ordinary containers first, then sidecars from the last to the first, then the sandbox."""
        others = [c for c in self.containers if not c.plan.sidecar and c.live]
        sidecars = [c for c in reversed(self.inits) if c.plan.sidecar and c.live]
        for c in others or sidecars[:1]:
            if c.phase is Phase.RUNNING:
                self._stop(c, now, self._stop_at_ns - now.monotonic_ns)
        if not others and not sidecars:
            self.stage = Stage.CLOSING
            self._say(w.CloseSandbox())

    def _closed(self, event: w.Event, now: w.Moment) -> None:
        if self.stage is Stage.CLOSING:
            self.stage = Stage.CLOSED
            self._say(w.Finished() if self.deleted else w.Report())

    # -- one container -------------------------------------------------------------------------------

    def _start(self, c: ContainerState, now: w.Moment) -> None:
        c.run += 1
        c.phase = Phase.STARTING
        c.attempt_ns = now.monotonic_ns
        c.ready = c.started_up = False
        c.results.clear()
        c.message = c.message if c.config_refused else ""
        self._say(w.Start(c.plan.name, c.run))

    def _started(self, c: ContainerState, event: w.Started, now: w.Moment) -> None:
        c.phase = Phase.RUNNING
        c.started_ns = event.at_ns
        c.config_refused = False
        if c.current is not None:
            c.last, c.current = c.current, None
        self._say(w.RecordEvent("Normal", "Started", f"Started container {c.plan.name}", c.plan.name))
        if self.stage in (Stage.STOPPING, Stage.CLOSING):
            self._stop_next(now)
        elif c.plan.post_start:
            self._say(w.RunHook(c.plan.name, c.run, False, 0))
        else:
            self._come_up(c, now)
        self._say(w.Report())

    def _come_up(self, c: ContainerState, now: w.Moment) -> None:
        c.started_up = w.Probe.STARTUP not in c.plan.probes
        c.ready = c.started_up and w.Probe.READINESS not in c.plan.probes and not c.plan.init_only
        if c.plan.probes:
            self._say(w.StartProbes(c.plan.name, c.run, c.started_up))
        if c.started_up and c.plan.sidecar:
            self._advance(now)

    def _post_started(self, c: ContainerState, event: w.PostStartDone, now: w.Moment) -> None:
        if event.message:
            self._say(w.RecordEvent("Warning", "FailedPostStartHook", event.message, c.plan.name))
            self._stop(c, now, self.plan.grace_ns)
        elif self.stage is Stage.RUNNING:
            self._come_up(c, now)
        self._say(w.Report())

    def _start_failed(self, c: ContainerState, event: w.StartFailed, now: w.Moment) -> None:
        self._say(w.RecordEvent("Warning", "Failed", f"Error: {event.message}", c.plan.name))
        if event.reason == w.CONFIG_ERROR:
            self._refuse_config(c, event, now)
            return
        c.started_ns = now.wall_ns
        ended = w.Termination(
            START_ERROR_CODE, 0, event.reason, event.message, now.wall_ns, now.wall_ns, c.run
        )
        self._end(c, ended, now)

    def _refuse_config(self, c: ContainerState, event: w.StartFailed, now: w.Moment) -> None:
        """Nothing ran: whatever the restart policy, it is tried again, and no restart is counted."""
        c.run -= 1
        c.message, c.config_refused = event.message, True
        if self.stage in (Stage.OPENING, Stage.RUNNING):
            c.phase = Phase.BACKOFF
            self._say(w.SetTimer(w.Timer.BACKOFF, c.plan.name, c.run, self.plan.backoff_initial_ns))
        else:
            c.phase = Phase.DONE
            self._advance(now)
        self._say(w.Report())

    def _exited(self, c: ContainerState, event: w.Exited, now: w.Moment) -> None:
        reason = "Completed" if event.code == 0 else "Error"
        ended = w.Termination(
            event.code, event.signal, reason, event.message, c.started_ns, event.at_ns, c.run
        )
        self._end(c, ended, now)

    def _end(self, c: ContainerState, ended: w.Termination, now: w.Moment) -> None:
        c.config_refused = False
        if c.current is not None:
            c.last = c.current
        c.current = ended
        was_started_up, c.started_up = c.started_up, False
        c.ready = False
        self._say(w.StopProbes(c.plan.name, c.run))
        if self.stage in (Stage.OPENING, Stage.RUNNING) and c.plan.restarts_after(ended.code):
            self._back_off(c, now)
        else:
            c.phase = Phase.DONE
            c.started_up = was_started_up and c.plan.sidecar
            self._advance(now)
        self._say(w.Report())

    def _back_off(self, c: ContainerState, now: w.Moment) -> None:
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
            f"back-off {duration(wait)} restarting failed container={c.plan.name} pod={self.plan.title}"
        )
        # Without the wait, so that one event counts them all.
        said = f"Back-off restarting failed container {c.plan.name} in pod {self.plan.title}"
        self._say(w.RecordEvent("Warning", "BackOff", said, c.plan.name))
        self._say(w.SetTimer(w.Timer.BACKOFF, c.plan.name, c.run, wait))

    def _backoff_over(self, c: ContainerState, event: w.Event, now: w.Moment) -> None:
        if self.stage is Stage.RUNNING:
            self._start(c, now)

    def _stop(self, c: ContainerState, now: w.Moment, grace_ns: int) -> None:
        """preStop hook, SIGTERM, and SIGKILL when the grace is over; without grace SIGKILL at once."""
        self._say(w.RecordEvent("Normal", "Killing", f"Stopping container {c.plan.name}", c.plan.name))
        self._say(w.StopProbes(c.plan.name, c.run))
        c.ready = False
        if grace_ns <= 0:
            c.phase = Phase.STOPPING
            self._say(w.Kill(c.plan.name, c.run))
            return
        self._set_grace(c, grace_ns)
        if c.plan.pre_stop:
            c.phase = Phase.HOOKED
            self._say(w.RunHook(c.plan.name, c.run, True, grace_ns))
        else:
            c.phase = Phase.STOPPING
            self._say(w.Signal(c.plan.name, c.run, c.plan.stop_signal))

    def _set_grace(self, c: ContainerState, grace_ns: int) -> None:
        self._say(w.SetTimer(w.Timer.GRACE, c.plan.name, c.run, max(0, grace_ns)))

    def _hook_done(self, c: ContainerState, event: w.HookDone, now: w.Moment) -> None:
        c.phase = Phase.STOPPING
        if event.message:
            self._say(w.RecordEvent("Warning", "FailedPreStopHook", event.message, c.plan.name))
        self._say(w.Signal(c.plan.name, c.run, c.plan.stop_signal))

    def _grace_over(self, c: ContainerState, event: w.Event, now: w.Moment) -> None:
        c.phase = Phase.STOPPING
        self._say(w.Kill(c.plan.name, c.run))

    def _probed(self, c: ContainerState, event: w.ProbeResult, now: w.Moment) -> None:
        if self.stage not in (Stage.RUNNING, Stage.DRAINING):
            return
        probe = c.plan.probes[event.probe]
        passed_before, times = c.results.get(event.probe, (event.passed, 0))
        times = times + 1 if passed_before == event.passed else 1
        c.results[event.probe] = (event.passed, times)
        if not event.passed:
            kind = event.probe.value.capitalize()
            self._say(
                w.RecordEvent("Warning", "Unhealthy", f"{kind} probe failed: {event.message}", c.plan.name)
            )
        if times < (probe.success_threshold if event.passed else probe.failure_threshold):
            return
        if event.probe is w.Probe.READINESS:
            if c.ready != event.passed:
                c.ready = event.passed
                self._say(w.Report())
        elif event.passed:
            if event.probe is w.Probe.STARTUP and not c.started_up:
                c.started_up = True
                c.ready = w.Probe.READINESS not in c.plan.probes and not c.plan.init_only
                self._say(w.StartProbes(c.plan.name, c.run, True))
                if c.plan.sidecar:
                    self._advance(now)
                self._say(w.Report())
        elif self.stage is Stage.RUNNING:
            said = f"Container {c.plan.name} failed {event.probe.value} probe, will be restarted"
            self._say(w.RecordEvent("Normal", "Killing", said, c.plan.name))
            self._stop(c, now, self.plan.grace_ns if probe.grace_ns is None else probe.grace_ns)
            self._say(w.Report())


_Act = Callable[..., None]
_M = PodMachine

# (state, event or timer) -> what happens. The event names the state's run, or it would not be here.
_CONTAINER_TABLE: dict[tuple[Phase, object], _Act] = {
    (Phase.STARTING, w.Started): _M._started,
    (Phase.STARTING, w.StartFailed): _M._start_failed,
    # An end can overtake the word that the start succeeded.
    (Phase.STARTING, w.Exited): _M._exited,
    (Phase.RUNNING, w.Exited): _M._exited,
    (Phase.RUNNING, w.PostStartDone): _M._post_started,
    (Phase.RUNNING, w.ProbeResult): _M._probed,
    (Phase.HOOKED, w.HookDone): _M._hook_done,
    (Phase.HOOKED, w.Exited): _M._exited,
    (Phase.HOOKED, w.Timer.GRACE): _M._grace_over,
    (Phase.STOPPING, w.Exited): _M._exited,
    (Phase.STOPPING, w.Timer.GRACE): _M._grace_over,
    (Phase.BACKOFF, w.Timer.BACKOFF): _M._backoff_over,
}

_POD_TABLE: dict[object, _Act] = {
    w.SandboxOpened: _M._opened,
    w.SandboxFailed: _M._open_failed,
    w.SandboxClosed: _M._closed,
    w.Delete: _M._delete,
    w.DeadlineSet: _M._deadline_set,
    w.Failed: _M._fail,
    w.Timer.DRAIN: _M._drained,
    w.Timer.DEADLINE: _M._deadline,
    w.Timer.REOPEN: _M._reopen,
}
