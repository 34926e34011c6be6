"""A pod's PodStatus out of its machine. Pure: the same state gives the same status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.environment import HostPort
from agents.pod_state import ContainerState, Phase, Stage
from agents.pod_words import CONFIG_ERROR, Termination
from agents.pods import PodMachine
from orchestra.objects.qos import qos_class
from orchestra.objects.times import time_from_ns
from orchestra.pb import core, meta

# Conditions that the node writes; all others belong to somebody else and are kept as they are.
_OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """What the machine does not know. ports: by container name."""

    address: str
    ports: Mapping[str, Sequence[HostPort]]


def phase_of(machine: PodMachine) -> str:
    """The pod's phase. Source: Kubernetes, "Pod Lifecycle"."""
    if machine.failed is not None:
        ended = machine.stage in (Stage.CLOSING, Stage.CLOSED)
        return "Failed" if ended else ("Running" if any(c.run for c in machine.mains) else "Pending")
    lost_init = any(
        c.phase is Phase.DONE and c.plan.init_only and (c.current is None or c.current.code != 0)
        for c in machine.inits
    )
    settled = all(c.phase is Phase.DONE for c in machine.mains)
    if settled and (any(c.run for c in machine.mains) or lost_init or machine.stage is Stage.CLOSED):
        if any(c.live for c in machine.inits if c.plan.sidecar):
            return "Running"
        good = all(c.current is not None and c.current.code == 0 for c in machine.mains)
        return "Succeeded" if good and not lost_init else "Failed"
    if lost_init and machine.stage is not Stage.RUNNING:
        return "Failed"
    return "Running" if any(c.started_ns for c in machine.mains) else "Pending"


def status_of(
    machine: PodMachine, pod: core.Pod, facts: StatusFacts, previous: core.PodStatus, now_ns: int
) -> core.PodStatus:
    """The status to report. previous: the last one, for the times at which conditions changed."""
    status = core.PodStatus(phase=phase_of(machine), observedGeneration=pod.metadata.generation)
    if machine.failed is not None:
        status.reason, status.message = machine.failed
    status.qosClass = pod.status.qosClass or qos_class(pod.spec)
    begun = pod.status.startTime if pod.status.HasField("startTime") else time_from_ns(machine.begun_ns)
    status.startTime.CopyFrom(begun)
    status.hostIP = facts.address
    status.hostIPs.add(ip=facts.address)
    if machine.stage is not Stage.OPENING:
        status.podIP = facts.address
        status.podIPs.add(ip=facts.address)
    specs = {c.name: c for c in (*pod.spec.initContainers, *pod.spec.containers)}
    for state in machine.inits:
        status.initContainerStatuses.append(
            _container(machine, state, specs[state.plan.name], facts, pod.metadata.uid)
        )
    for state in machine.mains:
        status.containerStatuses.append(
            _container(machine, state, specs[state.plan.name], facts, pod.metadata.uid)
        )
    _conditions(machine, pod, status, previous, now_ns)
    return status


def _container(
    machine: PodMachine, state: ContainerState, spec: core.Container, facts: StatusFacts, uid: str
) -> core.ContainerStatus:
    name = state.plan.name
    if state.plan.init_only:
        ready = state.phase is Phase.DONE and state.current is not None and state.current.code == 0
    else:
        ready = state.ready
    found = core.ContainerStatus(
        name=name,
        ready=ready,
        restartCount=state.restarts,
        image=spec.image,
        imageID="",
        started=state.started_up,
    )
    if state.run:
        found.containerID = container_id(uid, name, state.run)
    if state.phase in (Phase.RUNNING, Phase.HOOKED, Phase.STOPPING):
        found.state.running.startedAt.CopyFrom(time_from_ns(state.started_ns))
        if state.last is not None:
            found.lastState.terminated.CopyFrom(_terminated(state.last, uid, name))
    elif state.config_refused and state.phase in (Phase.BACKOFF, Phase.STARTING):
        found.state.waiting.reason = CONFIG_ERROR
        found.state.waiting.message = state.message
    elif state.phase is Phase.BACKOFF:
        found.state.waiting.reason = "CrashLoopBackOff"
        found.state.waiting.message = state.message
        if state.current is not None:
            found.lastState.terminated.CopyFrom(_terminated(state.current, uid, name))
    elif state.current is not None:
        found.state.terminated.CopyFrom(_terminated(state.current, uid, name))
        if state.last is not None:
            found.lastState.terminated.CopyFrom(_terminated(state.last, uid, name))
    else:
        found.state.waiting.reason = "PodInitializing" if machine.inits else "ContainerCreating"
        if machine.opening_message:
            found.state.waiting.message = machine.opening_message
    for port in facts.ports.get(name, ()):
        entry = found.ports.add(
            containerPort=port.container_port,
            hostPort=port.host_port,
            hostIP=facts.address,
            protocol=port.protocol,
        )
        if port.name:
            entry.name = port.name
    return found


