"""The node lifecycle controller: hears of a closed stream at once and acts on it.

Node objects are written when something about them changes, never because time passed.
"""

from functools import partial

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import Clock
from orchestra.base.log import get_logger
from orchestra.controllers.liveness import Liveness
from orchestra.controllers.plans import nodes as plans
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.losses import Losses
from orchestra.controllers.plans.nodes import Disruption, Eviction, NodeObserved, NodePlan, Session
from orchestra.controllers.runner import DONE, Outcome, OwnWrites, all_of, unless_gone, until
from orchestra.controllers.settings import ControllerSettings
from orchestra.objects.kinds import NODE, POD, ApiObject
from orchestra.objects.readiness import NODE_NOT_READY
from orchestra.objects.times import time_from_ns
from orchestra.pb import core, meta
from orchestra.store.events import Recorder
from orchestra.store.informer import BY_NODE, Informer, Informers
from orchestra.store.objects import ObjectStore

log = get_logger("controllers.node")

NS_PER_MS = 1_000_000
# For so many startup graces agents that come late make the others be awaited for longer.
ARRIVALS_MAX = 5


class NodesReconciler:
    """Keeps every node's Ready condition and taints, and evicts the pods of those that are lost."""

    def __init__(
        self,
        objects: ObjectStore,
        informers: Informers,
        liveness: Liveness,
        recorder: Recorder,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self.queue: WorkQueue[str] = WorkQueue(retry_limit_ms=1000, rng=objects.rng)
        self._objects = objects
        self._liveness = liveness
        self._recorder = recorder
        self._clock = clock
        self._settings = settings
        self._started_ns = clock.monotonic_ns()
        self._writes: OwnWrites[str] = OwnWrites()
        self._nodes: Informer = informers.of(NODE)
        self._pods: Informer = informers.of(POD)
        self._disruption = Disruption.NONE
        self._disrupted_since_ns = 0
        self._losses = Losses()
        # Since when each Node is known: a new one's agent is awaited as all are after a master's start.
        self._known_since: dict[str, int] = {}
        # Nodes still lost when a disruption ended, and until when they are awaited.
        self._spared: dict[str, int] = {}
        # Since when NoExecute taints are known: node → (key, value) → monotonic time.
        self._taints_seen: dict[str, dict[tuple[str, str], int]] = {}
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)
        liveness.subscribe(self._liveness_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return self._nodes, self._pods

    @property
    def disruption(self) -> Disruption:
        """How much of the cluster is lost, as last judged."""
        return self._disruption

    def all_keys(self) -> list[str]:
        """Every node."""
        return [node.metadata.name for node in self._nodes.list()]

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        if new is not None:
            self.queue.add(new.metadata.name)
            if old is None:
                now_ns = self._clock.monotonic_ns()
                self._known_since[new.metadata.name] = now_ns
                self._count(new.metadata.name, now_ns)
        elif old is not None:
            name = old.metadata.name
            self._taints_seen.pop(name, None)
            self._known_since.pop(name, None)
            self._liveness.forget(name)
            self._losses.not_lost(name)
            self._spared.pop(name, None)
            # One node less: whether most are lost may have another answer now.
            self.queue.add(name)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """A pod that a lost or tainted node still gets, or that its agent's last word made ready again."""
        if new is None or not new.spec.nodeName:
            return
        node = self._nodes.get("", new.spec.nodeName)
        state = self._liveness.state(new.spec.nodeName)
        tainted = node is not None and any(t.effect == plans.NO_EXECUTE for t in node.spec.taints)
        if tainted or (state is not None and not state.connected):
            self.queue.add(new.spec.nodeName)

    def _liveness_changed(self, node: str) -> None:
        self.queue.add(node)
        if self._nodes.get("", node) is not None:
            self._count(node, self._clock.monotonic_ns())

    async def reconcile(self, key: str) -> Outcome:
        """One look at one node."""
        await self._writes.seen(key, self._nodes, self._pods)
        now_ns = self._clock.monotonic_ns()
        self._judge_disruption(now_ns)
        node = self._nodes.get("", key)
        if node is None:
            return DONE
        session, at_ns = self._session(key, now_ns)
        observed = NodeObserved(
            node=node,
            session=session,
            pods=self._pods.by_index(BY_NODE, key),
            eviction_grace_ns=self._settings.node_eviction_grace_ms * NS_PER_MS,
            disruption=self._disruption,
            lost_at_ns=at_ns or 0,
            judge_at_ns=at_ns if session in (Session.AWAITED, Session.RESTARTING) else None,
            evict_not_before_ns=max(self._turn_ns(key), self._spared.get(key, 0)),
            taints_seen_ns=self._note_taints(node, now_ns),
        )
        plan = plans.plan(observed, now_ns, self._clock.wall_ns())
        await self._carry_out(key, node, plan)
        return until(plan.requeue_at_ns, self._clock.monotonic_ns())

    def _session(self, name: str, now_ns: int) -> tuple[Session, int | None]:
        """How the node's agent stands, with the time of its loss or when it is to be judged."""
        state = self._liveness.state(name)
        if state is None:
            judge_ns = self._awaited_until_ns(name, now_ns)
            return (Session.AWAITED if now_ns < judge_ns else Session.LOST), judge_ns
        suspect_ns = state.suspect_since_ns()
        if suspect_ns is None:
            return Session.OPEN, None
        return (Session.RESTARTING if now_ns < suspect_ns else Session.LOST), suspect_ns

    def _awaited_until_ns(self, name: str, now_ns: int) -> int:
        """By when a node has to dial in that has not yet. That many agents dial in at once, or that the
        master was not ready for them, is not held against any: the time begins anew with each that comes.
        """
        grace_ns = self._settings.startup_grace_ms * NS_PER_MS
        if self._liveness.opened_ns is None:
            return now_ns + grace_ns
        since_ns = max(self._started_ns, self._liveness.opened_ns, self._known_since.get(name, 0))
        return min(max(since_ns, self._liveness.arrived_ns), since_ns + ARRIVALS_MAX * grace_ns) + grace_ns

    def _count(self, name: str, now_ns: int) -> None:
        """Notes how a node stands; called when that changes, so that nobody has to look at all nodes."""
        session, at_ns = self._session(name, now_ns)
        if session is Session.LOST and at_ns is not None:
            self._losses.lost(name, at_ns)
            return
        self._spared.pop(name, None)
        if at_ns is None:
            self._losses.not_lost(name)
        else:
            self._losses.awaited(name, at_ns)

    def _turn_ns(self, name: str) -> int:
        """Before when the node is not evicted for the disruption's sake."""
        if self._disruption is Disruption.NONE:
            return 0
        interval_ns = self._settings.disrupted_eviction_interval_ms * NS_PER_MS
        return self._losses.turn(name, self._disrupted_since_ns, interval_ns) or 0

    def _judge_disruption(self, now_ns: int) -> None:
        """Judges by the count of the lost; when the judgement changes every lost node is looked at again."""
        for name in self._losses.due(now_ns):
            if self._nodes.get("", name) is not None:
                self._count(name, now_ns)
        total, lost = len(self._nodes), len(self._losses)
        before, self._disruption = self._disruption, plans.disruption(total, lost)
        if before is Disruption.NONE or (before, self._disruption) == (Disruption.FULL, Disruption.PARTIAL):
            self._disrupted_since_ns = now_ns
        if before is self._disruption:
            return
        names = self._losses.names()
        for name in names:
            self.queue.add(name)
        if self._disruption is Disruption.NONE:
            # The fault was not theirs alone: who is not back yet may be dialling, as after a master's start.
            until_ns = now_ns + self._settings.startup_grace_ms * NS_PER_MS
            self._spared = dict.fromkeys(names, until_ns)
            log.info("enough nodes are back", lost=lost, nodes=total)
            return
        log.warning("most nodes are lost", state=self._disruption.value, lost=lost, nodes=total)
        if before is Disruption.NONE:
            self._tell_of_doubt(names, total)

    def _tell_of_doubt(self, lost: list[str], total: int) -> None:
        said = (
            f"{len(lost)} of {total} nodes were lost at once: the fault may be the master's own, so "
            f"eviction is slowed to one node every {self._settings.disrupted_eviction_interval_ms / 1000:g} s"
        )
        for name in lost:
            node = self._nodes.get("", name)
            if node is not None:
                self._recorder.record(node, "Warning", "EvictionSlowed", said)

    def _note_taints(self, node: core.Node, now_ns: int) -> dict[tuple[str, str], int]:
        before = self._taints_seen.get(node.metadata.name, {})
        seen = {
            (taint.key, taint.value): before.get((taint.key, taint.value), now_ns)
            for taint in node.spec.taints
            if taint.effect == plans.NO_EXECUTE
        }
        self._taints_seen[node.metadata.name] = seen
        return seen

    async def _carry_out(self, key: str, node: core.Node, plan: NodePlan) -> None:
        """Pods first: traffic must leave a lost node before anything else."""
        await all_of([partial(self._make_unready, key, pod) for pod in plan.unready])
        if plan.condition is not None:
            await self._write_condition(key, node, plan.condition)
        if plan.taints is not None:
            await self._write_taints(key, node, plan.taints)
        await all_of([partial(self._evict, key, eviction) for eviction in plan.evict])

    async def _write_condition(self, key: str, node: core.Node, condition: core.NodeCondition) -> None:
        before = plans.ready_condition(node)

        def change(live: core.Node) -> bool:
            for found in live.status.conditions:
                if found.type == condition.type:
                    found.CopyFrom(condition)
                    return True
            live.status.conditions.append(condition)
            return True

        written = await unless_gone(
            self._objects.mutate(NODE, "", key, change, subresource="status", uid=node.metadata.uid)
        )
        if written is None:
            return
        self._writes.wrote(key, NODE, written)
        if before is None or before.status != condition.status:
            ready = condition.status == "True"
            if not ready:
                log.warning("node is not ready", node=key, reason=condition.reason)
            reason = "NodeReady" if ready else "NodeNotReady"
            self._recorder.record(node, "Normal", reason, f"Node {key} status is now: {reason}")

    async def _write_taints(self, key: str, node: core.Node, taints: tuple[core.Taint, ...]) -> None:
        own = (plans.NOT_READY_TAINT, plans.UNREACHABLE_TAINT, plans.UNSCHEDULABLE_TAINT)

        def change(live: core.Node) -> bool:
            others = [taint for taint in live.spec.taints if taint.key not in own]
            del live.spec.taints[:]
            live.spec.taints.extend([*others, *(taint for taint in taints if taint.key in own)])
            return True

        written = await unless_gone(self._objects.mutate(NODE, "", key, change, uid=node.metadata.uid))
        if written is not None:
            self._writes.wrote(key, NODE, written)

    async def _make_unready(self, key: str, pod: core.Pod) -> None:
        """Nobody can vouch for the pod: its endpoints are to be dropped at once."""

        def change(live: core.Pod) -> bool:
            ready = podq.condition(live, "Ready")
            if ready is None or ready.status != "True":
                return False
            if self._session(key, self._clock.monotonic_ns())[0] is not Session.LOST:
                # It is back, and has its own word to say about its pods.
                return False
            ready.status = "False"
            ready.reason = NODE_NOT_READY
            ready.message = f"node {key} is not ready"
            ready.lastTransitionTime.CopyFrom(time_from_ns(self._clock.wall_ns()))
            return True

        written: ApiObject | None = await unless_gone(
            self._objects.mutate(
                POD,
                pod.metadata.namespace,
                pod.metadata.name,
                change,
                subresource="status",
                uid=pod.metadata.uid,
            )
        )
        if written is not None:
            self._writes.wrote(key, POD, written)

    async def _evict(self, key: str, eviction: Eviction) -> None:
        pod = eviction.pod
        options = meta.DeleteOptions(preconditions=meta.Preconditions(uid=pod.metadata.uid))
        if eviction.force:
            options.gracePeriodSeconds = 0
        gone = await unless_gone(
            self._objects.delete(POD, pod.metadata.namespace, pod.metadata.name, options)
        )
        if gone is None:
            return
        self._writes.wrote(key, POD, gone[0])
        said = f"Marking for deletion Pod {pod.metadata.namespace}/{pod.metadata.name}"
        self._recorder.record(pod, "Normal", "TaintManagerEviction", said)
