"""What follows when an owner goes, and which pods nobody will ever finish.

Source: Kubernetes' pkg/controller/garbagecollector and pkg/controller/podgc.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from orchestra.controllers.plans import pods as podq
from orchestra.objects.deletion import FINALIZER_FOREGROUND, FINALIZER_ORPHAN
from orchestra.objects.kinds import ApiObject
from orchestra.objects.times import ns_of
from orchestra.pb import core, meta

# Finished pods are kept for their logs and exit codes, up to this many; the oldest go first.
FINISHED_PODS_MAX = 12_500


class OwnerState(Enum):
    """How an owner that an object names stands."""

    PRESENT = "present"
    ABSENT = "absent"
    # It is being deleted in the foreground: it waits for its dependents to go first.
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class DependentObserved:
    """An object with owners. owners: the state of each by uid. has_dependents: it owns others itself."""

    obj: ApiObject
    owners: Mapping[str, OwnerState]
    has_dependents: bool = False


@dataclass(frozen=True, slots=True)
class DependentPlan:
    """delete: the propagation policy to delete the object with, "" to keep it. drop: owner uids to unname."""

    delete: str = ""
    drop: frozenset[str] = frozenset()


def plan_dependent(observed: DependentObserved) -> DependentPlan:
    """An object stays while any owner stays; without one it goes."""
    metadata: meta.ObjectMeta = observed.obj.metadata
    if metadata.HasField("deletionTimestamp") or not metadata.ownerReferences:
        return DependentPlan()
    by_state: dict[OwnerState, set[str]] = {state: set() for state in OwnerState}
    for reference in metadata.ownerReferences:
        state = observed.owners.get(reference.uid, OwnerState.PRESENT)
        by_state[state].add(reference.uid)
    gone = by_state[OwnerState.ABSENT] | by_state[OwnerState.WAITING]
    if not gone:
        return DependentPlan()
    if by_state[OwnerState.PRESENT]:
        return DependentPlan(drop=frozenset(gone))
    if by_state[OwnerState.WAITING] and observed.has_dependents:
        return DependentPlan(delete="Foreground")
    if FINALIZER_FOREGROUND in metadata.finalizers:
        return DependentPlan(delete="Foreground")
    if FINALIZER_ORPHAN in metadata.finalizers:
        return DependentPlan(delete="Orphan")
    return DependentPlan(delete="Background")


@dataclass(frozen=True, slots=True)
class OwnerPlan:
    """release: dependents to take the reference from. visit: dependents to look at.

    finish: the finalizer to take away once `release` is done, "" for none.
    """

    release: tuple[ApiObject, ...] = ()
    visit: tuple[ApiObject, ...] = ()
    finish: str = ""


def waits(obj: ApiObject) -> bool:
    """Whether the object is being deleted in the foreground: it goes after the objects that it owns."""
    metadata: meta.ObjectMeta = obj.metadata
    return metadata.HasField("deletionTimestamp") and FINALIZER_FOREGROUND in metadata.finalizers


def in_circle(obj: ApiObject, dependents_of: Callable[[str], Iterable[ApiObject]]) -> bool:
    """Whether the object waits for itself: owners and dependents that all wait lead back to it.

    dependents_of: of the owner with a uid.
    """
    seen = set[str]()
    ahead = [obj]
    while ahead:
        for dependent in filter(waits, dependents_of(ahead.pop().metadata.uid)):
            if dependent.metadata.uid == obj.metadata.uid:
                return True
            if dependent.metadata.uid not in seen:
                seen.add(dependent.metadata.uid)
                ahead.append(dependent)
    return False


def plan_owner(
    obj: ApiObject, dependents: Sequence[ApiObject], dependents_of: Callable[[str], Iterable[ApiObject]]
) -> OwnerPlan:
    """What an object that is being deleted does to the objects that it owns, and when it may go."""
    metadata: meta.ObjectMeta = obj.metadata
    if not metadata.HasField("deletionTimestamp"):
        return OwnerPlan()
    if FINALIZER_ORPHAN in metadata.finalizers:
        return OwnerPlan(release=tuple(dependents), finish=FINALIZER_ORPHAN)
    if FINALIZER_FOREGROUND not in metadata.finalizers:
        return OwnerPlan()
    blocking = any(
        reference.uid == metadata.uid and reference.blockOwnerDeletion
        for dependent in dependents
        for reference in dependent.metadata.ownerReferences
    )
    # One that waits itself has had its visit, and says so when it goes.
    visit = tuple(dependent for dependent in dependents if not waits(dependent))
    if blocking and not in_circle(obj, dependents_of):
        return OwnerPlan(visit=visit)
    return OwnerPlan(visit=visit, finish=FINALIZER_FOREGROUND)


@dataclass(frozen=True, slots=True)
class Lost:
    """A pod to be removed at once, and why."""

    pod: core.Pod
    reason: str


def lost_pods(pods: Iterable[core.Pod], nodes: frozenset[str]) -> list[Lost]:
    """Pods that no agent will ever finish: their node is gone, or they never had one."""
    found: list[Lost] = []
    for pod in pods:
        if pod.spec.nodeName:
            if pod.spec.nodeName not in nodes:
                found.append(Lost(pod, f"node {pod.spec.nodeName} no longer exists"))
        elif podq.is_deleting(pod) and pod.metadata.deletionGracePeriodSeconds:
            found.append(Lost(pod, "it is being deleted and was never bound to a node"))
    return found


def surplus_pods(pods: Iterable[core.Pod], limit: int = FINISHED_PODS_MAX) -> list[Lost]:
    """The oldest finished pods beyond the limit."""
    finished = [pod for pod in pods if podq.is_finished(pod) and not podq.is_deleting(pod)]
    finished.sort(key=lambda pod: (ns_of(pod.metadata.creationTimestamp), pod.metadata.name))
    return [
        Lost(pod, f"more than {limit} finished pods") for pod in finished[: max(0, len(finished) - limit)]
    ]
