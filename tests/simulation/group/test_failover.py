"""The leader's death is bridged, and a link's is no reason to depose who lives: on virtual time."""

import pytest

from tests.simulation.group.failover import failovers, flaps


@pytest.mark.parametrize(("voters", "worlds"), [(3, 8), (5, 2)])
def test_a_dead_leader_is_replaced_at_once(voters: int, worlds: int) -> None:
    took = [seconds for seed in range(1, 1 + worlds) for seconds in failovers(seed, voters=voters)]
    assert len(took) > 4 * worlds
    assert max(took) < 0.5


def test_a_broken_link_deposes_no_leader_that_the_others_hear() -> None:
    assert {terms for seed in range(1, 5) for terms in flaps(seed)} == {0}
