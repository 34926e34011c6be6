"""Keeping a number of equal pods: the one plan of ReplicaSet and ReplicationController.

Source: Kubernetes' pkg/controller/replicaset (manageReplicas, calculateStatus) and
controller_ref_manager (adoption and release).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.controllers.plans import pods as podq
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.objects.selectors import Selector, selector_from, selector_from_map
from orchestra.objects.times import time_from_ns
from orchestra.pb import core, meta

# Pods created or deleted in one pass at most; the next pass does the rest.
BURST_MAX = 500

REPLICA_FAILURE = "ReplicaFailure"


@dataclass(frozen=True, slots=True)
class ReplicasObserved:
    """A ReplicaSet or ReplicationController and what it may own.

    pods: those of its namespace that it controls, or that nobody does.
    related_by_node: active pods of the same application (all of a Deployment's sets) on each node.
    """

    owner: ApiObject
    pods: Sequence[core.Pod]
    related_by_node: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ReplicasPlan:
    """What to do. `active` and `terminating` are the pods that count, adopted ones included.

    requeue_at_ns: wall time when the next ready pod becomes available.
    """

    adopt: tuple[core.Pod, ...]
    release: tuple[core.Pod, ...]
    create: int
    delete: tuple[core.Pod, ...]
    active: tuple[core.Pod, ...]
    terminating: tuple[core.Pod, ...]
    requeue_at_ns: int | None


def selector_of(owner: ApiObject) -> Selector:
    """The selector of either kind; a ReplicationController without one takes its template's labels."""
    if isinstance(owner, core.ReplicationController):
        return selector_from_map(dict(owner.spec.selector or owner.spec.template.metadata.labels))
    return selector_from(owner.spec.selector)


def controller_reference(owner: ApiObject) -> meta.OwnerReference:
    """The reference that makes `owner` an object's controller."""
    kind = kind_of(owner)
    return meta.OwnerReference(
        apiVersion=kind.api_version,
        kind=kind.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        blockOwnerDeletion=True,
    )


def wanted_replicas(owner: ApiObject) -> int:
    """spec.replicas with its default."""
    return int(owner.spec.replicas) if owner.spec.HasField("replicas") else 1


def pod_matters(old: core.Pod | None, new: core.Pod | None) -> bool:
    """Whether a change of a pod can change what its owner does or says."""
    if old is None or new is None:
        return True
    # What changes most often first: maps are slow to compare.
    return (
        podq.condition(old, "Ready") != podq.condition(new, "Ready")
        or podq.is_deleting(old) != podq.is_deleting(new)
        or podq.is_finished(old) != podq.is_finished(new)
        or old.metadata.ownerReferences != new.metadata.ownerReferences
        or old.metadata.labels != new.metadata.labels
    )


def plan(observed: ReplicasObserved, now_ns: int) -> ReplicasPlan:
    """What brings the pods to the wanted number. now_ns: wall time."""
    owner = observed.owner
    selector = selector_of(owner)
    deleting = owner.metadata.HasField("deletionTimestamp")
    adopt: list[core.Pod] = []
    release: list[core.Pod] = []
    active: list[core.Pod] = []
    terminating: list[core.Pod] = []
    for pod in observed.pods:
        controller = podq.controller_of(pod.metadata)
        leaving = podq.is_deleting(pod)
        matches = selector.matches(pod.metadata.labels)
        if controller is not None:
            if controller.uid != owner.metadata.uid:
                continue
            if not matches:
                if not deleting:
                    release.append(pod)
                continue
        elif deleting or not matches or leaving or podq.is_finished(pod):
            continue
        else:
            adopt.append(pod)
        if podq.is_finished(pod):
            continue
        (terminating if leaving else active).append(pod)
    create, delete = (0, ()) if deleting else _to_number(observed, active, now_ns)
    return ReplicasPlan(
        adopt=tuple(adopt),
        release=tuple(release),
        create=create,
        delete=delete,
        active=tuple(active),
        terminating=tuple(terminating),
        requeue_at_ns=_next_available_at(active, int(owner.spec.minReadySeconds), now_ns),
    )


def _to_number(
    observed: ReplicasObserved, active: Sequence[core.Pod], now_ns: int
) -> tuple[int, tuple[core.Pod, ...]]:
    difference = wanted_replicas(observed.owner) - len(active)
    if difference >= 0:
        return min(difference, BURST_MAX), ()
    min_ready_seconds = int(observed.owner.spec.minReadySeconds)
    available = {pod.metadata.uid for pod in active if podq.is_available(pod, min_ready_seconds, now_ns)}
    return 0, pods_to_delete(active, min(-difference, BURST_MAX), available, observed.related_by_node)


def pods_to_delete(
    active: Sequence[core.Pod],
    count: int,
    available: Container[str],
    related_by_node: Mapping[str, int] | None = None,
) -> tuple[core.Pod, ...]:
    """The pods that go first when there are too many. Without related_by_node, `active` itself is counted.

    available: the uids of those that have been ready for long enough.
    """
    if count >= len(active):
        return tuple(active)
    if related_by_node is None:
        related_by_node = count_by_node(active)
    neighbours = related_by_node

    def rank(pod: core.Pod) -> tuple[int | str, ...]:
        on_node = neighbours.get(pod.spec.nodeName, 0)
        return podq.deletion_rank(pod, on_node, pod.metadata.uid in available)

    return tuple(sorted(active, key=rank)[:count])


def count_by_node(pods: Sequence[core.Pod]) -> dict[str, int]:
    """How many of the pods are on each node."""
    counts: dict[str, int] = {}
    for pod in pods:
        if pod.spec.nodeName:
            counts[pod.spec.nodeName] = counts.get(pod.spec.nodeName, 0) + 1
    return counts


def _next_available_at(active: Sequence[core.Pod], min_ready_seconds: int, now_ns: int) -> int | None:
    if min_ready_seconds <= 0:
        return None  # What is ready is available.
    times = [podq.available_at_ns(pod, min_ready_seconds) for pod in active]
    return min((at for at in times if at is not None and at > now_ns), default=None)


def new_pod(owner: ApiObject) -> core.Pod:
    """The pod that the owner's template makes; the store completes its name."""
    template = owner.spec.template
    pod = core.Pod()
    pod.spec.CopyFrom(template.spec)
    metadata = pod.metadata
    metadata.namespace = owner.metadata.namespace
    metadata.generateName = f"{owner.metadata.name}-"
    for key, value in template.metadata.labels.items():
        metadata.labels[key] = value
    for key, value in template.metadata.annotations.items():
        metadata.annotations[key] = value
    metadata.finalizers.extend(template.metadata.finalizers)
    metadata.ownerReferences.append(controller_reference(owner))
    return pod


def adopted(pod: core.Pod, owner: ApiObject) -> bool:
    """Makes `owner` the controller of a pod, in place; False if another has come first."""
    controller = podq.controller_of(pod.metadata)
    if controller is not None or podq.is_deleting(pod):
        return False
    pod.metadata.ownerReferences.append(controller_reference(owner))
    return True


def released(metadata: meta.ObjectMeta, owner_uid: str) -> bool:
    """Takes the owner's reference away, in place; False if there is none."""
    kept = [reference for reference in metadata.ownerReferences if reference.uid != owner_uid]
    if len(kept) == len(metadata.ownerReferences):
        return False
    del metadata.ownerReferences[:]
    metadata.ownerReferences.extend(kept)
    return True


@dataclass(frozen=True, slots=True)
class ReplicaFailure:
    """Creating or deleting pods failed. reason: FailedCreate or FailedDelete."""

    reason: str
    message: str


def status(
    owner: ApiObject,
    active: Sequence[core.Pod],
    terminating: Sequence[core.Pod],
    failure: ReplicaFailure | None,
    now_ns: int,
) -> Any:
    """The status that says what is; equal to owner.status when nothing changed. now_ns: wall time."""
    old = owner.status
    new = type(old)()
    template_labels = dict(owner.spec.template.metadata.labels)
    min_ready_seconds = int(owner.spec.minReadySeconds)
    ready = [pod for pod in active if podq.is_ready(pod)]
    available = ready
    if min_ready_seconds > 0:
        available = [pod for pod in ready if podq.is_available(pod, min_ready_seconds, now_ns)]
    new.replicas = len(active)
    counts = {
        "fullyLabeledReplicas": sum(_has_labels(pod, template_labels) for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
        "observedGeneration": int(owner.metadata.generation),
    }
    for field, count in counts.items():
        if count:
            setattr(new, field, count)
    if "terminatingReplicas" in new.DESCRIPTOR.fields_by_name:
        new.terminatingReplicas = len(terminating)
    new.conditions.extend(c for c in old.conditions if c.type != REPLICA_FAILURE)
    if failure is not None:
        before = next((c for c in old.conditions if c.type == REPLICA_FAILURE), None)
        if before is not None and before.reason == failure.reason:
            new.conditions.append(before)
        else:
            new.conditions.add(
                type=REPLICA_FAILURE,
                status="True",
                lastTransitionTime=time_from_ns(now_ns),
                reason=failure.reason,
                message=failure.message,
            )
    return new


def _has_labels(pod: core.Pod, wanted: Mapping[str, str]) -> bool:
    labels = pod.metadata.labels
    return all(labels.get(key) == value for key, value in wanted.items())
