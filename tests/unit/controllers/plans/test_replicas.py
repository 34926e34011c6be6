"""How many pods to make and which to take, adopt and let go."""

import pytest

from orchestra.controllers.plans import replicas as plans
from orchestra.controllers.plans.replicas import ReplicaFailure, ReplicasObserved
from orchestra.pb import apps, core

S = 10**9


def owner(replicas: int = 3, *, min_ready: int = 0, leaving: bool = False) -> apps.ReplicaSet:
    made = apps.ReplicaSet()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = "web", "default", "web-uid"
    made.metadata.generation = 7
    made.spec.replicas = replicas
    made.spec.minReadySeconds = min_ready
    made.spec.selector.matchLabels["app"] = "web"
    made.spec.template.metadata.labels["app"] = "web"
    made.spec.template.metadata.labels["tier"] = "front"
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
    return made


def pod(name: str, *, of: str = "web-uid", app: str = "web", phase: str = "Running", leaving: bool = False,
        ready_at: int | None = 100) -> core.Pod:  # fmt: skip
    made = core.Pod()
    made.metadata.name, made.metadata.uid = name, f"{name}-uid"
    made.metadata.labels["app"] = app
    made.spec.nodeName = "n1"
    made.status.phase = phase
    if of:
        made.metadata.ownerReferences.add(kind="ReplicaSet", name="web", uid=of, controller=True)
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
    if ready_at is not None:
        made.status.conditions.add(type="Ready", status="True").lastTransitionTime.seconds = ready_at
    return made


@pytest.mark.parametrize(
    ("pods", "create", "delete", "adopt", "release"),
    [
        ([], 3, [], [], []),
        ([pod("a"), pod("b"), pod("c")], 0, [], [], []),
        ([pod("a"), pod("b"), pod("c"), pod("d", ready_at=None)], 0, ["d"], [], []),
        ([pod("a"), pod("b", leaving=True)], 2, [], [], []),
        ([pod("a"), pod("b", phase="Failed"), pod("c", phase="Succeeded")], 2, [], [], []),
        ([pod("a", of="")], 2, [], ["a"], []),
        (
            [pod("a", of="", leaving=True), pod("b", of="", phase="Failed"), pod("c", of="", app="x")],
            3,
            [],
            [],
            [],
        ),
        ([pod("a", app="x")], 3, [], [], ["a"]),
        ([pod("a", of="other"), pod("b", of="other", app="x")], 3, [], [], []),
    ],
)
def test_plan(
    pods: list[core.Pod], create: int, delete: list[str], adopt: list[str], release: list[str]
) -> None:
    plan = plans.plan(ReplicasObserved(owner(), pods), 200 * S)
    names = [[p.metadata.name for p in some] for some in (plan.delete, plan.adopt, plan.release)]
    assert (plan.create, *names) == (create, delete, adopt, release)


def test_an_owner_that_goes_does_nothing() -> None:
    plan = plans.plan(ReplicasObserved(owner(leaving=True), [pod("a", of=""), pod("b", app="x")]), 0)
    assert (plan.create, plan.delete, plan.adopt, plan.release) == (0, (), (), ())


def test_one_pass_is_bounded() -> None:
    assert plans.plan(ReplicasObserved(owner(9999), []), 0).create == plans.BURST_MAX


def test_looks_again_when_the_next_pod_becomes_available() -> None:
    pods = [pod("a", ready_at=100), pod("b", ready_at=95), pod("c", ready_at=None)]
    plan = plans.plan(ReplicasObserved(owner(min_ready=10), pods), 106 * S)
    assert plan.requeue_at_ns == 110 * S
    status = plans.status(owner(min_ready=10), plan.active, plan.terminating, None, 106 * S)
    assert (status.readyReplicas, status.availableReplicas) == (2, 1)


def test_status() -> None:
    old = owner()
    full, bare, leaving = pod("a"), pod("b", ready_at=None), pod("c", leaving=True)
    full.metadata.labels["tier"] = "front"
    status = plans.status(old, [full, bare], [leaving], None, 200 * S)
    assert (status.replicas, status.fullyLabeledReplicas, status.readyReplicas) == (2, 1, 1)
    assert (status.availableReplicas, status.terminatingReplicas, status.observedGeneration) == (1, 1, 7)
    old.status.CopyFrom(status)
    assert plans.status(old, [full, bare], [leaving], None, 300 * S) == status
    failed = plans.status(old, [full], [], ReplicaFailure("FailedCreate", "quota"), 300 * S)
    assert [(c.type, c.status, c.reason) for c in failed.conditions] == [
        ("ReplicaFailure", "True", "FailedCreate")
    ]
    old.status.CopyFrom(failed)
    assert plans.status(old, [full], [], ReplicaFailure("FailedCreate", "quota"), 400 * S) == failed
    assert not plans.status(old, [full], [], None, 400 * S).conditions


def test_nothing_is_said_of_what_is_zero() -> None:
    """As in Kubernetes' JSON: readyReplicas is absent, replicas is 0."""
    status = plans.status(owner(), [], [], None, 0)
    assert status.HasField("replicas")
    assert not status.HasField("readyReplicas")


def test_the_new_pod() -> None:
    made = plans.new_pod(owner())
    assert made.metadata.generateName == "web-"
    assert dict(made.metadata.labels) == {"app": "web", "tier": "front"}
    assert made.metadata.ownerReferences[0].controller


def test_what_is_not_available_yet_goes_first_also_from_an_emptier_node() -> None:
    pods = [pod("a", ready_at=95), pod("b", ready_at=95), pod("late", ready_at=104)]
    pods[2].spec.nodeName = "n2"
    plan = plans.plan(ReplicasObserved(owner(2, min_ready=10), pods), 106 * S)
    assert [p.metadata.name for p in plan.delete] == ["late"]
