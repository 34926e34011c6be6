"""Whether a node counts as alive, and what becomes of its pods when it does not.

A closed stream is suspicion at once: the node's Ready condition turns Unknown, it is tainted unreachable,
and its pods stop being ready. After a short grace its pods are evicted, so that they are replaced elsewhere.

When most nodes vanish the fault is more likely here (or in the network between) than in all of them. As
Kubernetes does with its zones, the nodes lost are counted against all nodes: 55 % or more is a partial
disruption, all of them a full one. Kubernetes makes an exception for two lost nodes or fewer; here there is
none, so that two of three nodes (and the one node of a one-node cluster) count as most. Under any disruption
eviction is slowed to one node at a time. Under a full one pods stay ready too: nobody is left to tell.
When enough nodes are back, those still missing are awaited for a while before they are evicted.

Times named *_ns are monotonic except where wall time is said.
Source: Kubernetes' pkg/controller/nodelifecycle and tainteviction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.pods import NS_PER_SECOND
from orchestra.objects.times import time_from_ns
from orchestra.pb import core

NOT_READY_TAINT = "node.kubernetes.io/not-ready"
UNREACHABLE_TAINT = "node.kubernetes.io/unreachable"
UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_OWN_TAINTS = (NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT)

NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"

READY = "Ready"
_MOST_PERCENT = 55


class Session(Enum):
    """How the node's agent stands with this master."""

    OPEN = "open"
    # Nothing heard yet since this master started, and its time to dial in is not over.
    AWAITED = "awaited"
    # It said that it would be back, and its time is not over.
    RESTARTING = "restarting"
    LOST = "lost"


class Disruption(Enum):
    """How much of the cluster is lost."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class NodeObserved:
    """A node, its agent's session, and the pods bound to it.

    lost_at_ns: since when a LOST session is lost. judge_at_ns: until when AWAITED and RESTARTING last.
    evict_not_before_ns: while the cluster is disrupted, this node's turn; after that, until when it is
    awaited.
    taints_seen_ns: since when each NoExecute taint (key, value) is known, for tolerationSeconds.
    """

    node: core.Node
    session: Session
    pods: Sequence[core.Pod]
    eviction_grace_ns: int
    disruption: Disruption = Disruption.NONE
    lost_at_ns: int = 0
    judge_at_ns: int | None = None
    evict_not_before_ns: int = 0
    taints_seen_ns: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True, slots=True)
class Eviction:
    """A pod to delete. force: at once, since nobody is there to stop it gracefully."""

    pod: core.Pod
    force: bool


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What to do. condition and taints are None where they are right already.

    unready: pods whose Ready condition is to turn False. requeue_at_ns: when to look again.
    """

    condition: core.NodeCondition | None = None
    taints: tuple[core.Taint, ...] | None = None
    unready: tuple[core.Pod, ...] = ()
    evict: tuple[Eviction, ...] = ()
    requeue_at_ns: int | None = None


def disruption(total: int, lost: int) -> Disruption:
    """How bad it is that `lost` of `total` nodes are lost."""
    if lost == 0 or total == 0:
        return Disruption.NONE
    if lost >= total:
        return Disruption.FULL
    return Disruption.PARTIAL if lost * 100 >= total * _MOST_PERCENT else Disruption.NONE


def ready_condition(node: core.Node) -> core.NodeCondition | None:
    """The node's Ready condition, None if it has none."""
    return next((found for found in node.status.conditions if found.type == READY), None)


def plan(observed: NodeObserved, now_ns: int, wall_ns: int) -> NodePlan:
    """What to do about one node. now_ns: monotonic; wall_ns: for the times that are stored."""
    evict, evict_at = _evictions(observed, now_ns)
    waits = [at for at in (evict_at, observed.judge_at_ns) if at is not None and at > now_ns]
    return NodePlan(
        condition=_condition(observed, wall_ns),
        taints=_taints(observed, wall_ns),
        unready=_unready(observed),
        evict=evict,
        requeue_at_ns=min(waits, default=None),
    )


_SAID: Mapping[Session, tuple[str, str, str]] = {
    Session.OPEN: ("True", "AgentReady", "the agent's session is open"),
    Session.RESTARTING: ("Unknown", "AgentRestarting", "the agent said that it restarts"),
    Session.LOST: ("Unknown", "NodeStatusUnknown", "the agent has no open session"),
}


