"""What becomes of dependents, owners, and pods without a node; and of namespaces."""

from collections.abc import Callable

import pytest

from orchestra.controllers.plans import garbage as plans
from orchestra.controllers.plans import namespaces
from orchestra.controllers.plans.garbage import DependentObserved, DependentPlan, OwnerPlan, OwnerState
from orchestra.controllers.plans.namespaces import NamespaceObserved, NamespacePlan
from orchestra.objects.kinds import DEPLOYMENT, POD, SERVICE, Kind
from orchestra.pb import core

FOREGROUND = ("foregroundDeletion",)
P, A, W = OwnerState.PRESENT, OwnerState.ABSENT, OwnerState.WAITING


def pod(*owners: str, name: str = "p", finalizers: tuple[str, ...] = (), leaving: bool = False, node: str = "",
        phase: str = "Running", grace: int = 0, created: int = 0, blocking: bool = True) -> core.Pod:  # fmt: skip
    made = core.Pod()
    made.metadata.name, made.metadata.uid = name, f"{name}-uid"
    made.metadata.creationTimestamp.seconds = created
    made.metadata.finalizers.extend(finalizers)
    for uid in owners:
        made.metadata.ownerReferences.add(kind="ReplicaSet", apiVersion="apps/v1", name=uid, uid=uid,
                                          blockOwnerDeletion=blocking)  # fmt: skip
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
        made.metadata.deletionGracePeriodSeconds = grace
    made.spec.nodeName = node
    made.status.phase = phase
    return made


@pytest.mark.parametrize(
    ("obj", "owners", "dependents", "expected"),
    [
        (pod(), {}, False, DependentPlan()),
        (pod("a"), {"a": P}, False, DependentPlan()),
        (pod("a"), {}, False, DependentPlan()),
        (pod("a"), {"a": A}, False, DependentPlan(delete="Background")),
        (pod("a", "b"), {"a": A, "b": P}, False, DependentPlan(drop=frozenset("a"))),
        (pod("a", "b"), {"a": W, "b": P}, False, DependentPlan(drop=frozenset("a"))),
        (pod("a", "b"), {"a": A, "b": A}, False, DependentPlan(delete="Background")),
        (pod("a"), {"a": W}, False, DependentPlan(delete="Background")),
        (pod("a"), {"a": W}, True, DependentPlan(delete="Foreground")),
        (pod("a", finalizers=("orphan",)), {"a": A}, False, DependentPlan(delete="Orphan")),
        (pod("a", finalizers=("foregroundDeletion",)), {"a": A}, False, DependentPlan(delete="Foreground")),
        (pod("a", leaving=True), {"a": A}, False, DependentPlan()),
    ],
)
def test_dependents(
    obj: core.Pod, owners: dict[str, OwnerState], dependents: bool, expected: DependentPlan
) -> None:
    assert plans.plan_dependent(DependentObserved(obj, owners, dependents)) == expected


def owned(*objects: core.Pod) -> Callable[[str], list[core.Pod]]:
    """Who names an owner's uid, among these."""

    def dependents_of(uid: str) -> list[core.Pod]:
        return [obj for obj in objects if uid in {owner.uid for owner in obj.metadata.ownerReferences}]

    return dependents_of


def test_owners() -> None:
    def planned(owner: core.Pod, *dependents: core.Pod) -> OwnerPlan:
        return plans.plan_owner(owner, dependents, owned(*dependents))

    child = pod("o-uid", name="c")
    assert planned(pod(name="o", finalizers=("orphan",)), child).finish == ""
    orphaning = planned(pod(name="o", finalizers=("orphan",), leaving=True), child)
    assert (orphaning.release, orphaning.finish) == ((child,), "orphan")
    waiting = pod(name="o", finalizers=FOREGROUND, leaving=True)
    assert planned(waiting, child).finish == ""
    assert planned(waiting, child).visit == (child,)
    assert planned(waiting, pod("o-uid", name="c", blocking=False)).finish == "foregroundDeletion"
    assert planned(waiting).finish == "foregroundDeletion"
    # It waits itself: nothing to tell it, but it still blocks.
    child_waits = pod("o-uid", name="c", finalizers=FOREGROUND, leaving=True)
    assert planned(waiting, child_waits) == OwnerPlan()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_who_waits_for_itself_goes(size: int) -> None:
    ring = [
        pod(f"p{(n - 1) % size}-uid", name=f"p{n}", finalizers=FOREGROUND, leaving=True) for n in range(size)
    ]
    # Held by the ring, but no part of it.
    beside = pod("p0-uid", name="beside", finalizers=FOREGROUND, leaving=True)
    below = pod("beside-uid", name="below")
    dependents_of = owned(*ring, beside, below)
    assert all(plans.in_circle(obj, dependents_of) for obj in ring)
    assert not plans.in_circle(beside, dependents_of)
    plan = plans.plan_owner(ring[0], dependents_of("p0-uid"), dependents_of)
    assert plan == OwnerPlan(finish="foregroundDeletion")
    # As long as one of them does not wait, it can still be asked to go.
    ring[-1].metadata.ClearField("deletionTimestamp")
    assert not any(plans.in_circle(obj, dependents_of) for obj in ring)


@pytest.mark.parametrize(
    ("made", "lost"),
    [
        (pod(node="n1"), False), (pod(node="gone"), True), (pod(), False),
        (pod(leaving=True, grace=30), True), (pod(node="n1", leaving=True, grace=30), False),
    ],
)  # fmt: skip
def test_lost_pods(made: core.Pod, lost: bool) -> None:
    assert bool(plans.lost_pods([made], frozenset(["n1"]))) is lost


def test_the_oldest_finished_pods_go() -> None:
    made = [pod(name=f"p{i}", phase="Succeeded", created=9 - i) for i in range(4)] + [pod(name="alive")]
    assert [lost.pod.metadata.name for lost in plans.surplus_pods(made, 2)] == ["p3", "p2"]


@pytest.mark.parametrize(
    ("leaving", "counts", "expected"),
    [
        (False, {POD: 1}, NamespacePlan()),
        (True, {POD: 2, SERVICE: 1}, NamespacePlan(delete=(POD,))),
        (True, {SERVICE: 1, DEPLOYMENT: 1}, NamespacePlan(delete=(SERVICE, DEPLOYMENT))),
        (True, {}, NamespacePlan(finalize=True)),
    ],
)
def test_namespaces(leaving: bool, counts: dict[Kind, int], expected: NamespacePlan) -> None:
    made = core.Namespace()
    made.spec.finalizers.append("kubernetes")
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
    assert namespaces.plan(NamespaceObserved(made, counts), 0) == expected
