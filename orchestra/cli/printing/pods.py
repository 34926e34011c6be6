"""The pods table, with the rules by which many facts become one STATUS word."""

from orchestra.cli.printing.ages import age, since_ns, time_ns
from orchestra.pb import core


def status(pod: core.Pod) -> str:
    """The STATUS column."""
    return _summary(pod)[0]


def _is_sidecar(container: core.Container | None) -> bool:
    return container is not None and container.restartPolicy == "Always"


def _terminated(state: core.ContainerStateTerminated) -> str:
    if state.reason:
        return state.reason
    return f"Signal:{state.signal}" if state.signal else f"ExitCode:{state.exitCode}"


def _init_reason(pod: core.Pod, index: int, found: core.ContainerStatus) -> str:
    """Why an init container that is not done keeps the pod from starting."""
    state = found.state
    if state.HasField("terminated"):
        return "Init:" + _terminated(state.terminated)
    if state.waiting.reason and state.waiting.reason != "PodInitializing":
        return "Init:" + state.waiting.reason
    return f"Init:{index}/{len(pod.spec.initContainers)}"


def _condition(pod: core.Pod, kind: str) -> core.PodCondition | None:
    return next((c for c in pod.status.conditions if c.type == kind), None)


def _last_restart_ns(found: core.ContainerStatus) -> int:
    return time_ns(found.lastState.terminated.finishedAt) if found.lastState.HasField("terminated") else 0


def _summary(pod: core.Pod) -> tuple[str, int, int, int]:
    """STATUS, ready containers, restarts, and when the last of them was."""
    reason = pod.status.reason or pod.status.phase
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        reason = "SchedulingGated"
    specs = {container.name: container for container in pod.spec.initContainers}
    ready = restarts = last = sidecar_restarts = sidecar_last = 0
    initializing = False
    for index, found in enumerate(pod.status.initContainerStatuses):
        restarts += found.restartCount
        last = max(last, _last_restart_ns(found))
        sidecar = _is_sidecar(specs.get(found.name))
        if sidecar:
            sidecar_restarts += found.restartCount
            sidecar_last = max(sidecar_last, _last_restart_ns(found))
        if found.state.HasField("terminated") and found.state.terminated.exitCode == 0:
            continue
        if sidecar and found.started:
            ready += found.ready
            continue
        reason, initializing = _init_reason(pod, index, found), True
        break
    initialized = _condition(pod, "Initialized")
    if not initializing or (initialized is not None and initialized.status == "True"):
        restarts, last, running = sidecar_restarts, sidecar_last, False
        for found in reversed(pod.status.containerStatuses):
            restarts += found.restartCount
            last = max(last, _last_restart_ns(found))
            if found.state.waiting.reason:
                reason = found.state.waiting.reason
            elif found.state.HasField("terminated"):
                reason = _terminated(found.state.terminated)
            elif found.ready and found.state.HasField("running"):
                running = True
                ready += 1
        if reason == "Completed" and running:
            condition = _condition(pod, "Ready")
            reason = "Running" if condition is not None and condition.status == "True" else "NotReady"
    if pod.metadata.HasField("deletionTimestamp"):
        if pod.status.reason == "NodeLost":
            reason = "Unknown"
        elif pod.status.phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return reason, ready, restarts, last


COLUMNS = ("NAME", "READY", "STATUS", "RESTARTS", "AGE")
WIDE_COLUMNS = ("IP", "NODE", "NOMINATED NODE", "READINESS GATES")


def row(pod: core.Pod, now_ns: int) -> list[str]:
    """All cells, the wide ones last."""
    reason, ready, restarts, last = _summary(pod)
    total = len(pod.spec.containers) + sum(map(_is_sidecar, pod.spec.initContainers))
    restarted = str(restarts)
    if restarts and last:
        restarted = f"{restarts} ({since_ns(last, now_ns)} ago)"
    gates = "<none>"
    if pod.spec.readinessGates:
        met = {c.type for c in pod.status.conditions if c.status == "True"}
        gates = (
            f"{sum(g.conditionType in met for g in pod.spec.readinessGates)}/{len(pod.spec.readinessGates)}"
        )
    ip = pod.status.podIPs[0].ip if pod.status.podIPs else pod.status.podIP
    return [
        pod.metadata.name,
        f"{ready}/{total}",
        reason,
        restarted,
        age(pod.metadata, now_ns),
        ip or "<none>",
        pod.spec.nodeName or "<none>",
        pod.status.nominatedNodeName or "<none>",
        gates,
    ]
