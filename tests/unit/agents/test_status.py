"""Statuses and checkpoints out of a machine's state."""

import pytest

from agents import checkpoint
from agents import pod_words as w
from agents.environment import HostPort
from agents.pod_plans import BackoffPlan, plan_of
from agents.pod_state import Phase, Stage
from agents.pods import PodMachine
from agents.status import StatusFacts, phase_of, status_of
from orchestra.pb import core

NS = w.NS
NOW = w.Moment(1_000 * NS, 0)
FACTS = StatusFacts("10.0.0.1", {"a": [HostPort("http", 80, 20001)]})


def pod(policy: str = "Always", *, init: bool = False, probe: bool = False) -> core.Pod:
    found = core.Pod()
    found.metadata.name, found.metadata.namespace, found.metadata.uid = "web", "default", "u"
    found.metadata.generation = 3
    found.spec.restartPolicy = policy
    container = found.spec.containers.add(name="a")
    if probe:
        container.readinessProbe.handler.tcpSocket.port.intVal = 80
    if init:
        found.spec.initContainers.add(name="i")
    return found


def machine_for(found: core.Pod, *events: w.Event) -> PodMachine:
    machine = PodMachine(plan_of(found, BackoffPlan()))
    machine.begin(NOW)
    for event in events:
        machine.step(event, NOW)
    return machine


def status(found: core.Pod, *events: w.Event, previous: core.PodStatus | None = None) -> core.PodStatus:
    machine = machine_for(found, *events)
    return status_of(machine, found, FACTS, previous or core.PodStatus(), NOW.wall_ns)


def condition(found: core.PodStatus, kind: str) -> core.PodCondition:
    (only,) = [c for c in found.conditions if c.type == kind]
    return only


OPENED, STARTED = w.SandboxOpened(), w.Started("a", 1, NOW.wall_ns)


def ended(code: int, name: str = "a", run: int = 1) -> w.Exited:
    return w.Exited(name, run, code, 0, NOW.wall_ns)


@pytest.mark.parametrize(
    ("policy", "events", "phase"),
    [
        ("Always", [], "Pending"),
        ("Always", [OPENED], "Pending"),
        ("Always", [OPENED, STARTED], "Running"),
        ("Always", [OPENED, STARTED, ended(0)], "Running"),
        ("Never", [OPENED, STARTED, ended(0)], "Succeeded"),
        ("Never", [OPENED, STARTED, ended(1)], "Failed"),
        ("OnFailure", [OPENED, STARTED, ended(1)], "Running"),
        ("OnFailure", [OPENED, STARTED, ended(0)], "Succeeded"),
    ],
)
def test_the_phase_follows_from_the_containers(policy: str, events: list[w.Event], phase: str) -> None:
    assert phase_of(machine_for(pod(policy), *events)) == phase


def test_a_failed_init_container_fails_the_pod() -> None:
    found = pod("Never", init=True)
    machine = machine_for(found, OPENED, w.Started("i", 1, 0), ended(2, "i"), w.SandboxClosed())
    assert phase_of(machine) == "Failed"


def test_a_running_pod_says_where_it_is_and_what_it_got() -> None:
    said = status(pod(), OPENED, STARTED)
    assert (said.phase, said.podIP, said.hostIP, said.qosClass) == (
        "Running",
        "10.0.0.1",
        "10.0.0.1",
        "BestEffort",
    )
    assert said.observedGeneration == 3
    (container,) = said.containerStatuses
    assert container.ready
    assert container.started
    assert container.state.HasField("running")
    assert container.containerID == "orchestra://u/a/1"
    (port,) = container.ports
    assert (port.name, port.containerPort, port.hostPort, port.hostIP) == ("http", 80, 20001, "10.0.0.1")
    assert {c.type: c.status for c in said.conditions} == {
        "PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
    }  # fmt: skip


