"""The tester is tested: every planted bug is found, within so many worlds."""

import pytest

from tests.simulation.group.mutants import MUTANTS, caught

WORLDS_MAX = 60


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    found = caught(name, range(1, WORLDS_MAX + 1))
    assert found is not None, f"{name} ({MUTANTS[name].source}): {WORLDS_MAX} worlds held with it"


def test_there_are_bugs_enough() -> None:
    assert len(MUTANTS) >= 15
