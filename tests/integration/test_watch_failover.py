"""A watch goes on at another master, also at one that is behind: nothing twice, nothing left out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestra.apiserver.cluster_info import MasterInfo
from orchestra.apiserver.server import ApiServer
from orchestra.base.clock import SystemClock
from orchestra.base.errors import Unavailable
from orchestra.client import Client
from orchestra.mvcc.commands import Command
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.pb import core, meta
from orchestra.store.contract import StoreUnavailable
from orchestra.store.local import LocalStore
from orchestra.store.objects import ObjectStore

SECONDS = 10


class Log:
    """What the members have agreed on."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.leads = True
        self.grown = asyncio.Event()


class Member:
    """A member that applies the log only as far as it is let, and a master on it."""

    def __init__(self, name: str, log: Log) -> None:
        self.log = log
        self.machine = Machine()
        self.store = LocalStore(self.machine, self)
        self.objects = ObjectStore(self.store, clock=SystemClock())
        self.server = ApiServer(self.objects, MasterInfo(name))
        self.caught_up = asyncio.Event()
        self.asked = asyncio.Event()
        self.address = ""

    def apply(self, count: int | None = None) -> None:
        for command in self.log.commands[self.machine.applied_index : count]:
            self.machine.apply(self.machine.applied_index + 1, command)
        self.store.applied()
        if self.machine.applied_index == len(self.log.commands):
            self.caught_up.set()

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        self.log.commands.append(command)
        result = self.machine.apply(len(self.log.commands), command)
        self.store.applied()
        return result

    async def read_barrier(self) -> None:
        self.asked.set()
        if not self.log.leads:
            raise StoreUnavailable("there is no leader")
        if self.machine.applied_index < len(self.log.commands):
            self.caught_up.clear()
            await self.caught_up.wait()

    async def keep_alive(self, lease: int) -> int:
        raise StoreUnavailable("no leases here")


@asynccontextmanager
async def members() -> AsyncIterator[tuple[Member, Member]]:
    log = Log()
    leader, behind = Member("m1", log), Member("m2", log)
    await leader.objects.ensure_namespaces()
    for member in (leader, behind):
        member.address = f"127.0.0.1:{await member.server.start('127.0.0.1:0')}"
    behind.apply()
    try:
        yield leader, behind
    finally:
        for member in (leader, behind):
            await member.server.stop(0)


def pod(name: str) -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.containers.add(name="main", command=["true"])
    return made


async def test_a_watch_goes_on_at_a_master_that_is_behind() -> None:
    async with (
        asyncio.timeout(SECONDS),
        members() as (leader, behind),
        Client(leader.address) as writer,
        Client(f"{leader.address},{behind.address}") as client,
    ):
        watch = client.watch("pods", "default")
        seen = []
        for number in range(5):
            await writer.create(pod(f"before-{number}"))
            seen.append((await anext(watch)).obj.metadata.name)
        following = asyncio.create_task(anext(watch))
        # The other one knows of two of the five that the watch has told of.
        behind.apply(behind.machine.applied_index + 2)
        behind.asked.clear()
        await leader.server.stop(0)
        await behind.asked.wait()
        assert not following.done()
        # The leader that comes next has more in its log than anyone was told of.
        await leader.objects.create(pod("after-0"))
        behind.log.leads = False
        behind.apply()
        behind.log.leads = True
        await behind.objects.create(pod("after-1"))
        seen.append((await following).obj.metadata.name)
        seen.append((await anext(watch)).obj.metadata.name)
        watch.close()
        assert seen == [*(f"before-{number}" for number in range(5)), "after-0", "after-1"]


async def test_reads_without_a_leader_are_made_again_until_there_is_one() -> None:
    async with (
        asyncio.timeout(SECONDS),
        members() as (leader, behind),
        Client(f"{leader.address},{behind.address}", retry_seconds=0.01) as client,
    ):
        leader.log.leads = False
        reading = asyncio.create_task(client.get("namespaces", "", "default"))
        for _ in range(2):
            leader.asked.clear()
            behind.asked.clear()
            await leader.asked.wait()
            await behind.asked.wait()
        leader.log.leads = True
        assert (await reading).metadata.name == "default"
        leader.log.leads = False
        async with Client(leader.address, retry_seconds=0.01) as impatient:
            with pytest.raises(Unavailable, match="there is no leader") as caught:
                await impatient.get("namespaces", "", "default")
            assert caught.value.retry_after_ms == 200
