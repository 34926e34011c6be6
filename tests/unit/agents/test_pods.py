"""The pod state machine: tables of what follows from what, and properties over every order of events."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import pod_words as w
from agents.pod_plans import BackoffPlan, plan_of
from agents.pod_state import Phase, Stage, duration
from agents.pods import PodMachine
from orchestra.pb import core

NS = w.NS


class Bench:
    """A machine with a clock and a record of what it asked for."""

    def __init__(self, plan: w.PodPlan) -> None:
        self.machine = PodMachine(plan)
        self.now = w.Moment(1_000 * NS, 0)
        self.asked: list[w.Instruction] = self.machine.begin(self.now)

    def tick(self, ns: int) -> None:
        self.now = w.Moment(self.now.wall_ns + ns, self.now.monotonic_ns + ns)

    def tell(self, *events: w.Event) -> list[w.Instruction]:
        out: list[w.Instruction] = []
        for event in events:
            out += self.machine.step(event, self.now)
        self.asked += out
        return out

    def start(self, name: str = "a", run: int = 1) -> list[w.Instruction]:
        return self.tell(w.Started(name, run, self.now.wall_ns))

    def exit(self, code: int, name: str = "a", run: int = 1) -> list[w.Instruction]:
        return self.tell(w.Exited(name, run, code, 0, self.now.wall_ns))


def plan(*policies: str, **words: object) -> w.PodPlan:
    names = "abcdefgh"
    mains = tuple(w.ContainerPlan(names[i], p) for i, p in enumerate(policies or ("Always",)))
    return w.PodPlan("p_default(u)", mains, **words)  # type: ignore[arg-type]


def kinds(instructions: Sequence[w.Instruction]) -> list[str]:
    return [type(i).__name__ for i in instructions if not isinstance(i, w.RecordEvent | w.Report)]


def of_type(instructions: Sequence[w.Instruction], kind: type) -> list[w.Instruction]:
    return [i for i in instructions if isinstance(i, kind)]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True), ("Always", 1, True),
        ("OnFailure", 0, False), ("OnFailure", 1, True),
        ("Never", 0, False), ("Never", 1, False),
    ],
)  # fmt: skip
def test_the_restart_policy_decides_after_an_end(policy: str, code: int, again: bool) -> None:
    bench = Bench(plan(policy))
    bench.tell(w.SandboxOpened())
    bench.start()
    out = bench.exit(code)
    assert (w.Start("a", 2) in out) is again
    if not again:
        assert w.CloseSandbox() in out
        bench.tell(w.SandboxClosed())
        assert bench.machine.stage is Stage.CLOSED


def test_the_first_restart_is_immediate_and_the_next_ones_wait_twice_as_long_each() -> None:
    bench = Bench(plan(backoff_initial_ns=10 * NS, backoff_max_ns=60 * NS))
    bench.tell(w.SandboxOpened())
    waits = []
    told = set()
    run = 1
    for _ in range(6):
        bench.start(run=run)
        out = bench.exit(1, run=run)
        timers = of_type(out, w.SetTimer)
        if timers:
            (timer,) = timers
            assert isinstance(timer, w.SetTimer)
            waits.append(timer.after_ns // NS)
            assert bench.machine.mains[0].phase is Phase.BACKOFF
            assert "restarting failed container=a pod=p_default(u)" in bench.machine.mains[0].message
            (event,) = [found for found in of_type(out, w.RecordEvent) if found.reason == "BackOff"]
            told.add(event.message)
            out = bench.tell(w.TimerFired(w.Timer.BACKOFF, "a", run))
        run += 1
        assert w.Start("a", run) in out
    assert waits == [10, 20, 40, 60, 60]
    assert told == {"Back-off restarting failed container a in pod p_default(u)"}
    assert bench.machine.mains[0].restarts == 6


def test_a_run_of_ten_minutes_forgives_the_crashes_before_it() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.exit(1)
    bench.start(run=2)
    bench.exit(1, run=2)
    bench.tell(w.TimerFired(w.Timer.BACKOFF, "a", 2))
    bench.start(run=3)
    bench.tick(600 * NS)
    assert w.Start("a", 4) in bench.exit(1, run=3)


def test_what_cannot_be_started_ends_with_128_and_is_tried_again() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    out = bench.tell(w.StartFailed("a", 1, "StartError", 'exec: "x": not found'))
    assert w.Start("a", 2) in out
    state = bench.machine.mains[0]
    assert state.current is not None
    assert (state.current.code, state.current.reason) == (128, "StartError")
    out = bench.tell(w.StartFailed("a", 2, "StartError", 'exec: "x": not found'))
    assert state.phase is Phase.BACKOFF


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_what_its_manifest_says_wrongly_is_tried_again_and_is_no_restart(policy: str) -> None:
    bench = Bench(plan(policy))
    bench.tell(w.SandboxOpened())
    container = bench.machine.mains[0]
    for _ in range(3):
        bench.tell(w.StartFailed("a", 1, w.CONFIG_ERROR, 'configmap "c" not found'))
        assert (container.phase, container.restarts) == (Phase.BACKOFF, 0)
        assert (container.config_refused, container.message) == (True, 'configmap "c" not found')
        assert container.current is None
        assert w.Start("a", 1) in bench.tell(w.TimerFired(w.Timer.BACKOFF, "a", 0))
        assert container.config_refused, "until it is known to be mended"
    bench.start()
    assert (container.phase, container.restarts, container.config_refused) == (Phase.RUNNING, 0, False)


def test_a_pod_that_waits_for_its_manifest_can_be_deleted() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened(), w.StartFailed("a", 1, w.CONFIG_ERROR, "no"))
    assert w.CloseSandbox() in bench.tell(w.Delete(0))
    trying = Bench(plan())
    trying.tell(w.SandboxOpened(), w.Delete(0))
    assert w.CloseSandbox() in trying.tell(w.StartFailed("a", 1, w.CONFIG_ERROR, "no"))


def with_inits(policy: str = "Always", **words: object) -> w.PodPlan:
    inits = tuple(w.ContainerPlan(name, policy, init=True) for name in ("i1", "i2"))
    return plan(policy, inits=inits, **words)


def test_init_containers_run_one_after_another_before_the_rest() -> None:
    bench = Bench(with_inits())
    assert of_type(bench.tell(w.SandboxOpened()), w.Start) == [w.Start("i1", 1)]
    bench.start("i1")
    assert of_type(bench.exit(0, "i1"), w.Start) == [w.Start("i2", 1)]
    bench.start("i2")
    assert not bench.machine.initialized
    assert of_type(bench.exit(0, "i2"), w.Start) == [w.Start("a", 1)]
    assert bench.machine.initialized


def test_a_failed_init_container_is_run_again_unless_never() -> None:
    bench = Bench(with_inits())
    bench.tell(w.SandboxOpened())
    bench.start("i1")
    assert of_type(bench.exit(1, "i1"), w.Start) == [w.Start("i1", 2)]

    bench = Bench(with_inits("Never"))
    bench.tell(w.SandboxOpened())
    bench.start("i1")
    assert w.CloseSandbox() in bench.exit(1, "i1")
    assert bench.machine.mains[0].run == 0


def test_a_sidecar_starts_first_and_stops_last() -> None:
    sidecar = w.ContainerPlan("s", "Always", init=True, sidecar=True)
    bench = Bench(plan("Never", inits=(sidecar,)))
    assert of_type(bench.tell(w.SandboxOpened()), w.Start) == [w.Start("s", 1)]
    assert of_type(bench.start("s"), w.Start) == [w.Start("a", 1)]
    bench.start("a")
    out = bench.exit(0)
    assert w.Signal("s", 1, 15) in out
    assert w.CloseSandbox() not in out
    assert w.CloseSandbox() in bench.exit(143, "s")


def test_a_ready_pod_is_drained_before_it_is_told_to_stop() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    out = bench.tell(w.Delete(5 * NS))
    assert w.AwaitDrain() in out
    assert not of_type(out, w.Signal)
    out = bench.tell(w.TimerFired(w.Timer.DRAIN))
    assert out[0] == w.RecordEvent("Normal", "Killing", "Stopping container a", "a")
    assert w.Signal("a", 1, 15) in out
    assert w.SetTimer(w.Timer.GRACE, "a", 1, 5 * NS) in out
    assert w.Kill("a", 1) in bench.tell(w.TimerFired(w.Timer.GRACE, "a", 1))
    assert w.CloseSandbox() in bench.exit(137)
    assert w.Finished() in bench.tell(w.SandboxClosed())


@pytest.mark.parametrize("event", [w.Delete(5 * NS, undrained=True), w.Delete(0)])
def test_without_anyone_to_drain_it_a_pod_stops_at_once(event: w.Delete) -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    out = bench.tell(event)
    assert (w.Signal("a", 1, 15) if event.grace_ns else w.Kill("a", 1)) in out


def test_the_pre_stop_hook_comes_before_sigterm_and_counts_towards_the_grace() -> None:
    container = w.ContainerPlan("a", "Always", pre_stop=True)
    bench = Bench(w.PodPlan("p", (container,)))
    bench.tell(w.SandboxOpened())
    bench.start()
    out = bench.tell(w.Delete(4 * NS, undrained=True))
    assert w.RunHook("a", 1, True, 4 * NS) in out
    assert not of_type(out, w.Signal)
    assert w.Signal("a", 1, 15) in bench.tell(w.HookDone("a", 1))
    assert w.Kill("a", 1) in bench.tell(w.TimerFired(w.Timer.GRACE, "a", 1))


def test_a_shorter_grace_asked_for_later_counts() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.tell(w.Delete(30 * NS, undrained=True))
    bench.tick(NS)
    assert w.SetTimer(w.Timer.GRACE, "a", 1, 0) in bench.tell(w.Delete(0))


def test_a_pod_deleted_while_it_starts_is_stopped_when_it_has() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    out = bench.tell(w.Delete(5 * NS))
    assert kinds(out) == []
    assert w.Signal("a", 1, 15) in bench.start()


def test_a_pod_deleted_before_its_sandbox_is_there_never_starts() -> None:
    bench = Bench(plan())
    assert kinds(bench.tell(w.Delete(5 * NS))) == ["CloseSandbox"]
    assert kinds(bench.tell(w.SandboxOpened())) == []
    assert kinds(bench.tell(w.SandboxClosed())) == ["Finished"]


def test_the_deadline_fails_the_pod() -> None:
    bench = Bench(plan(deadline_ns=5 * NS))
    assert w.SetTimer(w.Timer.DEADLINE, "", 0, 5 * NS) in bench.asked
    bench.tell(w.SandboxOpened())
    bench.start()
    out = bench.tell(w.TimerFired(w.Timer.DEADLINE))
    assert w.Signal("a", 1, 15) in out
    assert bench.machine.failed is not None
    assert bench.machine.failed[0] == "DeadlineExceeded"
    assert not of_type(bench.exit(143), w.Start)


@pytest.mark.parametrize(("deadline_s", "left_s"), [(7, 2), (5, 0), (1, 0)])
def test_a_deadline_set_later_counts_from_the_beginning(deadline_s: int, left_s: int) -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.tick(5 * NS)
    (timer,) = of_type(bench.tell(w.DeadlineSet(deadline_s * NS)), w.SetTimer)
    assert isinstance(timer, w.SetTimer)
    assert timer.timer is w.Timer.DEADLINE
    assert timer.after_ns // NS == left_s
    bench.tell(w.TimerFired(w.Timer.DEADLINE))
    assert bench.machine.failed is not None
    assert bench.machine.failed[0] == "DeadlineExceeded"


def probed(*, policy: str = "Always", **probes: w.ProbePlan) -> w.PodPlan:
    named = {w.Probe(name): probe for name, probe in probes.items()}
    return w.PodPlan("p", (w.ContainerPlan("a", policy, probes=named),))


def test_readiness_follows_its_thresholds() -> None:
    bench = Bench(probed(readiness=w.ProbePlan(2, 3)))
    bench.tell(w.SandboxOpened())
    assert w.StartProbes("a", 1, True) in bench.start()
    state = bench.machine.mains[0]

    def answer(passed: bool) -> bool:
        bench.tell(w.ProbeResult("a", 1, w.Probe.READINESS, passed))
        return state.ready

    assert [answer(p) for p in (True, True, False, False, True, False, False, False)] == [
        False, True, True, True, True, True, True, False,
    ]  # fmt: skip


def test_liveness_restarts_after_its_threshold_with_its_own_grace() -> None:
    bench = Bench(probed(liveness=w.ProbePlan(1, 2, grace_ns=3 * NS)))
    bench.tell(w.SandboxOpened())
    bench.start()
    failed = w.ProbeResult("a", 1, w.Probe.LIVENESS, False, "no answer")
    assert not of_type(bench.tell(failed), w.Signal)
    out = bench.tell(failed)
    assert w.Signal("a", 1, 15) in out
    assert w.SetTimer(w.Timer.GRACE, "a", 1, 3 * NS) in out
    assert w.Start("a", 2) in bench.exit(143)


def test_liveness_of_a_container_that_never_restarts_ends_the_pod() -> None:
    bench = Bench(probed(policy="Never", liveness=w.ProbePlan(1, 1)))
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.tell(w.ProbeResult("a", 1, w.Probe.LIVENESS, False))
    assert w.CloseSandbox() in bench.exit(137)


def test_other_probes_wait_for_the_startup_probe() -> None:
    bench = Bench(probed(startup=w.ProbePlan(1, 30), readiness=w.ProbePlan(1, 3)))
    bench.tell(w.SandboxOpened())
    assert w.StartProbes("a", 1, False) in bench.start()
    assert not bench.machine.mains[0].started_up
    out = bench.tell(w.ProbeResult("a", 1, w.Probe.STARTUP, True))
    assert w.StartProbes("a", 1, True) in out
    assert not bench.machine.mains[0].ready


def test_a_late_word_about_an_earlier_run_changes_nothing() -> None:
    bench = Bench(plan())
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.exit(1)
    bench.start(run=2)
    for late in (
        w.Exited("a", 1, 1, 0, 0),
        w.StartFailed("a", 1, "r", "m"),
        w.ProbeResult("a", 1, w.Probe.LIVENESS, False),
    ):
        assert bench.tell(late) == []


@pytest.mark.parametrize(("ns", "said"), [(300_000_000, "300ms"), (10 * NS, "10s"), (80 * NS, "1m20s")])
def test_durations_read_as_go_writes_them(ns: int, said: str) -> None:
    assert duration(ns) == said


# -- properties ------------------------------------------------------------------------------------------


class World:
    """A runtime of the worst kind: everything asked for happens, in any order, now or much later."""

    def __init__(self, plan_: w.PodPlan, rng: random.Random) -> None:
        self.rng = rng
        self.machine = PodMachine(plan_)
        self.time = 0
        self.pending: list[w.Event] = []
        self.timers: dict[tuple[w.Timer, str], w.TimerFired] = {}
        self.living: dict[str, int] = {}
        self.starts: dict[str, int] = {}
        self.finished = False
        self.closed = False
        self.do(self.machine.begin(self.moment()))

    def moment(self) -> w.Moment:
        self.time += self.rng.randrange(2 * NS)
        return w.Moment(self.time, self.time)

    def do(self, instructions: Sequence[w.Instruction]) -> None:
        for i in instructions:
            match i:
                case w.OpenSandbox():
                    failed = self.rng.random() < 0.2
                    self.pending.append(w.SandboxFailed("no") if failed else w.SandboxOpened())
                case w.CloseSandbox():
                    assert not self.living, "the sandbox is closed under a running container"
                    self.pending.append(w.SandboxClosed())
                    self.closed = True
                case w.Start():
                    assert not self.closed, "a container is started in a closed sandbox"
                    assert i.container not in self.living, "two instances of one container"
                    self.starts[i.container] = self.starts.get(i.container, 0) + 1
                    if self.rng.random() < 0.2:
                        self.pending.append(w.StartFailed(i.container, i.run, "StartError", "no"))
                    else:
                        self.living[i.container] = i.run
                        self.pending.append(w.Started(i.container, i.run, self.time))
                case w.Signal() | w.Kill():
                    if isinstance(i, w.Kill) or self.rng.random() < 0.7:
                        self.end(i.container, 137)
                case w.RunHook():
                    done = w.HookDone if i.pre_stop else w.PostStartDone
                    self.pending.append(done(i.container, i.run, self.rng.choice(["", "failed"])))
                case w.SetTimer():
                    self.timers[i.timer, i.container] = w.TimerFired(i.timer, i.container, i.run)
                case w.Finished():
                    self.finished = True

    def end(self, name: str, code: int) -> None:
        run = self.living.get(name)
        exit_ = None if run is None else w.Exited(name, run, code, 0, self.time)
        if exit_ is not None and not any(
            isinstance(e, w.Exited) and e.container == name for e in self.pending
        ):
            self.pending.append(exit_)

    def tell(self, event: w.Event) -> None:
        if isinstance(event, w.Exited):
            self.living.pop(event.container, None)
        self.do(self.machine.step(event, self.moment()))

    def step(self) -> None:
        choice = self.rng.random()
        if choice < 0.5 and self.pending:
            self.tell(self.pending.pop(self.rng.randrange(len(self.pending))))
        elif choice < 0.65 and self.timers:
            self.tell(self.timers.pop(self.rng.choice(list(self.timers))))
        elif choice < 0.8 and self.living:
            self.end(self.rng.choice(list(self.living)), self.rng.choice([0, 1]))
        elif choice < 0.95 and self.living:
            name = self.rng.choice(list(self.living))
            state = self.machine.container(name)
            assert state is not None
            for probe in state.plan.probes:
                self.tell(w.ProbeResult(name, state.run, probe, self.rng.random() < 0.5))

    def settle(self) -> None:
        """Lets everything happen that was asked for."""
        for _ in range(1000):
            if self.pending:
                self.tell(self.pending.pop(self.rng.randrange(len(self.pending))))
            elif self.timers:
                self.tell(self.timers.pop(self.rng.choice(list(self.timers))))
            else:
                return
        raise AssertionError("it never settles")


_PROBES = st.dictionaries(
    st.sampled_from(list(w.Probe)), st.builds(w.ProbePlan, st.integers(1, 2), st.integers(1, 2)), max_size=3
)


@st.composite
def pod_plans(draw: st.DrawFn) -> w.PodPlan:
    policy = draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    mains = tuple(
        w.ContainerPlan(
            f"m{i}",
            policy,
            probes=draw(_PROBES),
            pre_stop=draw(st.booleans()),
            post_start=draw(st.booleans()),
        )
        for i in range(draw(st.integers(1, 2)))
    )
    inits = []
    for i in range(draw(st.integers(0, 2))):
        sidecar = draw(st.booleans())
        inits.append(w.ContainerPlan(f"i{i}", "Always" if sidecar else policy, init=True, sidecar=sidecar))
    return w.PodPlan("p", mains, tuple(inits), deadline_ns=draw(st.sampled_from([0, 60 * NS])))


@given(pod_plans(), st.randoms(use_true_random=False), st.integers(0, 60), st.sampled_from([0, 5 * NS]))
def test_whatever_the_order_one_instance_at_most_no_restart_after_never_and_an_end_after_delete(
    plan_: w.PodPlan, rng: random.Random, steps: int, grace_ns: int
) -> None:
    world = World(plan_, rng)
    for _ in range(steps):
        world.step()
    for c in world.machine.containers:
        if c.plan.policy == "Never":
            assert world.starts.get(c.plan.name, 0) <= 1, "started again in spite of Never"
    world.tell(w.Delete(grace_ns))
    for _ in range(steps):
        world.step()
    world.settle()
    assert world.finished
    assert world.machine.stage is Stage.CLOSED
    assert not world.living


def test_a_plan_reads_the_manifest() -> None:
    pod = core.Pod()
    pod.metadata.name, pod.metadata.namespace, pod.metadata.uid = "web", "default", "u"
    pod.spec.restartPolicy = "OnFailure"
    pod.spec.activeDeadlineSeconds = 7
    pod.spec.terminationGracePeriodSeconds = 0
    container = pod.spec.containers.add(name="a")
    container.lifecycle.stopSignal = "SIGINT"
    container.lifecycle.preStop.sleep.seconds = 1
    container.readinessProbe.failureThreshold = 5
    pod.spec.initContainers.add(name="s", restartPolicy="Always")
    found = plan_of(pod, BackoffPlan())
    assert found.title == "web_default(u)"
    assert (found.grace_ns, found.deadline_ns) == (0, 7 * NS)
    (main,), (init,) = found.mains, found.inits
    assert (main.policy, main.stop_signal, main.pre_stop, main.post_start) == ("OnFailure", 2, True, False)
    assert main.probes[w.Probe.READINESS] == w.ProbePlan(1, 5)
    assert (init.sidecar, init.policy) == (True, "Always")


def test_a_worker_that_crashed_while_it_stopped_its_pod_still_ends_it() -> None:
    bench = Bench(plan("Always"))
    bench.tell(w.SandboxOpened())
    bench.start()
    bench.tell(w.Delete(30 * NS, undrained=True))
    bench.tick(10 * NS)
    (timer,) = of_type(bench.machine.resume(bench.now), w.SetTimer)
    assert timer == w.SetTimer(w.Timer.GRACE, "a", 1, 20 * NS)
