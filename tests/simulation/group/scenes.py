"""What befalls a group: every fault there is, drawn by the seed, and changes of the membership under all of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from orchestra.base.errors import OrchestraError
from orchestra.cluster.member import Member
from orchestra.raft.core import RaftCore
from orchestra.raft.model import Configuration
from tests.simulation.group.node import Node
from tests.simulation.group.world import World

TURBULENT_SECONDS = 15.0
CALL_SECONDS = 4.0
NODES_MAX = 5

Fault = Callable[["Turbulence"], Awaitable[None]]


class Turbulence:
    """Faults one after the other, some of them at the same time, for a while. only: none but these, if any are named."""

    def __init__(self, world: World, seconds: float, only: Sequence[str] = ()) -> None:
        self.world = world
        self.only = only
        self.rng = world.chance("faults")
        self.ends = world.timeline.now + seconds
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is over."""
        rng = self.rng
        # Each world has faults of its own that it prefers: rare meetings become common somewhere.
        names = list(self.only or _FAULTS)
        usual = [_FAULTS[name][1] for name in names]
        weights = [weight * rng.choice((0.0, 0.3, 1.0, 3.0)) for weight in usual]
        if self.only or not any(weights):
            weights = usual
        pace = rng.choice((0.15, 0.4, 1.0))
        while self.world.timeline.now < self.ends:
            await asyncio.sleep(rng.expovariate(1.0) * pace)
            (name,) = rng.choices(names, weights)
            fault, _ = _FAULTS[name]
            task = asyncio.get_running_loop().create_task(fault(self), name=f"fault {name}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            if rng.random() < 0.5:
                await asyncio.wait((task,))
        while self._running:
            await asyncio.wait(tuple(sorted(self._running, key=hash)))

    def any_node(self) -> Node | None:
        """A node with a process, the leader more often than the others."""
        leader = self.world.leader()
        if leader is not None and self.rng.random() < 0.4:
            return leader
        nodes = [node for node in self.world.nodes.values() if node.up]
        return self.rng.choice(nodes) if nodes else None

    async def wait(self, most: float) -> None:
        """A while."""
        await asyncio.sleep(self.rng.random() ** 2 * most)


async def _kill(t: Turbulence) -> None:
    node = t.any_node()
    if node is None:
        return
    node.kill(power=t.rng.random() < 0.5)
    await _comes_back(t, node)


async def _comes_back(t: Turbulence, node: Node) -> None:
    await t.wait(3.0)
    if not node.up and node.id not in t.world.removed:
        node.boot()


async def _kill_all(t: Turbulence) -> None:
    power = t.rng.random() < 0.5
    nodes = [node for node in t.world.nodes.values() if node.up]
    for node in nodes:
        node.kill(power=power)
    for node in nodes:
        await _comes_back(t, node)


async def _flap(t: Turbulence) -> None:
    """Nodes that die and are back at once, again and again, in the midst of elections."""
    leader = t.world.leader()
    if leader is not None:
        leader.kill(power=True)
    for _ in range(t.rng.randint(2, 8)):
        await asyncio.sleep(t.rng.random() * 0.4)
        nodes = [node for node in t.world.nodes.values() if node.up]
        if not nodes:
            break
        node = t.rng.choice(nodes)
        node.kill(power=t.rng.random() < 0.7)
        await asyncio.sleep(t.rng.random() ** 2 * 0.15)
        if not node.up and node.id not in t.world.removed:
            node.boot()
        if leader is not None and not leader.up and t.rng.random() < 0.4 and leader.id not in t.world.removed:
            leader.boot()
    if leader is not None:
        await _comes_back(t, leader)


async def _lose_power_midway(t: Turbulence) -> None:
    node = t.any_node()
    if node is None:
        return
    node.disk.fuse = t.rng.randint(0, 12)
    await t.wait(2.0)
    node.disk.fuse = None
    await _comes_back(t, node)


async def _pause(t: Turbulence) -> None:
    node = t.any_node()
    if node is None or node.process is None:
        return
    process = node.process
    t.world.say(f"{process.name} is stopped")
    process.stopped = True
    await t.wait(5.0)
    process.stopped = False
    t.world.say(f"{process.name} goes on")


async def _isolate(t: Turbulence) -> None:
    node = t.any_node()
    if node is None:
        return
    others = [other.id for other in t.world.nodes.values() if other is not node]
    way = t.rng.choice(("both", "in", "out"))
    t.world.say(f"{node.name} is cut off ({way})")
    for other in others:
        if way != "in":
            t.world.network.cut(node.id, other)
        if way != "out":
            t.world.network.cut(other, node.id)
    await t.wait(5.0)
    t.world.say("the network is whole")
    t.world.network.mend()


async def _depose(t: Turbulence) -> None:
    """The leader is cut off, and does not know it; its clients are still there."""
    leader = t.world.leader()
    if leader is None:
        return
    t.world.say(f"{leader.name}, which leads, is cut off")
    for node in t.world.nodes.values():
        if node is not leader:
            t.world.network.cut(leader.id, node.id)
            t.world.network.cut(node.id, leader.id)
    await asyncio.sleep(0.8 + t.rng.random() * 1.5)
    t.world.network.mend()


async def _split(t: Turbulence) -> None:
    """Two halves that do not hear each other."""
    ids = [node.id for node in t.world.nodes.values()]
    here = set(t.rng.sample(ids, t.rng.randint(1, len(ids) - 1)))
    t.world.say(f"split: {' '.join(f'{each:x}'[:2] for each in sorted(here))} and the others")
    for one in ids:
        for other in ids:
            if (one in here) != (other in here):
                t.world.network.cut(one, other)
    await t.wait(5.0)
    t.world.network.mend()


async def _storm(t: Turbulence) -> None:
    """Slow words, and nodes that come and go faster than an election is over."""
    network, rng = t.world.network, t.rng
    network.delay = rng.choice((0.05, 0.2, 0.4))
    t.world.say(f"storm: delay {network.delay}")
    for _ in range(rng.randint(5, 25)):
        await asyncio.sleep(rng.random() * 0.25)
        nodes = [node for node in t.world.nodes.values() if node.up]
        leader = t.world.leader()
        if not nodes:
            continue
        node = leader if leader is not None and rng.random() < 0.4 else rng.choice(nodes)
        node.kill(power=rng.random() < 0.7)
        if rng.random() < 0.8:
            await asyncio.sleep(rng.random() * 0.03)
            if not node.up and node.id not in t.world.removed:
                node.boot()
    network.calm()
    for node in list(t.world.nodes.values()):
        await _comes_back(t, node)


async def _cut_one_way(t: Turbulence) -> None:
    ids = [node.id for node in t.world.nodes.values()]
    frm, to = t.rng.sample(ids, 2)
    t.world.say(f"nothing gets from {frm:016x} to {to:016x}")
    t.world.network.cut(frm, to)
    await t.wait(4.0)
    t.world.network.mend()


async def _weather(t: Turbulence) -> None:
    network, rng = t.world.network, t.rng
    network.drop = rng.choice((0.0, 0.05, 0.3))
    network.repeat = rng.choice((0.0, 0.1, 0.4))
    network.late = rng.choice((0.0, 0.05, 0.2))
    network.delay = rng.choice((0.001, 0.01, 0.1))
    t.world.say(f"weather: drops {network.drop}, repeats {network.repeat}, late {network.late}")
    await t.wait(6.0)
    network.calm()


async def _fill_disk(t: Turbulence) -> None:
    node = t.any_node()
    if node is None:
        return
    t.world.say(f"{node.name}: the disk is full")
    node.disk.full = True
    await t.wait(4.0)
    node.disk.full = False


async def _no_room_for_a_snapshot(t: Turbulence) -> None:
    """A member was away until what it lacks is forgotten, and has no room for the snapshot that it is sent."""
    node = t.any_node()
    if node is None or node is t.world.leader():
        return
    node.kill()
    await asyncio.sleep(1.0 + t.rng.random() * 3.0)
    node.disk.room_for_snapshots = t.rng.choice((0, 300, 1500))
    t.world.say(f"{node.name}: the disk has room for {node.disk.room_for_snapshots} bytes of a snapshot")
    await _comes_back(t, node)
    await t.wait(6.0)
    node.disk.room_for_snapshots = None


async def _fail_sync(t: Turbulence) -> None:
    node = t.any_node()
    if node is None:
        return
    t.world.say(f"{node.name}: the disk fails to sync")
    node.disk.sync_fails = True
    await t.wait(2.0)
    if node.up and t.rng.random() < 0.7:
        node.kill(power=True)
    node.disk.sync_fails = False
    if not node.up:
        # What it could not sync may be gone.
        node.disk.crash(power=True)
        await _comes_back(t, node)


async def _jump_clock(t: Turbulence) -> None:
    node = t.any_node()
    if node is not None and node.process is not None:
        node.process.clock.wall_jump_ns += t.rng.randint(-(10**17), 10**17)


async def _move_leader(t: Turbulence) -> None:
    leader = t.world.leader()
    if leader is not None:
        await _asked(t, leader, lambda member: member.move_leader())


async def _asked(t: Turbulence, node: Node, work: Callable[[Member], Awaitable[object]]) -> bool:
    """Has a member do something, in its own process; whether it said that it was done."""
    process, member = node.process, node.member
    if process is None or member is None:
        return False
    done: list[bool] = []

    async def main() -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await work(member)
            done.append(True)
        except (OrchestraError, TimeoutError) as error:
            t.world.say(f"{node.name}: {error}")
            done.append(False)

    process.start(main(), "asked")
    for _ in range(round(CALL_SECONDS / 0.1) + 5):
        if done or not process.alive:
            break
        await asyncio.sleep(0.1)
    return done == [True]


async def _grow(t: Turbulence) -> None:
    """A learner joins, catches up and gets its vote."""
    world = t.world
    if len(world.nodes) - len(world.removed) >= NODES_MAX or len(world.nodes) >= 9:
        return
    asked = t.any_node()
    if asked is None:
        return
    number = next(world.numbers)
    added: list[tuple[int, Configuration]] = []
    stays_learner = t.rng.random() < 0.4

    async def add(member: Member) -> None:
        info = await member.add_member(f"m{number}", [f"10.0.0.{number}:7071"], learner=True)
        added.append((info.id, member.core.configuration))

    world.say(f"m{number} is to join")
    if not await _asked(t, asked, add):
        # Perhaps it was added all the same: a member without a machine, which has no vote.
        world.say(f"nobody knows whether m{number} was added")
        return
    ((id_, known),) = added
    learning = Configuration(known.voters, known.outgoing, known.learners | {id_}, known.context)
    node = world.add_node(number, id_, learning)
    node.boot()
    if stays_learner:
        return
    for _ in range(20):
        await t.wait(1.0)
        asked = t.any_node()
        if asked is not None and await _asked(t, asked, lambda member: member.promote_member(node.id)):
            world.say(f"{node.name} has its vote")
            return


async def _reconfigure(t: Turbulence) -> None:
    """Other voters, any number of them at once: nothing but joint consensus makes that safe."""
    leader = t.world.leader()
    if leader is None or leader.member is None:
        return
    core = leader.member.core
    known = [node.id for node in t.world.nodes.values() if node.up and node.id in core.configuration.everyone]
    if len(known) < 3:
        return
    voters = frozenset(t.rng.sample(known, t.rng.randint(2, len(known))))

    async def change(member: Member) -> None:
        def begin(core: RaftCore) -> None:
            now = core.configuration
            core.change(voters, now.everyone - voters, now.context)

        await member._driver.request(begin)

    t.world.say(f"voters are to be {' '.join(f'{each:x}'[:2] for each in sorted(voters))}")
    await _asked(t, leader, change)
    if t.rng.random() < 0.5:
        await _split(t)


async def _shrink(t: Turbulence) -> None:
    """A member is removed for good."""
    world, rng = t.world, t.rng
    members = [node for node in world.nodes.values() if node.id not in world.removed]
    asked = t.any_node()
    if len(members) <= 3 or asked is None:
        return
    node = rng.choice(members)
    world.say(f"{node.name} is to be removed")
    world.removed.add(node.id)
    world.unwanted.add(node.id)
    for _ in range(10):
        asked = t.any_node()
        if asked is not None and await _asked(t, asked, lambda member: member.remove_member(node.id)):
            break
        await t.wait(1.0)
    else:
        world.removed.discard(node.id)
        return
    await t.wait(2.0)
    node.kill()


_FAULTS: dict[str, tuple[Fault, float]] = {
    "kill": (_kill, 3.0),
    "kill all": (_kill_all, 0.4),
    "flap": (_flap, 1.0),
    "storm": (_storm, 1.0),
    "depose": (_depose, 1.5),
    "split": (_split, 1.0),
    "lose power midway": (_lose_power_midway, 2.0),
    "pause": (_pause, 2.0),
    "isolate": (_isolate, 2.0),
    "cut one way": (_cut_one_way, 1.0),
    "weather": (_weather, 2.0),
    "fill disk": (_fill_disk, 0.7),
    "no room for a snapshot": (_no_room_for_a_snapshot, 1.0),
    "fail sync": (_fail_sync, 0.7),
    "jump clock": (_jump_clock, 0.5),
    "move leader": (_move_leader, 0.7),
    "grow": (_grow, 0.8),
    "shrink": (_shrink, 0.6),
    "reconfigure": (_reconfigure, 1.0),
}


async def turbulence(world: World, seconds: float = TURBULENT_SECONDS, only: Sequence[str] = ()) -> None:
    """Faults for so many seconds; none but `only`, if any are named."""
    await asyncio.sleep(0.5)
    await Turbulence(world, seconds, only).run()
