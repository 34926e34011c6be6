"""The story every seed tells: users and faults for a while, then peace, and then nothing at all."""

import asyncio

from tests.simulation.cluster.faults import Faults, MasterFaults
from tests.simulation.cluster.workload import Workload
from tests.simulation.cluster.world import World

TURBULENT_SECONDS = 20.0
IDLE_SECONDS = 10.0
# What users do that nobody answers must not hold up what else they do.
ACTS_AT_ONCE = 3


def made(seed: int) -> World:
    """A world whose size is the seed's."""
    number = (3, 3, 5, 3, 1)[seed // 10 % 5]
    return World(seed, masters=number, skewed=True)


async def turbulence(world: World, seconds: float = TURBULENT_SECONDS, idle: float = IDLE_SECONDS) -> None:
    """Raises: Violation when something that must hold does not, or the cluster does not come to rest."""
    workload, faults = Workload(world), Faults(world)
    rng = world.chance("pace")
    # Some worlds are all users, some are all faults.
    share = rng.choice((0.1, 0.3, 0.5))
    pace = rng.choice((0.15, 0.3, 0.6))
    for _ in range(rng.randint(1, 4)):
        await workload.begin()
    end = world.now() + seconds
    loop = asyncio.get_running_loop()
    of_masters = world.driver.start(MasterFaults(world, end).run(), "master faults")
    acting: set[asyncio.Task[None]] = set()
    while world.now() < end:
        act = loop.create_task(faults.act() if rng.random() < share else workload.act())
        acting.add(act)
        act.add_done_callback(acting.discard)
        await world.sleep(rng.expovariate(1.0) * pace)
        while len(acting) >= ACTS_AT_ONCE:
            await asyncio.wait(tuple(sorted(acting, key=hash)), return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait((of_masters, *sorted(acting, key=hash)))
    for task in (of_masters, *acting):
        task.result()
    faults.heal()
    world.masters.heal()
    await world.start_master()
    await workload.put_right()
    took = await world.converge()
    world.trace.say(f"all is as it was asked for, {took:.3f} s after the faults ended")
    await world.stay_quiet(idle)
    world.trace.say(
        f"{world.record.newest_index} entries, {world.record.mandates} mandates, {world.record.guarded} writes in "
        f"their name, {world.user.acknowledged} acknowledged, {world.invariants.evictions} evictions"
    )
