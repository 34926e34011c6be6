"""Worlds by seed: whatever happens, what must hold holds, and in the end everything is as it was asked for.

More seeds: python -m tests.simulation.run --seeds 1..200
"""

import os
import subprocess
import sys

import pytest

from tests.simulation.cluster.stories import turbulence
from tests.simulation.cluster.world import World, simulate

SECONDS = 30.0
HASHED_SECONDS = 12.0


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_turbulent_world_comes_to_rest(seed: int) -> None:
    async def story(world: World) -> None:
        await turbulence(world, SECONDS)

    simulate(seed, story)


@pytest.mark.parametrize("seed", [101, 102])
def test_the_same_seed_is_the_same_world_whatever_the_process(seed: int) -> None:
    """Also where strings hash otherwise and memory lies elsewhere."""
    words = [sys.executable, "-m", "tests.simulation.run", "--hash", "--seeds", str(seed)]
    words += ["--world", "cluster", "--seconds", str(HASHED_SECONDS)]
    told = [
        subprocess.run(
            words, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
        for hash_seed in ("1", "77")
    ]
    assert told[0] == told[1]
    assert told[0].startswith(f"{seed} ")
