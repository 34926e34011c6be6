"""A member of the replicated store, alone or in a group.

    persist → sync → send → apply → advance        (driver.py)

A write is answered when a majority has it and it is applied here, and is seen by readers in the order of the log.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestra.aio.backoff import Backoff
from orchestra.base.clock import Clock, SystemClock
from orchestra.base.log import get_logger
from orchestra.cluster.applying import Applier
from orchestra.cluster.backup import backup_parts
from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.driver import Driver, MemberRemoved
from orchestra.cluster.duties import LeaderDuties
from orchestra.cluster.io import IoThread, SystemIoThread
from orchestra.cluster.leaderasks import LeaderAsks
from orchestra.cluster.leadership import MemberLeadership
from orchestra.cluster.links import Links
from orchestra.cluster.membership import (
    ChangeUnderWay,
    MemberInfo,
    MemberNotFound,
    Membership,
    UnhealthyCluster,
    decode,
    encode_member,
)
from orchestra.cluster.proposals import Proposals
from orchestra.cluster.reads import Reads
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.snapshots import SnapshotTaker
from orchestra.cluster.status import MemberStatus
from orchestra.cluster.tenure import Tenure
from orchestra.cluster.transport import NoTransport, Transport
from orchestra.mvcc.commands import Command
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.snapshot import snapshot
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.core import RaftCore
from orchestra.raft.encoding import decode_configuration
from orchestra.raft.errors import NotCaughtUp, NotLeader
from orchestra.raft.model import Configuration, Entry, EntryKind, RaftSettings, Role, SnapshotMark
from orchestra.raft.state import Restored
from orchestra.storage.disk import Disk, SystemDisk
from orchestra.storage.errors import StorageError
from orchestra.store.contract import StoreUnavailable
from orchestra.store.local import LocalStore

APPLY_BYTES_MAX = 256 * 1024
# A member that ends in order waits so long for others to take over what it does.
FAREWELL_SECONDS = 1.0

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
        transport: Transport,
        rng: random.Random,
    ) -> None:
        """For `open`, which makes what is needed."""
        self._loop = asyncio.get_running_loop()
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._settings = settings
        self._log_io = log_io
        self._snapshot_io = snapshot_io
        self._transport = transport
        self._rng = rng
        self._id = own = int(directory.identity.member_id, 16)
        self.api_address = ""
        self._tenure: Tenure | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._seen: tuple[int, Role, int] | None = None
        self._closed = False
        self._failure: asyncio.Future[BaseException] = self._loop.create_future()
        self._serving = asyncio.Event()
        timeout, resend = settings.propose_timeout_ms / 1000, settings.resend_ms / 1000
        tick = settings.tick_ms / 1000
        self._proposals = Proposals(own, rng.randrange(1 << 24), timeout, resend)
        self._reads = Reads(rng.randrange(1 << 48), timeout, 2 * settings.heartbeat_ticks * tick)
        self._links = Links(own, transport, 5 * settings.election_ticks * tick)
        self._asks = LeaderAsks(
            own,
            rng.randrange(1 << 62),
            self._respond,
            lambda message: self._links.send((message,)),
            timeout,
            resend,
        )
        self._store = LocalStore(directory.machine, self)
        self._applier = Applier(
            own, directory.machine, directory.mark, self._store, self._proposals, lambda: self._tenure
        )
        self.core = _core(directory, own, settings, rng)
        self._restored_index = self.core.commit
        self._driver = Driver(
            directory,
            self.core,
            self._applier,
            self._proposals,
            self._reads,
            self._asks,
            self._links,
            settings,
            log_io,
            self,
        )
        self._changes = LeaderDuties(self._driver, settings)
        self._snapshots = SnapshotTaker(
            directory, settings, log_io, snapshot_io, self._driver.state, lambda _: None
        )
        self.leadership = MemberLeadership(self, self._ended)
        self._loop_task = self._started(self._driver.run())
        self._snapshot_task = self._started(self._snapshots.run())
        if self.core.configuration.all_voters == {own}:
            self.core.campaign()
        transport.start(self._driver.receive, self._driver.lost, self._driver.restored)

    def _started(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
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

    # What it is.

    @property
    def store(self) -> LocalStore:
        """The store of this member."""
        return self._store

    @property
    def machine(self) -> Machine:
        """What has been applied here; not to be changed."""
        return self._applier.machine

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

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has a vote: then what is safe here is all that was ever answered."""
        return self.core.configuration.all_voters == {self._id}

    @property
    def term(self) -> int:
        """Raft's term."""
        return self.core.term

    @property
    def leader(self) -> int:
        """The leading member, 0 while there is none that this one knows of."""
        return self.core.leader

    @property
    def leader_name(self) -> str:
        """Its name; "" when it is not known."""
        leader = self.core.leader
        if leader == self._id:
            return self.name
        return next((member.name for member in self.membership() if member.id == leader), "")

    @property
    def leading_term(self) -> int:
        """The term that this member leads, with all before it applied; 0: it does not."""
        return self._tenure.term if self._tenure is not None else 0

    def active(self) -> Sequence[int] | None:
        """Whom the leader has heard of lately, itself included; None where that is not known: anywhere else."""
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

    def membership(self) -> Membership:
        """Who belongs to the cluster, as far as this member knows."""
        return decode(self.core.configuration)

    async def failed(self) -> None:
        """Waits until the member cannot go on, and raises why (StorageError, when it is the disk; MemberRemoved)."""
        raise await asyncio.shield(self._failure)

    # The store's way into the log.

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        """Answers when the command is safe and applied. Raises: Refused, StoreUnavailable, NoSpace."""
        answer = self._proposals.add(command, decoded)
        self._driver.wake()
        if self._expiry is None:
            self._expire()
        return await answer

    async def propose_once(self, command: bytes) -> CommandResult:
        """As the leader of the present term, or not at all. Raises: StoreUnavailable."""
        answer = self._proposals.add(command, once=True)
        self._driver.wake()
        self._expire()
        return await answer

    async def read_barrier(self) -> None:
        """Returns when all that was answered before is applied here. Raises: StoreUnavailable."""
        self._proposals.check_open()
        if self.is_alone and self.machine.applied_index >= self._restored_index:
            return
        answer = self._reads.add()
        self._driver.wake()
        self._expire()
        await answer

    async def keep_alive(self, lease: int) -> int:
        """Has the leader start a lease's time anew. Raises: LeaseNotFound, StoreUnavailable."""
        self._proposals.check_open()
        return (await self._asks.ask(pb.Ask(keep_alive=lease))).number

    async def lease_remaining(self, lease: int) -> int:
        """Seconds left of a lease by the leader's book. Raises: LeaseNotFound, StoreUnavailable."""
        self._proposals.check_open()
        return (await self._asks.ask(pb.Ask(remaining=lease))).number

    def _expire(self) -> None:
        """Ends the waiting of what has waited too long, and looks again when the next one will have."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        now = self._loop.time()
        self._proposals.expire(now)
        self._reads.expire(now)
        due = [
            each for each in (self._proposals.next_deadline, self._reads.next_deadline) if each is not None
        ]
        if due:
            # A timer may come a little early: not again at once, then.
            self._expiry = self._loop.call_at(max(min(due), now + 0.001), self._expire)

    # Members.

    async def add_member(self, name: str, peer_addresses: Sequence[str], learner: bool) -> MemberInfo:
        """The new member. Raises: MembershipRefused, StoreUnavailable."""
        id_ = self._rng.randrange(1, 1 << 63)
        said = pb.MemberInfo(id=id_, name=name, peer_addresses=peer_addresses)
        answer = await self._asks.ask(pb.Ask(member_add=pb.MemberAdd(member=said, learner=learner)))
        del answer
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
        """Writes into the membership where this member serves; nothing if it says so already. Goes on until it
        is done. Raises: StoreUnavailable when the member ends.
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

    async def _respond(self, question: pb.Ask) -> pb.Answer:
        """As the leader. Raises: NotLeader, refusals."""
        tenure = self._tenure
        if tenure is None:
            raise NotLeader(self.core.leader)
        changes = self._changes
        match question.WhichOneof("question"):
            case "keep_alive":
                seconds = await tenure.leases.keep_alive(question.keep_alive)
                # Only a leader that is one now may have said so: another could have ended the lease.
                await self.read_barrier()
                if self._tenure is not tenure:
                    raise NotLeader(self.core.leader)
                return pb.Answer(number=seconds)
            case "remaining":
                return pb.Answer(number=tenure.leases.remaining_seconds(question.remaining))
            case "member_add":
                return await changes.add(question.member_add)
            case "member_remove":
                if question.member_remove == self._id and await self._gave_away():
                    raise NotLeader(self.core.leader)
                return await changes.remove(question.member_remove)
            case "member_update":
                return await changes.update(question.member_update)
            case "member_promote":
                return await changes.promote(question.member_promote)
            case "move_leader":
                return await changes.hand_over(question.move_leader)
            case _:
                raise StoreUnavailable("a question that this version does not know")

    async def _gave_away(self) -> bool:
        """Whether somebody else leads now, having been asked to."""
        try:
            await self._driver.request(lambda core: core.transfer_leadership())
            await self._changes.not_leading()
        except (NotCaughtUp, NotLeader, StoreUnavailable):
            pass
        return self.core.role is not Role.LEADER

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

    # The driver's news.

    def noticed(self) -> None:
        """See Duties."""
        core = self.core
        if self._driver.is_full and not self._serving.is_set():
            self._serving.set()
        seen = core.term, core.role, core.leader
        if seen == self._seen:
            return
        before, self._seen = self._seen, seen
        leads = core.role is Role.LEADER
        tenure = self._tenure
        if tenure is not None and not (leads and core.term == tenure.term):
            self._tenure = None
            self._ending.add(tenure.end())
        if before is None or (before[0], before[1] is Role.LEADER) != (core.term, leads):
            self._proposals.leading(leads)
        if before is None or before[2] != core.leader:
            self._asks.leader_is(core.leader)
        self._changes.noticed()
        self.leadership.look()

    def applied(self, entries: Sequence[Entry]) -> None:
        """See Duties."""
        core = self.core
        if self._tenure is None and core.role is Role.LEADER and self._applier.term == core.term:
            self._tenure = Tenure(
                core.term, self.machine, self._clock, self._proposals, self._driver.wake, self._ended
            )
            self._serving.set()
            self.leadership.stir()
        self._changes.noticed()
        self.leadership.look()
        if self._tenure is not None:
            self._tenure.compact(self._settings.retention)
        self._snapshots.consider(self.machine.applied_index)

    def installed(self, mark: SnapshotMark) -> None:
        """See Duties."""
        self._reads.applied(mark.index)
        self._snapshots.installed(mark.index)
        self.leadership.look()

    # The end.

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of the member has ended: if by an error, so does the member."""
        self._ending.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._failure.done():
            self._failure.set_result(error)
            expected = isinstance(error, StorageError | MemberRemoved)
            log.error("the member cannot go on", cause=None if expected else error, why=error)
        reason = f"the store has failed: {error}"
        self._driver.stop()
        self._proposals.fail(reason)
        self._reads.fail(reason)
        self._asks.fail(reason)
        self._store.fail(reason)
        self.leadership.fail(reason)

    async def close(self) -> None:
        """Hands over what it leads, writes what waits, and stops. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failure.done():
                await self._take_leave()
        finally:
            await self._stop()

    async def _take_leave(self) -> None:
        patience = None if self.is_alone else FAREWELL_SECONDS
        try:
            async with asyncio.timeout(patience):
                if self._tenure is not None:
                    await self._tenure.leases.checkpoint()
                self._proposals.close("the store is stopping")
                if self._tenure is not None and not self.is_alone:
                    await self._gave_away()
                await self._proposals.drained()
        except StoreUnavailable as error:
            log.info("did not write down what is left of the leases", why=error)
        except TimeoutError:
            log.info("stops before all is done: there is no leader, or no majority")

    async def _stop(self) -> None:
        reason = "the store has stopped"
        self._driver.stop()
        self._snapshots.stop()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._tenure is not None:
            self._ending.add(self._tenure.end())
            self._tenure = None
        await self._asks.close(reason)
        await self.leadership.close(reason)
        await asyncio.wait((self._loop_task, self._snapshot_task, *self._ending))
        self._proposals.fail(reason)
        self._reads.fail(reason)
        self._store.fail(reason)
        await self._transport.close()
        self._snapshot_io.close()
        await self._log_io.run(self._driver.abort)
        await self._log_io.run(self._directory.close)
        self._log_io.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _core(directory: DataDirectory, own: int, settings: MemberSettings, rng: random.Random) -> RaftCore:
    """The core, with what the directory has. Whoever was alone all the time has decided all that it wrote."""
    hard_state, mark, entries = directory.hard_state, directory.mark, directory.entries
    configurations: list[Configuration] = [mark.configuration]
    configurations += [
        decode_configuration(each.data) for each in entries if each.kind is EntryKind.CONFIGURATION
    ]
    if entries and all(each.all_voters == {own} for each in configurations):
        hard_state = replace(hard_state, commit=entries[-1].index)
    return RaftCore(
        RaftSettings(
            own,
            election_ticks=settings.election_ticks,
            heartbeat_ticks=settings.heartbeat_ticks,
            apply_bytes_max=APPLY_BYTES_MAX,
        ),
        Restored(hard_state, mark, entries, mark.index),
        rng,
    )
