"""Which changes of the membership are let through, and how they are written down."""

from collections.abc import Callable

import pytest

from orchestra.cluster import membership
from orchestra.cluster.membership import (
    ChangeUnderWay,
    InvalidMember,
    LearnerNotReady,
    MemberExists,
    MemberInfo,
    MemberNotFound,
    MembershipRefused,
    NotALearner,
    PeerAddressExists,
    TooManyLearners,
    UnhealthyCluster,
    addresses,
    changes,
    decode,
    encode,
    plan_add,
    plan_promote,
    plan_remove,
    plan_update,
)
from orchestra.raft.model import Configuration


def info(number: int) -> MemberInfo:
    return MemberInfo(number, f"m{number}", (f"10.0.0.{number}:7071",))


def of(voters: set[int], learners: set[int] = frozenset(), outgoing: set[int] = frozenset()) -> Configuration:  # type: ignore[assignment]
    everyone = {*voters, *learners, *outgoing}
    return Configuration(
        frozenset(voters), frozenset(outgoing), frozenset(learners), encode(map(info, sorted(everyone)))
    )


ONE, THREE, WITH_LEARNER = of({1}), of({1, 2, 3}), of({1, 2, 3}, {4})
JOINT = of({1, 2, 3}, outgoing={1, 2})
ALL = frozenset(range(10))


def test_what_is_encoded_is_decoded() -> None:
    members = decode(WITH_LEARNER)
    assert [(each.id, each.name, each.is_voter, each.is_learner) for each in members] == [
        (1, "m1", True, False),
        (2, "m2", True, False),
        (3, "m3", True, False),
        (4, "m4", False, True),
    ]
    assert addresses(WITH_LEARNER, but=2) == {n: (f"10.0.0.{n}:7071",) for n in (1, 3, 4)}
    assert decode(Configuration(frozenset({7}))) == (MemberInfo(7, ""),)


def test_a_learner_comes_is_promoted_and_goes() -> None:
    change = plan_add(THREE, info(4), learner=True, active={1, 2})
    assert (change.voters, change.learners) == ({1, 2, 3}, {4})
    now = Configuration(change.voters, learners=change.learners, context=change.context)
    assert now == WITH_LEARNER
    # Asked again, after a change of leader: nothing to do.
    assert not changes(now, plan_add(now, info(4), learner=True, active={1, 2}))
    change = plan_promote(now, 4, caught_up=True, active={1, 2, 4})
    assert (change.voters, change.learners) == ({1, 2, 3, 4}, frozenset())
    change = plan_remove(now, 4, active={1, 2})
    assert Configuration(change.voters, learners=change.learners, context=change.context) == THREE


def test_a_dead_voter_can_be_removed_and_a_living_one_not() -> None:
    assert plan_remove(THREE, 3, active={1, 2}).voters == {1, 2}
    with pytest.raises(UnhealthyCluster, match="1 of 2 voting members would be there afterwards, and 2 are"):
        plan_remove(THREE, 2, active={1, 2})
    with pytest.raises(UnhealthyCluster, match="only voting member"):
        plan_remove(ONE, 1, active={1})


def test_words_about_a_member_change() -> None:
    moved = MemberInfo(2, "m2", ("10.0.0.9:7071",), api_address="10.0.0.9:7070", started=True)
    change = plan_update(THREE, moved)
    now = Configuration(change.voters, context=change.context)
    assert decode(now)[1] == moved
    assert not changes(now, plan_update(now, moved))
    assert not changes(JOINT, plan_update(JOINT, info(2)))


REFUSED: dict[str, tuple[type[MembershipRefused], Callable[[], object]]] = {
    "id taken": (
        MemberExists,
        lambda: plan_add(THREE, MemberInfo(2, "new", ("h:1",)), learner=True, active=ALL),
    ),
    "name taken": (
        MemberExists,
        lambda: plan_add(THREE, MemberInfo(9, "m2", ("h:1",)), learner=True, active=ALL),
    ),
    "address taken": (
        PeerAddressExists,
        lambda: plan_add(THREE, MemberInfo(9, "m9", ("10.0.0.2:7071",)), learner=True, active=ALL),
    ),
    "address of another kind": (
        InvalidMember,
        lambda: plan_add(THREE, MemberInfo(9, "m9", ("nowhere",)), learner=True, active=ALL),
    ),
    "second learner": (TooManyLearners, lambda: plan_add(WITH_LEARNER, info(5), learner=True, active=ALL)),
    "voter beside one": (UnhealthyCluster, lambda: plan_add(ONE, info(2), learner=False, active={1})),
    "voter while one is away": (
        UnhealthyCluster,
        lambda: plan_add(THREE, info(4), learner=False, active={1, 2}),
    ),
    "nobody removed": (MemberNotFound, lambda: plan_remove(THREE, 9, active=ALL)),
    "nobody promoted": (MemberNotFound, lambda: plan_promote(THREE, 9, caught_up=True, active=ALL)),
    "voter promoted": (NotALearner, lambda: plan_promote(THREE, 1, caught_up=True, active=ALL)),
    "too early": (LearnerNotReady, lambda: plan_promote(WITH_LEARNER, 4, caught_up=False, active=ALL)),
    "promoted among the dead": (
        UnhealthyCluster,
        lambda: plan_promote(WITH_LEARNER, 4, caught_up=True, active={1, 4}),
    ),
    "nobody updated": (MemberNotFound, lambda: plan_update(THREE, info(9))),
    "updated to another's address": (
        PeerAddressExists,
        lambda: plan_update(THREE, MemberInfo(1, "m1", ("10.0.0.2:7071",))),
    ),
    "add under way": (ChangeUnderWay, lambda: plan_add(JOINT, info(4), learner=True, active=ALL)),
    "remove under way": (ChangeUnderWay, lambda: plan_remove(JOINT, 2, active=ALL)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    error, attempt = REFUSED[case]
    with pytest.raises(error) as refused:
        attempt()
    assert membership.REFUSALS[type(refused.value).__name__] is error
