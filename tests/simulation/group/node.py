"""A machine of the group's world: its disk, its clock, and the lives of the member on it."""

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.member import Member
from orchestra.cluster.settings import MemberSettings
from orchestra.storage.errors import DiskFull, StorageError
from tests.simulation.group.clients import Client, Watcher
from tests.simulation.group.disk import Disk
from tests.simulation.group.io import Io
from tests.simulation.group.network import SimTransport
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.group.world import World


class Node:
    """A machine with a disk, and the lives of the member on it."""

    def __init__(self, world: "World", number: int, bootstrap: Bootstrap) -> None:
        self.number = number
        self.id = bootstrap.member_id
        self.name = bootstrap.name
        self.bootstrap = bootstrap
        self.lives = 0
        self.process: Process | None = None
        self.member: Member | None = None
        # Of its last life: what it had on disk is on disk still.
        self.last: Member | None = None
        # Why that ended by itself.
        self.ended = ""
        self._world = world
        self._rng = world.chance(f"node {number}")
        self.disk_slowness = self._rng.choice((1, 1, 10, 40)) if world.slow_disks else 1
        self.disk = Disk(self._rng)

    @property
    def up(self) -> bool:
        """Whether it has a process."""
        return self.process is not None

    def boot(self) -> None:
        """Starts its next life."""
        assert self.process is None
        self.lives += 1
        self.ended = ""
        rate = self._rng.uniform(0.97, 1.03)
        process = self.process = self._world.timeline.process(f"{self.name}.{self.lives}", rate)
        self._world.say(f"{process.name} starts")
        process.start(self._live(process), "main")

    def kill(self, *, power: bool = False) -> None:
        """Its process is gone, in the middle of whatever it does; with `power` what was not synced too."""
        process, self.process, self.member = self.process, None, None
        if process is not None:
            self._world.say(f"{process.name} is killed{' with its power' if power else ''}")
            process.kill()
            self._world.network.detach(self.id)
            self.disk.crash(power=power)

    async def _open(self, process: Process, settings: MemberSettings | None = None) -> Member:
        """Opens its member. Raises: StorageError."""
        rng = self._rng
        return await Member.open(
            Path("/data"),
            self.name,
            clock=process.clock,
            disk=self.disk,
            start_io=lambda _: Io(process, rng, lambda: self.kill(power=True), self.disk_slowness),
            settings=settings or self._world.settings,
            bootstrap=self.bootstrap,
            transport=SimTransport(self._world.network, self.id, process),
            rng=random.Random(rng.getrandbits(64)),
        )

    def has_on_disk(self, index: int, term: int) -> bool:
        """Whether an entry is safe here."""
        member = self.last
        if member is None or member._directory.journal.last_index < index:
            return False
        return index < member.core.first_index or member.core.term_at(index) == term

    async def _live(self, process: Process) -> None:
        world, rng = self._world, self._rng
        try:
            member = await self._open(process)
        except StorageError as error:
            self._fails(process, error)
            return
        self.member = self.last = member
        world.say(f"{process.name} is open at {member.status().applied_index}")
        for number in range(world.clients_each):
            client = Client(
                world, f"{process.name}/{number}", member.store, random.Random(rng.getrandbits(64))
            )
            self._start(process, client.run(world.client_pause), f"client {number}")
        for watcher in world.watchers:
            if rng.random() < 0.6:
                self._start(process, self._watch(watcher, member), watcher.watched.name)
        try:
            await member.failed()
        except Exception as error:  # noqa: BLE001 - whatever it is, the member has said that it is its end
            if isinstance(error, DiskFull):
                world.broken.append(f"{process.name} did not wait for room on its disk: {error}")
            self._fails(process, error)

    def _start(self, process: Process, work: Coroutine[Any, Any, None], name: str) -> None:
        """Starts a task whose failure is a violation, at once."""

        def ended(task: asyncio.Task[None]) -> None:
            if process.alive and not task.cancelled() and (error := task.exception()) is not None:
                self._world.broken.append(f"{task.get_name()}: {type(error).__name__}: {error}")

        process.start(work, name).add_done_callback(ended)

    async def _watch(self, watcher: Watcher, member: Member) -> None:
        world, at = self._world, watcher.watched.name
        while not world.done:
            # One connection at a time; who it is left to depends on who comes first.
            if world.watching.get(at) is None:
                world.watching[at] = self.process
                await watcher.run(member.store)
                world.watching[at] = None
            await asyncio.sleep(0.05 + self._rng.random() * 0.2)

    def _fails(self, process: Process, error: BaseException) -> None:
        """The process says why and exits."""
        self._world.say(f"{process.name} ends: {error}")
        if not isinstance(error, StorageError) and not self._world.may_end(self):
            self._world.broken.append(f"{process.name} ended by {error!r}")
        self.kill()
        self.ended = str(error)
