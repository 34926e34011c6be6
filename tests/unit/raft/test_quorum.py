"""Majorities: paper §5.3, §6."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.raft.model import Configuration
from orchestra.raft.quorum import decided, reached_by_majority

few = st.frozensets(st.integers(1, 7), max_size=5)


@pytest.mark.parametrize(
    ("reached", "index"),
    [([5], 5), ([5, 3], 3), ([5, 3, 1], 3), ([9, 7, 5, 3], 5), ([9, 8, 7, 6, 5], 7), ([], 0)],
)
def test_what_a_majority_has(reached: list[int], index: int) -> None:
    voters = frozenset(range(1, len(reached) + 1))
    assert reached_by_majority(Configuration(voters), dict(enumerate(reached, 1))) == index


@settings(deadline=None)
@given(few.filter(bool), few, st.dictionaries(st.integers(1, 7), st.integers(0, 9)))
def test_it_is_the_highest_that_both_sides_have(
    voters: frozenset[int], outgoing: frozenset[int], reached: dict[int, int]
) -> None:
    configuration = Configuration(voters, outgoing)

    def has(index: int) -> bool:
        return all(
            2 * sum(reached.get(voter, 0) >= index for voter in side) > len(side)
            for side in (voters, outgoing)
            if side
        )

    assert reached_by_majority(configuration, reached) == max(
        index for index in range(10) if has(index) or not index
    )


@settings(deadline=None)
@given(few.filter(bool), few, st.dictionaries(st.integers(1, 7), st.booleans()))
def test_votes_decide_when_no_further_vote_can_change_it(
    voters: frozenset[int], outgoing: frozenset[int], votes: dict[int, bool]
) -> None:
    configuration = Configuration(voters, outgoing)
    missing = sorted(configuration.all_voters - votes.keys())
    outcomes = {
        decided(configuration, {**votes, **dict(zip(missing, rest, strict=True))})
        for rest in product((True, False), repeat=len(missing))
    }
    expected = outcomes.pop() if len(outcomes) == 1 else None
    assert decided(configuration, votes) is expected


def test_two_majorities_always_share_someone() -> None:
    for voters, outgoing in [((1, 2, 3), ()), ((1, 2), (2, 3, 4)), ((1, 2, 3), (4, 5, 6))]:
        configuration = Configuration(frozenset(voters), frozenset(outgoing))
        everyone = sorted(configuration.all_voters)
        winning = [
            set(group)
            for size in range(1, len(everyone) + 1)
            for group in combinations(everyone, size)
            if decided(configuration, dict.fromkeys(group, True))
        ]
        assert all(a & b for a in winning for b in winning)
