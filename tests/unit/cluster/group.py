"""Groups of members in one process, on real disks: for tests."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from orchestra.base.clock import Clock
from orchestra.cluster.bootstrap import Bootstrap, together
from orchestra.cluster.member import Member
from orchestra.cluster.membership import encode
from orchestra.cluster.settings import MemberSettings
from orchestra.raft.model import Configuration, Role
from orchestra.storage.disk import Disk
from tests.unit.cluster.links import Network

WAIT_SECONDS = 10
SETTINGS = MemberSettings(tick_ms=10, resend_ms=60, propose_timeout_ms=8000)
# Elects as soon as it can: where nothing is to happen to the leader.
QUICK = MemberSettings(tick_ms=10, election_ticks=3, heartbeat_ticks=1)


def address(name: str) -> str:
    return f"10.0.0.{name.removeprefix('m')}:7071"


async def until(holds: Callable[[], object]) -> None:
    """Waits until something holds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():  # noqa: ASYNC110 - many things, each without an event of its own
            await asyncio.sleep(0.005)


class Group:
    """Members m1, m2 … of one cluster."""

    def __init__(self, path: Path, size: int = 3, settings: MemberSettings = SETTINGS) -> None:
        self.path = path
        self.settings = settings
        self.network = Network()
        self.names = [f"m{number}" for number in range(1, size + 1)]
        self.members: dict[str, Member] = {}
        self.disks: dict[str, Disk] = {}
        self.clocks: dict[str, Clock] = {}
        self.bootstraps: dict[str, Bootstrap] = {}

    def bootstrap(self, name: str) -> Bootstrap:
        return together({name: [address(name)] for name in self.names}, name)

    async def __aenter__(self) -> "Group":
        await asyncio.gather(*(self.start(name, self.bootstrap(name)) for name in self.names))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.network.heal()
        for name in list(self.members):
            await self.kill(name)

    async def start(self, name: str, bootstrap: Bootstrap | None = None) -> Member:
        """Starts a member; one that has run before needs no bootstrap."""
        if bootstrap is not None:
            self.bootstraps[name] = bootstrap
        bootstrap = self.bootstraps[name]
        member = await Member.open(
            self.path / name,
            name,
            clock=self.clocks.get(name),
            disk=self.disks.get(name),
            settings=self.settings,
            bootstrap=bootstrap,
            transport=self.network.end(bootstrap.member_id),
        )
        self.members[name] = member
        return member

    async def stop(self, name: str) -> None:
        """In order: what it leads is handed over."""
        await self.members.pop(name).close()

    async def kill(self, name: str) -> None:
        """It is gone from one moment to the next, as the others see it."""
        member = self.members.pop(name)
        self.network.ends[id_of(member)].break_off()
        await member.close()

    async def leader(self) -> Member:
        """Whoever leads now and can do anything a leader can; waits for it."""
        await until(self._leaders)
        return self._leaders()[0]

    def _leaders(self) -> list[Member]:
        led = [
            each
            for each in self.members.values()
            if each.leading_term and id_of(each) not in self.network.cut
        ]
        newest = max((each.leading_term for each in led), default=0)
        return [each for each in led if each.leading_term == newest]

    async def followers(self) -> list[Member]:
        leader = await self.leader()
        await until(lambda: all(each.leader == leader.leader for each in self.members.values()))
        return [each for each in self.members.values() if each is not leader]

    async def equal(self) -> None:
        """Waits until all have applied the same."""
        await until(lambda: len({each.machine.applied_index for each in self.members.values()}) == 1)

    async def join(self, name: str, *, learner: bool = True) -> Member:
        """Adds a member and starts it."""
        leader = await self.leader()
        info = await leader.add_member(name, [address(name)], learner)
        configuration = Configuration(frozenset(), context=encode(leader.membership()))
        return await self.start(name, Bootstrap(leader.cluster_id, info.id, name, configuration))


def id_of(member: Member) -> int:
    return int(member.member_id, 16)


def leads(member: Member) -> bool:
    return member.status().role is Role.LEADER
