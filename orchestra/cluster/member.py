"""A member of the replicated store, alone or in a group.

    persist → sync → send → apply → advance        (driver.py)

A write is answered when a majority has it and it is applied here, and is seen by readers in the order of the
log.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestra.aio.backoff import Backoff
from orchestra.base.clock import Clock, SystemClock
from orchestra.base.log import get_logger
from orchestra.cluster.backup import backup_parts
from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.io import IoThread, SystemIoThread
from orchestra.cluster.membership import (
    ChangeUnderWay,
    MemberInfo,
    MemberNotFound,
    UnhealthyCluster,
    encode_member,
)
from orchestra.cluster.running import RunningMember
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.status import MemberStatus
from orchestra.cluster.transport import NoTransport, Transport
from orchestra.mvcc.snapshot import snapshot
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.storage.disk import Disk, SystemDisk
from orchestra.store.contract import StoreUnavailable

log = get_logger("cluster.member")


class Member(RunningMember):
    """A running member. `async with await Member.open(data_dir) as member: member.store`."""

    @classmethod
    async def open(
        cls,
        data_dir: Path | str,
        name: str = "m1",
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        start_io: Callable[[str], IoThread] = SystemIoThread,
        settings: MemberSettings | None = None,
        bootstrap: Bootstrap | None = None,
        transport: Transport | None = None,
        rng: random.Random | None = None,
    ) -> Self:
        """Opens the data directory, or makes it (bootstrap; None: of a cluster of one), and starts. A member
        that is alone serves on return.

        Raises: StorageError, a sentence that says which file and what to do.
        """
        disk = disk or SystemDisk()
        settings = settings or MemberSettings()
        path = Path(data_dir)
        log_io = start_io("member-log")
        opened: list[DataDirectory] = []
        try:
            await log_io.run(
                lambda: opened.append(DataDirectory.open(disk, path, name, settings.segment_bytes, bootstrap))
            )
        except BaseException:
            log_io.close()
            # Whoever stopped waiting for it must not leave it locked.
            for directory in opened:
                directory.close()
            raise
        (directory,) = opened
        member = cls(
            directory,
            disk,
            clock or SystemClock(),
            settings,
            log_io,
            start_io("member-snapshots"),
            transport or NoTransport(),
            rng or random.Random(),
        )
        if member.is_alone:
            await member._until_serving()
        log.info(
            "opened the store",
            path=path,
            revision=member.machine.revision,
            keys=len(member.machine),
            snapshot=directory.mark.index,
            log=len(directory.entries),
        )
        directory.entries.clear()
        return member

    async def _until_serving(self) -> None:
        serving = asyncio.ensure_future(self._serving.wait())
        try:
            await asyncio.wait((serving, self._failure), return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                raise self._failure.result()
        except BaseException:
            await self.close()
            raise
        finally:
            serving.cancel()

    # What it says of itself.

    @property
    def disk_bytes_written(self) -> int:
        """Bytes written to disk since the opening."""
        return self._disk.bytes_written

    @property
    def term(self) -> int:
        """Raft's term."""
        return self.core.term

    def active(self) -> Sequence[int] | None:
        """Whom the leader has heard of lately, itself included; None anywhere else."""
        if self._tenure is None:
            return None
        return (self._id, *(each.node for each in self.core.progress() if each.active))

    def status(self) -> MemberStatus:
        """How it stands."""
        core, directory = self.core, self._directory
        errors = [] if core.leader else ["etcdserver: no leader"]
        if self._driver.is_full:
            errors.append("no space left on the disk of the log")
        return MemberStatus(
            id=self._id,
            cluster=int(self.cluster_id[:16], 16),
            name=self.name,
            term=core.term,
            leader=core.leader,
            role=core.role,
            raft_index=core.commit,
            applied_index=self.machine.applied_index,
            is_learner=self._id in core.configuration.learners,
            errors=tuple(errors),
            state_bytes=directory.snapshot_bytes + self._store.machine.history.value_bytes,
        )

    # Members.

    async def add_member(self, name: str, peer_addresses: Sequence[str], learner: bool) -> MemberInfo:
        """The new member. Raises: MembershipRefused, StoreUnavailable."""
        id_ = self._rng.randrange(1, 1 << 63)
        said = pb.MemberInfo(id=id_, name=name, peer_addresses=peer_addresses)
        await self._asks.ask(pb.Ask(member_add=pb.MemberAdd(member=said, learner=learner)))
        return MemberInfo(id_, name, tuple(peer_addresses), is_learner=learner, is_voter=not learner)

    async def remove_member(self, id: int) -> None:
        """Raises: MembershipRefused, StoreUnavailable."""
        await self._asks.ask(pb.Ask(member_remove=id))

    async def update_member(self, info: MemberInfo) -> None:
        """Other words about a member. Raises: MembershipRefused, StoreUnavailable."""
        await self._asks.ask(pb.Ask(member_update=encode_member(info)))

    async def promote_member(self, id: int) -> None:
        """Gives a learner a vote. Raises: MembershipRefused, StoreUnavailable."""
        await self._asks.ask(pb.Ask(member_promote=id))

    async def move_leader(self, to: int = 0) -> None:
        """Has the leader hand over, to whoever is the most up to date or to one member. Raises: CannotLead,
        StoreUnavailable.
        """
        await self._asks.ask(pb.Ask(move_leader=to))

    async def publish(self, api_address: str, etcd_address: str) -> None:
        """Writes into the membership where this member serves; nothing if it says so already. Goes on until
        it is done. Raises: StoreUnavailable when the member ends.
        """
        self.api_address = api_address
        self.leadership.stir()
        backoff = Backoff(100, 2000, rng=self._rng)
        while True:
            own = next((each for each in self.membership() if each.id == self._id), None)
            wanted = replace(
                own or MemberInfo(self._id, self.name),
                name=self.name,
                api_address=api_address,
                etcd_address=etcd_address,
                started=True,
            )
            if own == wanted:
                return
            try:
                await self.update_member(wanted)
            except (StoreUnavailable, ChangeUnderWay, MemberNotFound, UnhealthyCluster) as error:
                self._proposals.check_open()
                log.debug("could not publish where this member serves", why=error)
                await asyncio.sleep(backoff.next_ms() / 1000)

    # Backups.

    async def snapshot_chunks(self) -> AsyncIterator[bytes]:
        """A backup file's bytes, part by part: the store as it is once all that was answered is applied.

        Raises: StoreUnavailable.
        """
        await self.read_barrier()
        mark, machine = self._driver.state()
        for part in backup_parts(self._directory.identity, mark, snapshot(machine)):
            yield part
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
