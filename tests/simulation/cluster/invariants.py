"""What must hold at every revision of the store, whatever happens around it."""

from collections import deque
from typing import TYPE_CHECKING, Any

from orchestra.objects.kinds import (
    ENDPOINT_SLICE,
    EVENT,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    Kind,
)
from orchestra.objects.quantity import parse_quantity
from orchestra.pb import core
from tests.simulation.cluster.rollouts import Rollouts
from tests.simulation.cluster.state import (
    Violation,
    controller_uid,
    is_active,
    is_deleting,
    is_finished,
    is_ready,
    title,
)

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

# How far behind the store a part of the master may act: a slow disk, late news, a retry or two.
LAG_SECONDS = 2.0
# An endpoint of a pod that is no longer ready, or a dependent of an owner that is gone, is put right within:
ENDPOINT_SECONDS = 3.0
OWNER_SECONDS = 20.0
# After so long a pod may be stopped though it is still listed: the master waits no longer.
DRAIN_SECONDS = 1.9
# What was listed as ready only this long before its deletion, the master may not have known to be listed.
LISTED_SECONDS = 0.5


# A machine with which all has been well for so long has found its way to whoever leads, or is given the time.
WELL_SECONDS = 5.0


class Invariants:
    """Hears of every change, in order, at the virtual time at which it happened. Raises Violation."""

    def __init__(self, world: "World") -> None:
        self.state = world.state
        # Since when the cluster is led by one that can write.
        self.steady_since: float | None = None
        self.rollouts = Rollouts(self.state, self._now, world.now, LAG_SECONDS, world.masters.doubt_seconds)
        self.evictions = 0
        self._world = world
        # Time in which the cluster could be written, up to the last tick; who may lag, lags by that.
        self._worked = 0.0
        self._ticked = world.now()
        self._mandate = 0
        self._nodes: dict[str, deque[tuple[float, core.Node | None]]] = {}
        self._sizes: dict[str, deque[tuple[float, int]]] = {}
        self._bad_endpoints: dict[tuple[str, str], float] = {}
        self._ownerless: dict[str, float] = {}
        self._uids_seen: set[str] = set()
        self._deleted_at: dict[str, float] = {}
        # Since when pods are listed as ready, by slice and uid.
        self._listed: dict[tuple[str, str], float] = {}

    def _now(self) -> float:
        """Seconds in which the cluster could be written."""
        since = self._world.now() - self._ticked
        return self._worked + (since if self.steady_since is not None else 0.0)

    def saw(self, kind: Kind, old: Any | None, new: Any | None) -> None:
        """One change."""
        if kind is EVENT:
            return
        self._history(kind, old, new)
        if kind is NODE:
            self._note_node(old, new)
        if kind in (REPLICA_SET, REPLICATION_CONTROLLER) and new is not None:
            self._note_size(new)
        if kind is POD:
            if new is not None and is_deleting(new):
                self._deleted_at.setdefault(new.metadata.uid, self._world.now())
            self._binding(old, new)
            self._runaway(old, new)
            self._eviction(old, new)
        if kind is ENDPOINT_SLICE:
            self._note_listed(old, new)
        self.rollouts.saw(kind, old, new)

    # -- histories that only go on -------------------------------------------------------------------

    def _history(self, kind: Kind, old: Any | None, new: Any | None) -> None:
        if new is None:
            return
        uid = new.metadata.uid
        if not uid:
            raise Violation(f"{title(new)} has no uid")
        if old is None:
            if uid in self._uids_seen:
                raise Violation(f"{title(new)}: the uid {uid} has been there before")
            self._uids_seen.add(uid)
            return
        if old.metadata.uid != uid:
            raise Violation(f"{title(new)} became another object without having been deleted")
        if new.metadata.generation < old.metadata.generation:
            raise Violation(f"{title(new)}: generation went back")
        if is_deleting(old) and not is_deleting(new):
            raise Violation(f"{title(new)}: came back from its deletion")
        if hasattr(new, "status") and hasattr(new.status, "observedGeneration"):
            if new.status.observedGeneration < old.status.observedGeneration:
                raise Violation(f"{title(new)}: observedGeneration went back")
            if new.status.observedGeneration > new.metadata.generation:
                raise Violation(f"{title(new)}: observedGeneration is ahead of generation")

    # -- placement -----------------------------------------------------------------------------------

    def _note_node(self, old: core.Node | None, new: core.Node | None) -> None:
        some = new if new is not None else old
        assert some is not None
        history = self._nodes.setdefault(some.metadata.name, deque())
        history.append((self._now(), new))
        _forget(history, self._now() - LAG_SECONDS)

    def _binding(self, old: core.Pod | None, new: core.Pod | None) -> None:
        before = old.spec.nodeName if old is not None else ""
        if new is None or new.spec.nodeName == before:
            return
        if before:
            raise Violation(f"{title(new)} was bound to {before} and then to {new.spec.nodeName}")
        name = new.spec.nodeName
        history = self._nodes.get(name, deque())
        _forget(history, self._now() - LAG_SECONDS)
        if not any(node is not None and _lets_in(node, new) for _, node in history):
            raise Violation(f"{title(new)} was bound to {name}, which has not let it in for {LAG_SECONDS} s")
        node = self.state.get(NODE, "", name)
        if node is None:
            return
        there = [p for p in self.state.of(POD) if p.spec.nodeName == name and not is_finished(p)]
        for resource, quantity in node.status.allocatable.items():
            used = sum(_request(pod, resource) for pod in there)
            if used > parse_quantity(quantity.string).nanos:
                raise Violation(f"{title(new)} was bound to {name}, whose {resource} it oversteps")

    # -- numbers -------------------------------------------------------------------------------------

    def _note_size(self, owner: Any) -> None:
        history = self._sizes.setdefault(owner.metadata.uid, deque())
        if not history or history[-1][1] != owner.spec.replicas:
            history.append((self._now(), owner.spec.replicas))
        _forget(history, self._now() - LAG_SECONDS)

    def _runaway(self, old: core.Pod | None, new: core.Pod | None) -> None:
        if old is not None or new is None or not (owner := controller_uid(new)):
            return
        history = self._sizes.get(owner)
        if history is None:
            return
        _forget(history, self._now() - LAG_SECONDS)
        most = max(size for _, size in history)
        active = [p for p in self.state.owned(POD, owner) if is_active(p)]
        if len(active) > most:
            raise Violation(f"{title(new)} is one too many: {len(active)} of {most}")

    # -- loss ------------------------------------------------------------------------------------------

    def _eviction(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """A pod taken off its node at once is one whose node was lost: that is nothing that happens to masters."""
        if new is not None or old is None or not old.spec.nodeName or not is_active(old):
            return
        if old.metadata.uid in self.rollouts.user_deleted:
            return
        self.evictions += 1
        node = self._world.nodes[old.spec.nodeName]
        if node.well_since is not None and self._world.now() - node.well_since > WELL_SECONDS:
            raise Violation(
                f"{title(old)} was evicted from {node.name}, with which all has been well since {node.well_since:.3f}"
            )

    # -- what may be so for a while only ---------------------------------------------------------------

    def tick(self) -> None:
        """Looks at what has a time to be put right in. Called often."""
        now = self._world.now()
        self._worked, self._ticked = self._now(), now
        if not self._world.masters.is_steady():
            self.steady_since = None
        elif self.steady_since is None or self._mandate != self._world.record.mandates:
            self.steady_since, self._mandate = now, self._world.record.mandates
        up = self.steady_since
        self._bad_endpoints = {key: self._bad_endpoints.get(key, now) for key in self._wrongly_ready()}
        self._ownerless = {uid: self._ownerless.get(uid, now) for uid in self._without_owner()}
        if up is None:
            return
        for (name, uid), since in self._bad_endpoints.items():
            if now - max(since, up) > ENDPOINT_SECONDS:
                raise Violation(
                    f"EndpointSlice {name} lists {uid} as ready, which it has not been since {since:.3f}"
                )
        for uid, since in self._ownerless.items():
            if now - max(since, up) > OWNER_SECONDS:
                obj = self.state.by_uid(uid)
                raise Violation(f"{title(obj)} is there, its owner has been gone since {since:.3f}")

    def _wrongly_ready(self) -> list[tuple[str, str]]:
        wrong = []
        for found in self.state.of(ENDPOINT_SLICE):
            for endpoint in found.endpoints:
                if not endpoint.conditions.ready:
                    continue
                pod = self.state.by_uid(endpoint.targetRef.uid)
                if pod is None or is_deleting(pod) or not is_ready(pod):
                    wrong.append((found.metadata.name, endpoint.targetRef.uid))
        return wrong

    def _without_owner(self) -> list[str]:
        return [
            obj.metadata.uid
            for kind in (POD, REPLICA_SET, ENDPOINT_SLICE)
            for obj in self.state.of(kind)
            if not is_deleting(obj)
            and obj.metadata.ownerReferences
            and all(self.state.by_uid(o.uid) is None for o in obj.metadata.ownerReferences)
        ]

    def _note_listed(self, old: Any | None, new: Any | None) -> None:
        some = new if new is not None else old
        slice_uid = some.metadata.uid  # type: ignore[union-attr]
        ready = {e.targetRef.uid for e in new.endpoints if e.conditions.ready} if new is not None else set()
        for key in [k for k in self._listed if k[0] == slice_uid and k[1] not in ready]:
            del self._listed[key]
        for uid in sorted(ready):
            self._listed.setdefault((slice_uid, uid), self._world.now())

    def told_to_stop(self, pod: core.Pod, connected: bool) -> None:
        """SIGTERM goes to a pod that is being deleted."""
        since = self._deleted_at.get(pod.metadata.uid)
        if not connected or since is None or self._world.now() - since >= DRAIN_SECONDS:
            return
        for found in self.state.of(ENDPOINT_SLICE):
            for endpoint in found.endpoints:
                listed_at = self._listed.get((found.metadata.uid, endpoint.targetRef.uid), since)
                if endpoint.targetRef.uid == pod.metadata.uid and listed_at < since - LISTED_SECONDS:
                    raise Violation(f"{title(pod)} is told to stop while {title(found)} lists it as ready")


def _forget(history: deque[tuple[float, Any]], before: float) -> None:
    """Keeps the newest entry that was in force at `before`, and all later ones."""
    while len(history) > 1 and history[1][0] <= before:
        history.popleft()


def _lets_in(node: core.Node, pod: core.Pod) -> bool:
    if any(node.metadata.labels.get(key) != value for key, value in pod.spec.nodeSelector.items()):
        return False
    taints = [t for t in node.spec.taints if t.effect in ("NoSchedule", "NoExecute")]
    if node.spec.unschedulable and not any(t.key == "node.kubernetes.io/unschedulable" for t in taints):
        taints.append(core.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule"))
    return all(any(_tolerates(said, taint) for said in pod.spec.tolerations) for taint in taints)


def _tolerates(said: core.Toleration, taint: core.Taint) -> bool:
    if said.effect and said.effect != taint.effect:
        return False
    if said.key and said.key != taint.key:
        return False
    return said.operator == "Exists" or (bool(said.key) and said.value == taint.value)


def _request(pod: core.Pod, resource: str) -> int:
    if resource == "pods":
        return int(parse_quantity("1").nanos)
    total = 0
    for container in pod.spec.containers:
        if resource in container.resources.requests:
            total += parse_quantity(container.resources.requests[resource].string).nanos
    return total
