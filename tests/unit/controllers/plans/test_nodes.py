"""Judging one node, and how much of the cluster is lost."""

import pytest

from orchestra.controllers.plans import nodes as plans
from orchestra.controllers.plans.nodes import Disruption, NodeObserved, NodePlan, Session
from orchestra.pb import core

S = 10**9
WALL = 1_700_000_000 * S
GRACE = S // 2


def node(
    *taints: tuple[str, str], ready: str = "True", reason: str = "AgentReady", cordoned: bool = False
) -> core.Node:
    made = core.Node()
    made.metadata.name = "n1"
    for key, effect in taints:
        made.spec.taints.add(key=key, effect=effect)
    if cordoned:
        made.spec.unschedulable = True
    made.status.conditions.add(
        type="Ready", status=ready, reason=reason, message="the agent's session is open"
    )
    return made


def pod(
    name: str = "p", *, tolerates: int | None = None, for_ever: bool = False, leaving: bool = False
) -> core.Pod:
    made = core.Pod()
    made.metadata.name = name
    made.status.phase = "Running"
    made.status.conditions.add(type="Ready", status="True")
    if tolerates is not None or for_ever:
        toleration = made.spec.tolerations.add(
            key=plans.UNREACHABLE_TAINT, operator="Exists", effect="NoExecute"
        )
        if tolerates is not None:
            toleration.tolerationSeconds = tolerates
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
    return made


def observe(session: Session, *pods: core.Pod, of: core.Node | None = None, disruption: Disruption = Disruption.NONE,
            judge: int | None = None, turn: int = 0) -> NodeObserved:  # fmt: skip
    return NodeObserved(
        node=of or node(), session=session, pods=pods, eviction_grace_ns=GRACE, disruption=disruption,
        lost_at_ns=10 * S, judge_at_ns=judge, evict_not_before_ns=turn,
    )  # fmt: skip


def look(observed: NodeObserved, now: int = 10 * S) -> NodePlan:
    return plans.plan(observed, now, WALL)


@pytest.mark.parametrize(
    ("total", "lost", "expected"),
    [
        (3, 0, Disruption.NONE), (3, 1, Disruption.NONE), (3, 2, Disruption.PARTIAL), (3, 3, Disruption.FULL),
        (1, 1, Disruption.FULL), (2, 1, Disruption.NONE), (2, 2, Disruption.FULL),
        (20, 10, Disruption.NONE), (20, 11, Disruption.PARTIAL), (0, 0, Disruption.NONE),
    ],
)  # fmt: skip
def test_disruption(total: int, lost: int, expected: Disruption) -> None:
    assert plans.disruption(total, lost) is expected


def test_nothing_to_do_for_a_node_that_is_well() -> None:
    assert look(observe(Session.OPEN, pod())) == NodePlan()


@pytest.mark.parametrize(
    ("session", "before", "status", "reason"),
    [
        (Session.OPEN, node(ready="Unknown", reason="NodeStatusUnknown"), "True", "AgentReady"),
        (Session.LOST, node(), "Unknown", "NodeStatusUnknown"),
        (Session.RESTARTING, node(), "Unknown", "AgentRestarting"),
    ],
)
def test_conditions(session: Session, before: core.Node, status: str, reason: str) -> None:
    condition = look(observe(session, of=before)).condition
    assert condition is not None
    assert (condition.status, condition.reason) == (status, reason)


LOST = ((plans.UNREACHABLE_TAINT, "NoSchedule"), (plans.UNREACHABLE_TAINT, "NoExecute"))


@pytest.mark.parametrize(
    ("session", "before", "expected"),
    [
        (Session.LOST, node(), list(LOST)),
        (Session.LOST, node(("mine", "NoSchedule")), [("mine", "NoSchedule"), *LOST]),
        (Session.OPEN, node(("mine", "NoSchedule"), *LOST), [("mine", "NoSchedule")]),
        (Session.OPEN, node(cordoned=True), [(plans.UNSCHEDULABLE_TAINT, "NoSchedule")]),
        (Session.OPEN, node((plans.UNSCHEDULABLE_TAINT, "NoSchedule")), []),
        (Session.RESTARTING, node(), [(plans.NOT_READY_TAINT, "NoSchedule")]),
        (Session.AWAITED, node(*LOST), None),
        (Session.AWAITED, node(), None),
        (Session.LOST, node(*LOST), None),
    ],
)  # fmt: skip
def test_taints(session: Session, before: core.Node, expected: list[tuple[str, str]] | None) -> None:
    taints = look(observe(session, of=before)).taints
    assert (None if taints is None else [(t.key, t.effect) for t in taints]) == expected


def test_pods_of_a_lost_node_stop_being_ready_at_once_and_go_after_the_grace() -> None:
    plan = look(observe(Session.LOST, pod()))
    assert [p.metadata.name for p in plan.unready] == ["p"]
    assert (plan.evict, plan.requeue_at_ns) == ((), 10 * S + GRACE)
    plan = look(observe(Session.LOST, pod()), 10 * S + GRACE)
    assert [(e.pod.metadata.name, e.force) for e in plan.evict] == [("p", True)]
    assert plan.requeue_at_ns is None


@pytest.mark.parametrize(
    ("made", "at", "evicted"),
    [
        (pod(tolerates=30), 39 * S, False), (pod(tolerates=30), 40 * S, True), (pod(tolerates=0), 11 * S, True),
        (pod(for_ever=True), 10**6 * S, False), (pod(for_ever=True, leaving=True), 11 * S, True),
    ],
)  # fmt: skip
def test_tolerations(made: core.Pod, at: int, evicted: bool) -> None:
    assert bool(look(observe(Session.LOST, made), at).evict) is evicted


def test_a_restarting_or_awaited_agent_is_waited_for() -> None:
    for session in (Session.RESTARTING, Session.AWAITED):
        plan = look(observe(session, pod(), judge=20 * S))
        assert (plan.unready, plan.evict, plan.requeue_at_ns) == ((), (), 20 * S)


def test_a_disrupted_cluster_evicts_in_turn() -> None:
    for disruption in (Disruption.PARTIAL, Disruption.FULL):
        waiting = observe(Session.LOST, pod(), disruption=disruption, turn=25 * S)
        assert look(waiting, 24 * S).evict == ()
        assert look(waiting, 24 * S).requeue_at_ns == 25 * S
        assert len(look(waiting, 25 * S).evict) == 1
    assert look(observe(Session.LOST, pod(), disruption=Disruption.FULL)).unready == ()
    assert look(observe(Session.LOST, pod(), disruption=Disruption.PARTIAL)).unready


def test_a_taint_of_ones_own_evicts_gracefully() -> None:
    tainted = node(("maintenance", "NoExecute"))
    plan = look(observe(Session.OPEN, pod("gone"), pod("leaving", leaving=True), of=tainted))
    assert [(e.pod.metadata.name, e.force) for e in plan.evict] == [("gone", False)]