def _condition(observed: NodeObserved, wall_ns: int) -> core.NodeCondition | None:
    if observed.session is Session.AWAITED:
        return None
    status, reason, message = _SAID[observed.session]
    before = ready_condition(observed.node)
    if before is not None and (before.status, before.reason, before.message) == (status, reason, message):
        return None
    now = time_from_ns(wall_ns)
    return core.NodeCondition(
        type=READY,
        status=status,
        reason=reason,
        message=message,
        lastHeartbeatTime=now,
        lastTransitionTime=before.lastTransitionTime if before and before.status == status else now,
    )


def _taints(observed: NodeObserved, wall_ns: int) -> tuple[core.Taint, ...] | None:
    spec = observed.node.spec
    wanted: list[tuple[str, str]] = []
    if spec.unschedulable:
        wanted.append((UNSCHEDULABLE_TAINT, NO_SCHEDULE))
    if observed.session is Session.LOST:
        wanted += [(UNREACHABLE_TAINT, NO_SCHEDULE), (UNREACHABLE_TAINT, NO_EXECUTE)]
    elif observed.session is Session.RESTARTING:
        wanted.append((NOT_READY_TAINT, NO_SCHEDULE))
    elif observed.session is Session.AWAITED:
        # Nothing is known yet: what was true stays.
        wanted += [(t.key, t.effect) for t in spec.taints if t.key in (NOT_READY_TAINT, UNREACHABLE_TAINT)]
    present = {(t.key, t.effect): t for t in spec.taints if t.key in _OWN_TAINTS}
    if set(present) == set(wanted):
        return None
    result = [taint for taint in spec.taints if taint.key not in _OWN_TAINTS]
    for key, effect in wanted:
        taint = present.get((key, effect))
        if taint is None:
            taint = core.Taint(key=key, effect=effect)
            if effect == NO_EXECUTE:
                taint.timeAdded.CopyFrom(time_from_ns(wall_ns))
        result.append(taint)
    return tuple(result)


def _unready(observed: NodeObserved) -> tuple[core.Pod, ...]:
    if observed.session is not Session.LOST or observed.disruption is Disruption.FULL:
        return ()
    return tuple(pod for pod in observed.pods if podq.is_ready(pod))


def _evictions(observed: NodeObserved, now_ns: int) -> tuple[tuple[Eviction, ...], int | None]:
    """The pods whose time has come, and when the next one's does."""
    lost = observed.session is Session.LOST
    seen = dict(observed.taints_seen_ns or {})
    taints = [
        taint
        for taint in observed.node.spec.taints
        if taint.effect == NO_EXECUTE and taint.key not in (UNREACHABLE_TAINT, NOT_READY_TAINT)
    ]
    if lost:
        taints.append(core.Taint(key=UNREACHABLE_TAINT, effect=NO_EXECUTE))
        seen[UNREACHABLE_TAINT, ""] = observed.lost_at_ns
    if not taints:
        return (), None
    floor_ns = observed.lost_at_ns + observed.eviction_grace_ns if lost else 0
    if lost:
        floor_ns = max(floor_ns, observed.evict_not_before_ns)
    due: list[Eviction] = []
    next_ns: int | None = None
    for pod in observed.pods:
        if not lost and podq.is_deleting(pod):
            continue
        # What was asked to go is not held back by what it tolerates.
        until_ns: int | None = 0
        if not podq.is_deleting(pod):
            until_ns = tolerated_until_ns(pod.spec.tolerations, taints, seen, now_ns)
        if until_ns is None:
            continue
        at_ns = max(until_ns, floor_ns)
        if at_ns <= now_ns:
            due.append(Eviction(pod, force=lost))
        elif next_ns is None or at_ns < next_ns:
            next_ns = at_ns
    return tuple(due), next_ns


def tolerates(toleration: core.Toleration, taint: core.Taint) -> bool:
    """Whether a toleration covers a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def tolerated_until_ns(
    tolerations: Iterable[core.Toleration],
    taints: Sequence[core.Taint],
    seen_ns: Mapping[tuple[str, str], int],
    now_ns: int,
) -> int | None:
    """Until when the taints let a pod stay: 0 for one that it does not tolerate, None for ever."""
    known = list(tolerations)
    until: int | None = None
    for taint in taints:
        covering = [toleration for toleration in known if tolerates(toleration, taint)]
        if not covering:
            return 0
        limits = [t.tolerationSeconds for t in covering if t.HasField("tolerationSeconds")]
        if not limits:
            continue
        since = seen_ns.get((taint.key, taint.value), now_ns)
        at = since + max(0, min(limits)) * NS_PER_SECOND
        until = at if until is None else min(until, at)
    return until
