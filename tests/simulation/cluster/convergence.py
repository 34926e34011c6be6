"""What is still missing for the cluster to be as it was asked to be."""

from typing import TYPE_CHECKING, Any

from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    KINDS,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
)
from orchestra.pb import apps
from tests.simulation.cluster.rollouts import is_current
from tests.simulation.cluster.state import (
    State,
    controller_uid,
    is_active,
    is_deleting,
    is_finished,
    is_ready,
    title,
)

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

_OWN_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def nodes_not_ready(world: "World") -> list[str]:
    """Nodes that are not registered and ready."""
    said = []
    for name in world.nodes:
        node = world.state.get(NODE, "", name)
        if node is None:
            said.append(f"node {name} is not registered")
        elif not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            said.append(f"node {name} is not ready")
        elif any(t.key in _OWN_TAINTS for t in node.spec.taints):
            said.append(f"node {name} is still tainted")
    return said


def missing(world: "World") -> list[str]:
    """Everything that is not yet as it was asked for, in words."""
    state = world.state
    return [
        *nodes_not_ready(world),
        *(f"{title(o)} is still being deleted" for k in KINDS for o in state.of(k) if is_deleting(o)),
        *_deployments(state),
        *_sets(state),
        *_owners(state),
        *_pods(world),
        *_endpoints(state),
    ]


def _deployments(state: State) -> list[str]:
    said = []
    for found in state.of(DEPLOYMENT):
        sets = state.owned(REPLICA_SET, found.metadata.uid)
        said += [f"{title(found)}: {what}" for what in _deployment(found, sets)]
    return said


def _deployment(found: apps.Deployment, sets: list[apps.ReplicaSet]) -> list[str]:
    status, wanted = found.status, found.spec.replicas
    said = []
    if status.observedGeneration != found.metadata.generation:
        said.append(f"observed generation {status.observedGeneration} of {found.metadata.generation}")
    for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        if getattr(status, field) != wanted:
            said.append(f"{field} is {getattr(status, field)}, not {wanted}")
    if status.unavailableReplicas:
        said.append(f"unavailableReplicas is {status.unavailableReplicas}")
    old = [s for s in sets if not is_current(s, found)]
    if any(s.spec.replicas for s in old):
        said.append("an old set is not empty")
    if len(sets) - len(old) != 1:
        said.append(f"has {len(sets) - len(old)} sets of the current template")
    if len(old) > found.spec.revisionHistoryLimit:
        said.append(f"keeps {len(old)} old sets")
    return said


def _sets(state: State) -> list[str]:
    said = []
    for kind in (REPLICA_SET, REPLICATION_CONTROLLER):
        for found in state.of(kind):
            active = [pod for pod in state.owned(POD, found.metadata.uid) if is_active(pod)]
            if len(active) != found.spec.replicas:
                said.append(f"{title(found)} has {len(active)} pods, not {found.spec.replicas}")
            if found.status.observedGeneration != found.metadata.generation:
                said.append(f"{title(found)}: observed generation {found.status.observedGeneration}")
            for field in ("replicas", "readyReplicas", "availableReplicas"):
                if getattr(found.status, field) != found.spec.replicas:
                    said.append(f"{title(found)}: {field} is {getattr(found.status, field)}")
    return said


def _owners(state: State) -> list[str]:
    return [
        f"{title(obj)}: its owner {owner.kind} {owner.name} is gone"
        for kind in KINDS
        if kind is not EVENT
        for obj in state.of(kind)
        for owner in obj.metadata.ownerReferences
        if state.by_uid(owner.uid) is None
    ]


def _pods(world: "World") -> list[str]:
    said = []
    bound: dict[str, set[str]] = {name: set() for name in world.nodes}
    for pod in world.state.of(POD):
        if is_finished(pod):
            if controller_uid(pod):
                said.append(f"{title(pod)} has ended and is kept by its owner")
            bound.setdefault(pod.spec.nodeName, set()).add(pod.metadata.uid)
            continue
        if not pod.spec.nodeName:
            said.append(f"{title(pod)} is not placed")
            continue
        if pod.spec.restartPolicy == "Never":
            said.append(f"{title(pod)} has not ended yet")
        bound.setdefault(pod.spec.nodeName, set()).add(pod.metadata.uid)
        if pod.status.phase != "Running" or not is_ready(pod):
            said.append(f"{title(pod)} on {pod.spec.nodeName} is {pod.status.phase} and not ready")
        node = world.nodes.get(pod.spec.nodeName)
        if node is None or pod.metadata.uid not in node.pods:
            said.append(f"{title(pod)} does not run on {pod.spec.nodeName}")
    for name, node in world.nodes.items():
        for uid, held in node.pods.items():
            if uid not in bound[name]:
                said.append(f"{name} still runs {title(held.pod)}")
    return said


def _endpoints(state: State) -> list[str]:
    said = []
    services = {(s.metadata.namespace, s.metadata.name): s for s in state.of(SERVICE)}
    listed: dict[tuple[str, str], dict[str, bool]] = {key: {} for key in services}
    for found in state.of(ENDPOINT_SLICE):
        key = (found.metadata.namespace, found.metadata.labels["kubernetes.io/service-name"])
        if key not in services:
            said.append(f"{title(found)}: its Service is gone")
            continue
        for endpoint in found.endpoints:
            if endpoint.targetRef.uid in listed[key]:
                said.append(f"{title(found)} lists {endpoint.targetRef.name} twice")
            listed[key][endpoint.targetRef.uid] = endpoint.conditions.ready
    for key, service in services.items():
        wanted: dict[str, Any] = {
            pod.metadata.uid: pod
            for pod in state.of(POD)
            if pod.metadata.namespace == key[0] and is_ready(pod) and not is_deleting(pod)
            and all(pod.metadata.labels.get(k) == v for k, v in service.spec.selector.items())
        }  # fmt: skip
        ready = {uid for uid, is_so in listed[key].items() if is_so}
        if ready != set(wanted):
            said.append(f"{title(service)}: {len(ready)} ready endpoints for {len(wanted)} ready pods")
    return sorted(said)
