"""How long a group is without a leader when its process dies: worlds of nothing but such deaths.

`python -m tests.simulation.group.failover --seeds 1..100` prints what 500 of them took, on virtual time.
"""

import argparse
import asyncio
import random

from orchestra.mvcc.model import Put, Txn
from orchestra.store.contract import StoreUnavailable
from tests.simulation.group.node import Node
from tests.simulation.group.world import World

KILLS = 5
DOWN_SECONDS = 1.0
# Links that are up again after so long, at most, when only they broke.
REDIAL_SECONDS = 0.06


async def _quiet(world: World) -> Node:
    """Waits until all are there and follow one leader; who that is."""
    while True:
        leader = world.leader()
        if leader is not None and len(world.up()) == len(world.nodes):
            statuses = [node.member.status() for node in world.up() if node.member is not None]
            if {status.leader for status in statuses} == {leader.id} and (
                len({status.applied_index for status in statuses}) == 1
            ):
                return leader
        await asyncio.sleep(0.05)


async def _written(node: Node) -> None:
    """Returns when a write at this member is answered."""
    while True:
        assert node.member is not None
        try:
            await node.member.store.txn(Txn(success=(Put(b"failover", b"over"),)))
            return
        except StoreUnavailable:
            continue


def _world(seed: int, voters: int, delay: float) -> World:
    """A world whose disks and network are as they should be."""
    world = World(seed, voters)
    world.clients_each = 1
    world.network.usual_delay = world.network.delay = delay
    for node in world.nodes.values():
        node.disk_slowness = 1
    return world


def failovers(seed: int, *, voters: int = 3, delay: float = 0.002, kills: int = KILLS) -> list[float]:
    """Seconds from each kill of the leader until a write at every other member is answered."""
    took: list[float] = []
    world = _world(seed, voters, delay)

    async def scene(world: World) -> None:
        rng = world.chance("failover")
        for _ in range(kills):
            leader = await _quiet(world)
            await asyncio.sleep(rng.random())
            if not leader.up or leader is not world.leader():
                continue
            killed_at = world.timeline.now
            leader.kill(power=True)
            writes = [
                node.process.start(_written(node), "write") for node in world.up() if node.process is not None
            ]
            while not all(write.done() for write in writes):  # noqa: ASYNC110 - tasks of other loops
                await asyncio.sleep(0.001)
            took.append(world.timeline.now - killed_at)
            await asyncio.sleep(rng.random() * DOWN_SECONDS)
            leader.boot()

    world.play(scene)
    return took


async def _flap(world: World, rng: random.Random, all_of_them: bool) -> int:
    """Links from the leader break and are soon there again, while it lives. How many terms that brought."""
    leader = await _quiet(world)
    before = max(world.leaders)
    others = [node for node in world.up() if node is not leader]
    for node in others if all_of_them else rng.sample(others, 1):
        world.network.break_off(leader.id, node.id)
    await asyncio.sleep(rng.random() * REDIAL_SECONDS)
    world.network.mend()
    await asyncio.sleep(2.0)
    await _quiet(world)
    return max(world.leaders) - before


def flaps(seed: int, *, voters: int = 3, times: int = KILLS, all_of_them: bool = False) -> list[int]:
    """How many terms each short break of a living leader's links, to one other or to all, brought."""
    terms: list[int] = []
    world = _world(seed, voters, 0.002)

    async def scene(world: World) -> None:
        rng = world.chance("flaps")
        for _ in range(times):
            terms.append(await _flap(world, rng, all_of_them))

    world.play(scene)
    return terms


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="failover", description=__doc__)
    parser.add_argument("--seeds", default="1..100")
    parser.add_argument("--voters", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.002, help="seconds, of most messages at most")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)
    took = sorted(
        each for seed in seeds for each in failovers(seed, voters=options.voters, delay=options.delay)
    )
    shares = {f"p{share}": took[min(len(took) * share // 100, len(took) - 1)] for share in (50, 90, 99)}
    print(f"{len(took)} kills:", *(f"{name} {each * 1000:.0f} ms" for name, each in shares.items()))
    print(f"max {took[-1] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
