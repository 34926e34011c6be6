"""Which worlds there are, which one a seed is, and what came of one."""

import gc
import traceback
from dataclasses import dataclass

from tests.simulation import trace

GROUP = "group"
CLUSTER = "cluster"
BOTH = "both"
# One seed in so many is a whole cluster, when both kinds are played.
CLUSTER_EVERY = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one world. failure: "" if it held, else its trace and why, for a person to read."""

    seed: int
    kind: str
    hash: str
    seconds: float
    failure: str = ""


def kind_of(seed: int, wanted: str = BOTH) -> str:
    """The sort of world that a seed is."""
    if wanted != BOTH:
        return wanted
    return CLUSTER if seed % CLUSTER_EVERY == 0 else GROUP


def play(seed: int, kind: str, turbulent_seconds: float | None = None) -> Outcome:
    """Plays one world to its end. turbulent_seconds: how long its faults go on, if not as usual."""
    # A world frees itself in a time of its own, not in the middle of another.
    gc.collect()
    gc.disable()
    try:
        return (_group if kind == GROUP else _cluster)(seed, turbulent_seconds)
    finally:
        gc.enable()


def _group(seed: int, turbulent_seconds: float | None) -> Outcome:
    from tests.simulation.group import scenes
    from tests.simulation.group.world import World

    world = World(seed)
    length = scenes.TURBULENT_SECONDS if turbulent_seconds is None else turbulent_seconds
    try:
        digest, seconds = world.play(lambda played: scenes.turbulence(played, length))
    except Exception as error:  # noqa: BLE001 - whatever it is, the world has not held
        return Outcome(seed, GROUP, world.trace.hash(), world.timeline.now, _said(world.trace, error))
    return Outcome(seed, GROUP, digest, seconds)


def _cluster(seed: int, turbulent_seconds: float | None) -> Outcome:
    from tests.simulation.cluster import stories

    world = stories.made(seed)
    length = stories.TURBULENT_SECONDS if turbulent_seconds is None else turbulent_seconds
    try:
        digest, seconds = world.play(lambda played: stories.turbulence(played, length))
    except Exception as error:  # noqa: BLE001 - whatever it is, the world has not held
        return Outcome(seed, CLUSTER, world.trace.hash(), world.timeline.now, _said(world.trace, error))
    return Outcome(seed, CLUSTER, digest, seconds)


def _said(told: trace.Trace, error: BaseException) -> str:
    what = "".join(traceback.format_exception(error))
    return f"{told.tail()}\n\n{what}"
