"""What becomes of dependents, owners, and pods without a node; and of namespaces."""

import pytest

from orchestra.controllers.plans import garbage as plans
from orchestra.controllers.plans import namespaces
from orchestra.controllers.plans.garbage import DependentObserved, DependentPlan, OwnerState
from orchestra.controllers.plans.namespaces import NamespaceObserved, NamespacePlan
from orchestra.objects.kinds import DEPLOYMENT, POD, SERVICE, Kind
from orchestra.pb import core

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


def test_owners() -> None:
    child = pod("o-uid", name="c")
    assert plans.plan_owner(pod(name="o", finalizers=("orphan",)), [child]).finish == ""
    orphaning = plans.plan_owner(pod(name="o", finalizers=("orphan",), leaving=True), [child])
    assert (orphaning.release, orphaning.finish) == ((child,), "orphan")
    waiting = pod(name="o", finalizers=("foregroundDeletion",), leaving=True)
    assert plans.plan_owner(waiting, [child]).finish == ""
    assert plans.plan_owner(waiting, [child]).visit == (child,)
    assert plans.plan_owner(waiting, [pod("o-uid", name="c", blocking=False)]).finish == "foregroundDeletion"
    assert plans.plan_owner(waiting, []).finish == "foregroundDeletion"


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