def container_id(uid: str, name: str, run: int) -> str:
    """What containerID shows: the runtime's own name of the run."""
    return f"orchestra://{uid}/{name}/{run}"


def _terminated(ended: Termination, uid: str, name: str) -> core.ContainerStateTerminated:
    found = core.ContainerStateTerminated(
        exitCode=ended.code, reason=ended.reason, containerID=container_id(uid, name, ended.run)
    )
    if ended.signal:
        found.signal = ended.signal
    if ended.message:
        found.message = ended.message
    found.startedAt.CopyFrom(time_from_ns(ended.started_ns))
    found.finishedAt.CopyFrom(time_from_ns(ended.finished_ns))
    return found


def _conditions(
    machine: PodMachine, pod: core.Pod, status: core.PodStatus, previous: core.PodStatus, now_ns: int
) -> None:
    before = {c.type: c for c in previous.conditions}
    theirs = {c.type: c for c in pod.status.conditions if c.type not in _OURS}

    def put(kind: str, holds: bool, reason: str = "", message: str = "") -> None:
        condition = status.conditions.add(type=kind, status="True" if holds else "False")
        if not holds or reason:
            condition.reason = reason
        if not holds and message:
            condition.message = message
        if pod.metadata.generation:
            condition.observedGeneration = pod.metadata.generation
        old = before.get(kind)
        same = old is not None and old.status == condition.status
        changed: meta.Time = old.lastTransitionTime if same and old is not None else time_from_ns(now_ns)
        condition.lastTransitionTime.CopyFrom(changed)

    done = status.phase == "Succeeded"
    opened = machine.stage in (Stage.RUNNING, Stage.DRAINING, Stage.STOPPING)
    put("PodReadyToStartContainers", opened)
    late = [c.plan.name for c in machine.inits if not c.passed]
    said = f"containers with incomplete status: [{' '.join(late)}]"
    put(
        "Initialized",
        not late,
        "PodCompleted" if done else ("ContainersNotInitialized" if late else ""),
        said,
    )
    if status.phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if done else "PodFailed"
        put("Ready", False, reason)
        put("ContainersReady", False, reason)
    else:
        watched = [*machine.mains, *(c for c in machine.inits if c.plan.sidecar)]
        unready = [c.plan.name for c in watched if not c.ready]
        said = f"containers with unready status: [{' '.join(unready)}]"
        gates = [
            gate.conditionType
            for gate in pod.spec.readinessGates
            if gate.conditionType not in theirs or theirs[gate.conditionType].status != "True"
        ]
        leaving = machine.stage is not Stage.RUNNING and machine.stage is not Stage.OPENING
        if unready:
            put("Ready", False, "ContainersNotReady", said)
        elif gates:
            put("Ready", False, "ReadinessGatesNotReady", f"conditions not true: [{' '.join(gates)}]")
        elif leaving:
            put("Ready", False, "PodTerminating", "the pod is being stopped")
        else:
            put("Ready", True)
        put("ContainersReady", not unready, "ContainersNotReady" if unready else "", said)
    for condition in theirs.values():
        status.conditions.add().CopyFrom(condition)


def gates_of(pod: core.Pod) -> list[tuple[str, str]]:
    """The conditions that others set and this pod's readiness waits for."""
    wanted = {gate.conditionType for gate in pod.spec.readinessGates}
    return [(c.type, c.status) for c in pod.status.conditions if c.type in wanted]
