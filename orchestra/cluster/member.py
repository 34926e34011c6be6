"""One member on its own log.

    collect what was proposed → persist and sync → apply → answer

A write is answered when it is safe, and seen by readers when it is applied, in the order of the log.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestra.base.clock import Clock, SystemClock
from orchestra.base.log import get_logger
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.io import IoThread, SystemIoThread
from orchestra.cluster.proposals import Proposal, Proposals
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.snapshots import SnapshotTaker
from orchestra.mvcc.commands import Command, Compact, LeaseRevoke, decode, encode
from orchestra.mvcc.errors import Refused
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import CommandResult
from orchestra.mvcc.retention import plan_compaction
from orchestra.storage.disk import Disk, SystemDisk
from orchestra.storage.errors import DiskFull, StorageError
from orchestra.store.contract import NoSpace, Store, StoreUnavailable
from orchestra.store.leases import LeaseOwner
from orchestra.store.local import LocalStore

log = get_logger("cluster.member")


class Member:
    """A running member. `async with await Member.open(data_dir) as member: member.store`."""

    def __init__(
        self,
        directory: DataDirectory,
        disk: Disk,
        clock: Clock,
        settings: MemberSettings,
        log_io: IoThread,
        snapshot_io: IoThread,
    ) -> None:
        """For `open`, which makes what is needed."""
        self._directory = directory
        self._machine = directory.machine
        self._disk = disk
        self._settings = settings
        self._log_io = log_io
        self._snapshot_io = snapshot_io
        self._proposals = Proposals()
        self._store = LocalStore(self._machine, self)
        self._leases = LeaseOwner(self._machine, clock, self.propose)
        self._snapshots = SnapshotTaker(directory, settings, log_io, snapshot_io)
        self._compacting = False
        self._closed = False
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._log_task = self._started(self._run())
        self._lease_task = self._started(self._leases.run())
        self._snapshot_task = self._started(self._snapshots.run())

    def _started(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

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
    ) -> Self:
        """Opens the data directory, brings the machine up to its last record, and starts.

        Raises: StorageError, a sentence that says which file and what to do.
        """
        disk = disk or SystemDisk()
        settings = settings or MemberSettings()
        path = Path(data_dir)
        log_io = start_io("member-log")
        opened: list[DataDirectory] = []
        try:
            await log_io.run(
                lambda: opened.append(DataDirectory.open(disk, path, name, settings.segment_bytes))
            )
        except BaseException:
            log_io.close()
            # Whoever stopped waiting for it must not leave it locked.
            for directory in opened:
                directory.close()
            raise
        (directory,) = opened
        log.info(
            "opened the store",
            path=path,
            revision=directory.machine.revision,
            keys=len(directory.machine),
            snapshot=directory.snapshot_index,
            replayed=directory.replayed_entries,
        )
        return cls(directory, disk, clock or SystemClock(), settings, log_io, start_io("member-snapshots"))

    @property
    def store(self) -> Store:
        """The store of this member."""
        return self._store

    @property
    def name(self) -> str:
        """The name the data directory was made with."""
        return self._directory.identity.name

    @property
    def member_id(self) -> str:
        """16 hexadecimal digits, this member's for ever."""
        return self._directory.identity.member_id

    @property
    def cluster_id(self) -> str:
        """32 hexadecimal digits, the same for all members for ever."""
        return self._directory.identity.cluster_id

    @property
    def disk_bytes_written(self) -> int:
        """Bytes written to disk since the opening."""
        return self._disk.bytes_written

    async def failed(self) -> None:
        """Waits until the member cannot go on, and raises why (StorageError, when it is the disk)."""
        raise await asyncio.shield(self._failure)

    # The loop.

    async def _run(self) -> None:
        while batch := await self._proposals.take():
            try:
                if await self._persist(batch):
                    self._apply(batch)
                    self._bound()
            except BaseException as error:
                for proposal in batch:
                    proposal.failed(StoreUnavailable(f"whether the write is kept is not known: {error}"))
                raise

    async def _persist(self, batch: Sequence[Proposal]) -> bool:
        """Writes and syncs the batch. When the disk is full all of it is refused, and it is False."""
        commands = [proposal.command for proposal in batch]
        try:
            await self._log_io.run(lambda: self._directory.wal.append(commands))
        except DiskFull as error:
            for proposal in batch:
                proposal.failed(NoSpace(str(error)))
            return False
        return True

    def _apply(self, batch: Sequence[Proposal]) -> None:
        machine = self._machine
        for proposal in batch:
            command = proposal.decoded or decode(proposal.command)
            if type(command) is Compact:
                # Watches are told of what happened before any of it is forgotten.
                self._store.applied()
            try:
                result = machine.apply(machine.applied_index + 1, command)
            except Refused as refusal:
                proposal.failed(refusal)
                continue
            if type(result) is Lease:
                self._leases.granted(result)
            elif type(command) is LeaseRevoke:
                self._leases.revoked(command.lease)
            proposal.done(result)
        self._store.applied()

    def _bound(self) -> None:
        """Starts what keeps history and log from growing without bound, when this write made it due."""
        compaction = None if self._compacting else plan_compaction(self._machine, self._settings.retention)
        if compaction is not None:
            try:
                self._proposals.add(encode(compaction)).add_done_callback(self._compacted)
            except StoreUnavailable:
                return
            self._compacting = True
        self._snapshots.consider()

    def _compacted(self, answer: asyncio.Future[CommandResult]) -> None:
        self._compacting = False
        if not answer.cancelled() and (error := answer.exception()) is not None:
            log.debug("a compaction came to nothing", cause=error)

    # The store's way into the log.

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        """Answers when the command is safe and applied. Raises: Refused, StoreUnavailable, NoSpace."""
        return await self._proposals.add(command, decoded)

    async def read_barrier(self) -> None:
        """Alone, what is applied here is all that was ever answered. Raises: StoreUnavailable."""
        self._proposals.check_open()

    async def keep_alive(self, lease: int) -> int:
        """Starts a lease's time anew. Raises: LeaseNotFound, StoreUnavailable."""
        self._proposals.check_open()
        return await self._leases.keep_alive(lease)

    # The end.

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of the member has ended: if by an error, so does the member."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._failure.done():
            self._failure.set_result(error)
            log.error(
                "the member cannot go on", cause=None if isinstance(error, StorageError) else error, why=error
            )
        reason = f"the store has failed: {error}"
        self._proposals.fail(reason)
        self._store.fail(reason)

    async def close(self) -> None:
        """Writes what waits, and stops. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failure.done():
                await self._leases.checkpoint()
        except StoreUnavailable as error:
            log.info("did not write down what is left of the leases", why=error)
        finally:
            self._proposals.close("the store is stopping")
            self._snapshots.stop()
            self._lease_task.cancel()
            await asyncio.wait((self._log_task, self._lease_task, self._snapshot_task))
            self._store.fail("the store has stopped")
            self._snapshot_io.close()
            await self._log_io.run(self._directory.close)
            self._log_io.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
