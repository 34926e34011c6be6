"""Clusters by seed: whatever happens, what must hold holds, and in the end everything is as it was asked for.

More seeds: ./scripts/simulate --world cluster --seeds 1..200
"""

import os
import subprocess
import sys

import pytest

from tests.simulation.worlds import CLUSTER, play

SEEDS = range(10, 70, 10)
SECONDS = 5.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_turbulent_cluster_comes_to_rest(seed: int) -> None:
    outcome = play(seed, CLUSTER, SECONDS)
    assert not outcome.failure, outcome.failure


def test_the_same_seed_is_the_same_cluster_whatever_the_process() -> None:
    """Also where strings hash otherwise and memory lies elsewhere."""
    words = [sys.executable, "-m", "tests.simulation.run", "--hash", "--world", CLUSTER, "--jobs", "1"]
    words += ["--seeds", "150..151", "--seconds", "4"]
    told = [
        subprocess.run(
            words, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        ).stdout.splitlines()[:2]
        for hash_seed in ("1", "77")
    ]
    assert told[0] == told[1]
    assert [line.split()[0] for line in told[0]] == ["150", "151"]
