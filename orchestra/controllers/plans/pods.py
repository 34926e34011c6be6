"""What the controllers ask of one pod."""

from collections.abc import Mapping

from orchestra.objects.readiness import is_ready as is_ready
from orchestra.objects.times import ns_of
from orchestra.pb import core, meta

NS_PER_SECOND = 1_000_000_000
DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

_PHASE_ORDER: Mapping[str, int] = {"Pending": 0, "Unknown": 1, "Running": 2}
_FINISHED = ("Succeeded", "Failed")


def condition(pod: core.Pod, type_: str) -> core.PodCondition | None:
    """The pod's condition of a type, None if it has none."""
    for found in pod.status.conditions:
        if found.type == type_:
            return found
    return None


def is_finished(pod: core.Pod) -> bool:
    """Whether every container has ended for good."""
    return pod.status.phase in _FINISHED


def is_deleting(pod: core.Pod) -> bool:
    """Whether somebody has asked for the pod's deletion."""
    return pod.metadata.HasField("deletionTimestamp")


def is_active(pod: core.Pod) -> bool:
    """Whether the pod counts as a replica: neither finished nor on its way out."""
    return not is_finished(pod) and not is_deleting(pod)


def is_terminating(pod: core.Pod) -> bool:
    """Whether the pod is on its way out and may still run."""
    return is_deleting(pod) and not is_finished(pod)


def ready_since_ns(pod: core.Pod) -> int | None:
    """When the pod became ready (wall time), None if it is not or does not say."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True" or not ready.HasField("lastTransitionTime"):
        return None
    return ns_of(ready.lastTransitionTime)


def available_at_ns(pod: core.Pod, min_ready_seconds: int) -> int | None:
    """When a ready pod counts as available (wall time): once ready for that long. None: not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds <= 0:
        return 0
    since = ready_since_ns(pod)
    return None if since is None else since + min_ready_seconds * NS_PER_SECOND


def is_available(pod: core.Pod, min_ready_seconds: int, now_ns: int) -> bool:
    """Whether the pod has been ready for min_ready_seconds at now_ns (wall time)."""
    at = available_at_ns(pod, min_ready_seconds)
    return at is not None and at <= now_ns


def restarts(pod: core.Pod) -> int:
    """The most restarts of any of its containers."""
    return max((status.restartCount for status in pod.status.containerStatuses), default=0)


def deletion_cost(pod: core.Pod) -> int:
    """What its annotation says that deleting it costs; 0 if it says nothing, or nonsense."""
    said = pod.metadata.annotations.get(DELETION_COST_ANNOTATION, "0")
    try:
        cost = int(said)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def deletion_rank(pod: core.Pod, neighbours: int, available: bool = True) -> tuple[int | str, ...]:
    """Sorts pods so that the one to delete first comes first.

    Unassigned, then pending, then not ready, then not yet `available`, then of lower deletion cost, then with
    more of its like on the same node (`neighbours`), then ready for a shorter time, then restarted more
    often, then newer.
    Source: Kubernetes, ActivePodsWithRanks; but for availability, of which it knows nothing: with
    minReadySeconds a rollout that counts on an unavailable pod going first would lose an available one.
    """
    since = ready_since_ns(pod)
    ready = is_ready(pod)
    return (
        1 if pod.spec.nodeName else 0,
        _PHASE_ORDER.get(pod.status.phase, 0),
        1 if ready else 0,
        1 if available else 0,
        deletion_cost(pod),
        -neighbours,
        0 if not ready else -(2**63) if since is None else -since,
        -restarts(pod),
        -ns_of(pod.metadata.creationTimestamp),
        pod.metadata.name,
    )


def controller_of(metadata: meta.ObjectMeta) -> meta.OwnerReference | None:
    """The reference to the object's one controller, None for an orphan."""
    for reference in metadata.ownerReferences:
        if reference.controller:
            return reference
    return None
