"""Deletion: grace, finalizers, propagation, preconditions."""

import pytest

from orchestra.base.errors import BadRequest, PreconditionFailed
from orchestra.objects.lifecycle import DeletePlan, finalizers_done, plan_delete
from orchestra.pb import apps, core, meta

NOW_NS = 1_800_000_000_123_456_789
NOW = 1_800_000_000


def options(**fields):
    return meta.DeleteOptions(**fields)


def pod(node="n1", phase="Running", finalizers=()):
    return core.Pod(
        metadata=meta.ObjectMeta(name="web", uid="u1", generation=1, finalizers=finalizers),
        spec=core.PodSpec(nodeName=node, terminationGracePeriodSeconds=30),
        status=core.PodStatus(phase=phase),
    )


def marks(plan: DeletePlan):
    metadata = plan.updated.metadata
    return (metadata.deletionTimestamp.seconds - NOW, metadata.deletionGracePeriodSeconds)


@pytest.mark.parametrize(
    ("obj", "asked", "expected"),
    [
        (pod(), None, (30, 30)),
        (pod(), options(gracePeriodSeconds=5), (5, 5)),
        (pod(), options(gracePeriodSeconds=-1), (1, 1)),
        (pod(), options(gracePeriodSeconds=2**63 - 1), (2**31 - 1, 2**31 - 1)),
        (pod(), options(gracePeriodSeconds=0), "removed"),
        (pod(node=""), None, "removed"),
        (pod(phase="Succeeded"), None, "removed"),
        (pod(phase="Failed"), options(gracePeriodSeconds=10), "removed"),
        (pod(finalizers=["x/y"]), options(gracePeriodSeconds=0), (0, 0)),
        (pod(node="", finalizers=["x/y"]), None, (0, 0)),
        (apps.Deployment(metadata=meta.ObjectMeta(name="web")), None, "removed"),
        (apps.Deployment(metadata=meta.ObjectMeta(name="web", finalizers=["x/y"])), None, (0, 0)),
    ],
)
def test_a_first_delete(obj, asked, expected):
    before = type(obj)()
    before.CopyFrom(obj)
    plan = plan_delete(obj, asked, NOW_NS)
    assert obj == before
    if expected == "removed":
        assert plan == DeletePlan(remove=True)
    else:
        assert not plan.remove
        assert marks(plan) == expected


def test_marking_counts_as_a_generation():
    assert plan_delete(pod(), None, NOW_NS).updated.metadata.generation == 2


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, "unchanged"),
        (options(gracePeriodSeconds=30), "unchanged"),
        (options(gracePeriodSeconds=60), "unchanged"),
        (options(gracePeriodSeconds=10), (10, 10)),
        (options(gracePeriodSeconds=0), "removed"),
    ],
)
def test_a_second_delete_may_only_shorten(asked, expected):
    first = plan_delete(pod(), None, NOW_NS).updated
    plan = plan_delete(first, asked, NOW_NS + 5_000_000_000)
    if expected == "removed":
        assert plan.remove
    elif expected == "unchanged":
        assert plan == DeletePlan(remove=False)
    else:
        assert marks(plan) == expected
        assert plan.updated.metadata.generation == 2


@pytest.mark.parametrize(
    ("had", "asked", "finalizers"),
    [
        ([], options(propagationPolicy="Foreground"), ["foregroundDeletion"]),
        ([], options(propagationPolicy="Orphan"), ["orphan"]),
        ([], options(orphanDependents=True), ["orphan"]),
        ([], options(propagationPolicy="Background"), None),
        ([], options(orphanDependents=False), None),
        ([], None, None),
        (["orphan"], None, ["orphan"]),
        (["orphan"], options(propagationPolicy="Background"), None),
        (["x/y", "orphan"], options(propagationPolicy="Foreground"), ["x/y", "foregroundDeletion"]),
        (["foregroundDeletion"], options(propagationPolicy="Foreground"), ["foregroundDeletion"]),
    ],
)
def test_propagation_is_written_as_a_finalizer(had, asked, finalizers):
    obj = apps.ReplicaSet(metadata=meta.ObjectMeta(name="web", finalizers=had))
    plan = plan_delete(obj, asked, NOW_NS)
    if finalizers is None:
        assert plan.remove
    else:
        assert list(plan.updated.metadata.finalizers) == finalizers


def test_words_that_make_no_sense_are_refused():
    with pytest.raises(
        BadRequest, match='Unsupported value: "Up": supported values: "Background", "Foreground"'
    ):
        plan_delete(pod(), options(propagationPolicy="Up"), NOW_NS)
    with pytest.raises(BadRequest, match="cannot both be set"):
        plan_delete(pod(), options(propagationPolicy="Orphan", orphanDependents=True), NOW_NS)


def test_preconditions():
    found = pod()
    found.metadata.resourceVersion = "5"
    right = options(gracePeriodSeconds=0, preconditions=meta.Preconditions(uid="u1", resourceVersion="5"))
    assert plan_delete(found, right, NOW_NS).remove
    with pytest.raises(PreconditionFailed, match="demands uid u2, the object has uid u1"):
        plan_delete(found, options(preconditions=meta.Preconditions(uid="u2")), NOW_NS)
    with pytest.raises(
        PreconditionFailed, match="demands resourceVersion 4, the object has resourceVersion 5"
    ):
        plan_delete(found, options(preconditions=meta.Preconditions(resourceVersion="4")), NOW_NS)


def test_a_namespace_terminates_until_its_content_is_gone():
    namespace = core.Namespace(
        metadata=meta.ObjectMeta(name="shop"),
        spec=core.NamespaceSpec(finalizers=["kubernetes"]),
        status=core.NamespaceStatus(phase="Active"),
    )
    terminating = plan_delete(namespace, None, NOW_NS).updated
    assert terminating.status.phase == "Terminating"
    assert not finalizers_done(terminating)
    assert plan_delete(terminating, None, NOW_NS) == DeletePlan(remove=False)
    terminating.spec.ClearField("finalizers")
    assert finalizers_done(terminating)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (meta.ObjectMeta(), False),
        (meta.ObjectMeta(deletionTimestamp=meta.Time(seconds=1)), True),
        (meta.ObjectMeta(deletionTimestamp=meta.Time(seconds=1), deletionGracePeriodSeconds=0), True),
        (meta.ObjectMeta(deletionTimestamp=meta.Time(seconds=1), deletionGracePeriodSeconds=30), False),
        (meta.ObjectMeta(deletionTimestamp=meta.Time(seconds=1), finalizers=["x/y"]), False),
    ],
)
def test_finalizers_done(metadata, expected):
    assert finalizers_done(core.Pod(metadata=metadata)) is expected
