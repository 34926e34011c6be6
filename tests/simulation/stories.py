"""The story every seed tells: users and faults for a while, then peace, and then nothing at all."""

from tests.simulation.faults import Faults
from tests.simulation.workload import Workload
from tests.simulation.world import World

TURBULENT_SECONDS = 90.0
IDLE_SECONDS = 600.0


async def turbulence(world: World, seconds: float = TURBULENT_SECONDS, idle: float = IDLE_SECONDS) -> None:
    """Raises: Violation when something that must hold does not, or the cluster does not come to rest."""
    workload, faults = Workload(world), Faults(world)
    rng = world.chance("pace")
    # Some worlds are all users, some are all faults.
    share = rng.choice((0.1, 0.3, 0.5))
    pace = rng.choice((0.1, 0.4, 1.0))
    end = world.now() + seconds
    while world.now() < end:
        await (faults.act() if rng.random() < share else workload.act())
        await world.sleep(rng.expovariate(1.0) * pace)
    await faults.heal()
    await workload.put_right()
    took = await world.converge()
    world.trace.say(f"all is as it was asked for, {took:.3f} s after the faults ended")
    await world.stay_quiet(idle)
