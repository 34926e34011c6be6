"""Surge, unavailability and proportion, as tables."""

import pytest

from orchestra.controllers.plans import revisions, rolling
from orchestra.controllers.plans.rolling import Draft
from orchestra.objects import intstr
from orchestra.pb import apps, core


def deployment(
    replicas: int, surge: int | str = 0, unavailable: int | str = 0, *, kind: str = "RollingUpdate"
) -> apps.Deployment:
    made = apps.Deployment()
    made.metadata.name = "web"
    made.metadata.uid = "d-uid"
    made.spec.replicas = replicas
    made.spec.strategy.type = kind
    made.spec.strategy.rollingUpdate.maxSurge.CopyFrom(intstr.of(surge))
    made.spec.strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(unavailable))
    return made


def draft(size: int, *, available: int | None = None, was_max: int | None = None, desired: int | None = None,
          born: int = 0, name: str = "s") -> Draft:  # fmt: skip
    made = apps.ReplicaSet()
    made.metadata.name = name
    made.metadata.creationTimestamp.seconds = born
    made.spec.replicas = size
    made.status.replicas = size
    made.status.availableReplicas = size if available is None else available
    if was_max is not None:
        made.metadata.annotations[revisions.MAX_REPLICAS] = str(was_max)
    if desired is not None:
        made.metadata.annotations[revisions.DESIRED_REPLICAS] = str(desired)
    return Draft.of(made)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)), (3, "25%", "25%", (1, 0)), (10, "25%", "25%", (3, 2)), (1, 0, 0, (0, 1)),
        (1, "0%", "50%", (0, 1)), (10, 3, 2, (3, 2)), (2, 0, 5, (0, 2)), (0, "100%", "100%", (0, 0)),
    ],
)  # fmt: skip
def test_fenceposts(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    made = deployment(replicas, surge, unavailable)
    assert (rolling.max_surge(made), rolling.max_unavailable(made)) == expected


def test_a_missing_strategy_is_a_quarter() -> None:
    made = apps.Deployment()
    made.spec.replicas = 8
    assert (rolling.max_surge(made), rolling.max_unavailable(made)) == (2, 2)
    assert rolling.max_surge(deployment(8, 5, 5, kind="Recreate")) == 0


@pytest.mark.parametrize(
    ("wanted", "surge", "old", "new", "expected"),
    [
        (3, 1, 3, 0, 1), (3, 1, 2, 1, 2), (3, 0, 3, 0, 0), (3, 3, 3, 0, 3), (3, 1, 0, 5, 3), (3, 1, 4, 0, 0),
        (0, 1, 0, 2, 0),
    ],
)  # fmt: skip
def test_how_far_the_new_set_grows(wanted: int, surge: int, old: int, new: int, expected: int) -> None:
    drafts = [draft(old, name="old"), draft(new, name="new")]
    assert rolling.new_size(deployment(wanted, surge, 1), drafts, drafts[1]) == expected


@pytest.mark.parametrize(
    ("wanted", "unavailable", "old", "new", "expected"),
    [
        # (size, available) of the old sets and the new one; sizes of the old ones after.
        (3, 0, [(3, 3)], (1, 1), [2]),
        (3, 0, [(3, 3)], (1, 0), [3]),
        (3, 1, [(3, 3)], (0, 0), [2]),
        (10, 2, [(10, 10)], (3, 0), [8]),
        # What is broken goes first, and does not count against availability.
        (3, 0, [(3, 2)], (1, 1), [2]),
        (4, 1, [(3, 0), (4, 4)], (1, 0), [0, 3]),
        # A status that has not caught up says more than there will be.
        (3, 0, [(2, 3)], (1, 1), [2]),
        (3, 3, [(3, 3)], (0, 0), [0]),
    ],
)
def test_how_far_old_sets_shrink(
    wanted: int, unavailable: int, old: list[tuple[int, int]], new: tuple[int, int], expected: list[int]
) -> None:
    made = [draft(size, available=ok, born=i, name=f"o{i}") for i, (size, ok) in enumerate(old)]
    rolling.shrink_old(deployment(wanted, 1, unavailable), made, draft(new[0], available=new[1], name="new"))
    assert [found.size for found in made] == expected


@pytest.mark.parametrize(
    ("wanted", "surge", "sizes", "was_max", "expected"),
    [
        # The conformance test's own numbers: 8 of the first and 5 of the second grow with the whole.
        (30, 3, [8, 5], 13, [20, 13]),
        (5, 3, [8, 5], 13, [5, 3]),
        (0, 3, [8, 5], 13, [0, 0]),
        (10, 3, [8, 5], 13, [8, 5]),
        # What rounding leaves goes to the largest.
        (20, 0, [5, 3, 2], 10, [10, 6, 4]),
        (11, 0, [5, 3, 2], 10, [6, 3, 2]),
    ],
)
def test_scaling_in_proportion(
    wanted: int, surge: int, sizes: list[int], was_max: int, expected: list[int]
) -> None:
    made = [
        draft(size, was_max=was_max, desired=was_max - surge, born=i, name=f"s{i}", available=0)
        for i, size in enumerate(sizes)
    ]
    rolling.scale(deployment(wanted, surge, 0), made[:-1], made[-1])
    assert [found.size for found in made] == expected
    for found in made:
        assert found.changed.metadata.annotations[revisions.DESIRED_REPLICAS] == str(wanted)


def test_scaling_one_set_or_a_finished_rollout() -> None:
    only = draft(3)
    rolling.scale(deployment(7), [only], None)
    assert only.size == 7
    old, new = draft(1, name="old"), draft(7, desired=7, name="new")
    rolling.scale(deployment(7), [old], new)
    assert (old.size, new.size) == (0, 7)


def test_templates_and_their_hashes() -> None:
    one = core.PodTemplateSpec()
    one.metadata.labels["app"] = "web"
    one.spec.containers.add(name="main", image="v1")
    two = core.PodTemplateSpec()
    two.CopyFrom(one)
    two.metadata.labels[revisions.HASH_LABEL] = "abc"
    assert revisions.same_template(one, two)
    assert revisions.template_hash(one, None) == revisions.template_hash(one, None)
    assert revisions.template_hash(one, None) != revisions.template_hash(one, 1)
    two.spec.containers[0].image = "v2"
    assert not revisions.same_template(one, two)
    assert len(revisions.template_hash(one, None)) == 10


@pytest.mark.parametrize(
    ("limit", "busy", "gone"),
    [(10, [], []), (1, [], ["r1", "r2"]), (0, [], ["r1", "r2", "r3"]), (1, ["r1"], ["r2"]), (2**31 - 1, [], [])],
)  # fmt: skip
def test_history(limit: int, busy: list[str], gone: list[str]) -> None:
    made = deployment(1)
    made.spec.revisionHistoryLimit = limit
    sets = []
    for number in (3, 1, 2):
        found = draft(0, name=f"r{number}", born=number).original
        found.metadata.annotations[revisions.REVISION] = str(number)
        if found.metadata.name in busy:
            found.status.replicas = 1
        sets.append(found)
    assert [found.metadata.name for found in revisions.to_clean_up(made, sets)] == gone


def test_a_revision_that_comes_back() -> None:
    made = deployment(1)
    made.metadata.annotations.update(
        {revisions.CHANGE_CAUSE: "why", revisions.LAST_APPLIED: "{}", revisions.REVISION: "2"}
    )
    found = draft(0).changed
    found.metadata.annotations[revisions.REVISION] = "1"
    revisions.annotate_new(made, found, 3, exists=True)
    assert dict(found.metadata.annotations) == {
        revisions.CHANGE_CAUSE: "why",
        revisions.REVISION: "3",
        revisions.REVISION_HISTORY: "1",
    }
