"""Known bugs, each to be switched on: who tests the tester. A world with one of them has to fail soon.

Most are from etcd's list of what its robustness tests found, from Raft's papers (what a rule is there to
prevent), and from what is easy to get wrong in a store like this one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.simulation.group import raft_bugs, store_bugs
from tests.simulation.group.planting import MUTANTS, Patches
from tests.simulation.group.scenes import turbulence
from tests.simulation.group.world import World

__all__ = ["MUTANTS", "caught", "planted", "raft_bugs", "store_bugs"]


def caught(name: str, seeds: Sequence[int]) -> tuple[int, str] | None:
    """The first of the worlds that fails with the bug planted, and how; None: it goes unnoticed."""
    mutant = MUTANTS[name]
    for seed in seeds:
        with planted(name):
            world = World(seed)
            world.theme = mutant.theme or world.theme
            try:
                world.play(lambda played: turbulence(played, only=mutant.faults))
            except Exception as error:  # noqa: BLE001 - any failure will do
                return seed, f"{type(error).__name__}: {error}"
    return None


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While it lasts, the bug is there. "": none is."""
    patches = Patches()
    try:
        if name:
            MUTANTS[name].plant(patches)
        yield
    finally:
        patches.back()