def test_a_pod_waiting_for_its_init_container_says_so() -> None:
    said = status(pod(init=True), OPENED, w.Started("i", 1, 0))
    assert said.containerStatuses[0].state.waiting.reason == "PodInitializing"
    assert condition(said, "Initialized").reason == "ContainersNotInitialized"
    assert condition(said, "Initialized").message == "containers with incomplete status: [i]"


def test_a_pod_that_is_not_ready_says_which_containers_are_not() -> None:
    said = status(pod(probe=True), OPENED, STARTED)
    assert condition(said, "Ready").reason == "ContainersNotReady"
    assert condition(said, "Ready").message == "containers with unready status: [a]"


def test_a_crash_loop_is_told_with_the_last_end() -> None:
    said = status(pod(), OPENED, STARTED, ended(3), w.Started("a", 2, NOW.wall_ns), ended(4, run=2))
    (container,) = said.containerStatuses
    assert container.state.waiting.reason == "CrashLoopBackOff"
    assert container.lastState.terminated.exitCode == 4
    assert container.restartCount == 1


def test_a_finished_pod_is_completed() -> None:
    said = status(pod("Never"), OPENED, STARTED, ended(0), w.SandboxClosed())
    assert condition(said, "Ready").reason == "PodCompleted"
    assert said.containerStatuses[0].state.terminated.reason == "Completed"


def test_a_condition_keeps_its_time_until_it_changes_and_others_conditions_stay() -> None:
    found = pod(probe=True)
    found.status.conditions.add(type="PodScheduled", status="True")
    machine = machine_for(found, OPENED, STARTED)
    first = status_of(machine, found, FACTS, core.PodStatus(), 1 * NS)
    second = status_of(machine, found, FACTS, first, 2 * NS)
    assert first == second
    machine.step(w.ProbeResult("a", 1, w.Probe.READINESS, True), NOW)
    third = status_of(machine, found, FACTS, second, 3 * NS)
    assert condition(third, "Ready").lastTransitionTime.seconds == 3
    assert condition(third, "Initialized").lastTransitionTime.seconds == 1
    assert condition(third, "PodScheduled").status == "True"


def test_readiness_gates_hold_a_pod_back() -> None:
    found = pod()
    found.spec.readinessGates.add(conditionType="lb/registered")
    assert condition(status(found, OPENED, STARTED), "Ready").reason == "ReadinessGatesNotReady"
    found.status.conditions.add(type="lb/registered", status="True")
    assert condition(status(found, OPENED, STARTED), "Ready").status == "True"


def test_a_checkpoint_brings_a_machine_back_as_it_was() -> None:
    found = pod()
    machine = machine_for(found, OPENED, STARTED, ended(3), w.Started("a", 2, NOW.wall_ns))
    text = checkpoint.dump(machine, found, FACTS.ports)
    again, same_pod, ports = checkpoint.load(text, BackoffPlan(), {"a": 2})
    assert same_pod == found
    assert ports == {"a": [HostPort("http", 80, 20001)]}
    before = status_of(machine, found, FACTS, core.PodStatus(), NOW.wall_ns)
    assert status_of(again, found, FACTS, core.PodStatus(), NOW.wall_ns) == before
    again.resume(NOW)
    assert again.step(ended(1, run=2), NOW)
    assert again.mains[0].phase is Phase.BACKOFF


def test_a_checkpoint_older_than_the_newest_run_goes_on_with_that_run() -> None:
    found = pod()
    machine = machine_for(found, OPENED, STARTED)
    text = checkpoint.dump(machine, found, {})
    again, _, _ = checkpoint.load(text, BackoffPlan(), {"a": 4})
    assert (again.stage, again.mains[0].run, again.mains[0].phase) == (Stage.RUNNING, 4, Phase.RUNNING)


@pytest.mark.parametrize("text", ["", "{}", '{"version": 99}', "[]"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        checkpoint.load(text, BackoffPlan(), {})
