"""A member at work: its parts put together, the store's way into the log, and the end."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from orchestra.base.clock import Clock
from orchestra.base.log import get_logger
from orchestra.cluster.applying import Applier
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.driver import Driver, MemberRemoved
from orchestra.cluster.duties import LeaderDuties
from orchestra.cluster.io import IoThread
from orchestra.cluster.leaderasks import LeaderAsks
from orchestra.cluster.leadership import MemberLeadership
from orchestra.cluster.links import Links
from orchestra.cluster.membership import Membership, decode
from orchestra.cluster.proposals import LIFE_BITS, Proposals
from orchestra.cluster.reads import Reads
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.snapshots import SnapshotTaker
from orchestra.cluster.tenure import Tenure
from orchestra.cluster.transport import Transport
from orchestra.mvcc.commands import Command
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.core import RaftCore
from orchestra.raft.encoding import decode_configuration
from orchestra.raft.model import Configuration, Entry, EntryKind, RaftSettings, Role, SnapshotMark
from orchestra.raft.state import Restored
from orchestra.storage.disk import Disk
from orchestra.storage.errors import StorageError
from orchestra.store.contract import StoreUnavailable
from orchestra.store.local import LocalStore

APPLY_BYTES_MAX = 256 * 1024
# A member that ends in order waits so long for others to take over what it does.
FAREWELL_SECONDS = 1.0

log = get_logger("cluster.member")


class RunningMember:
    """What goes on by itself once a data directory is open. `Member` opens it, and asks things of it."""

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
        """For `Member.open`, which makes what is needed."""
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
        self._seen: tuple[int, Role, int, bool] | None = None
        self._closed = False
        self._failure: asyncio.Future[BaseException] = self._loop.create_future()
        self._serving = asyncio.Event()
        timeout, resend = settings.propose_timeout_ms / 1000, settings.resend_ms / 1000
        tick = settings.tick_ms / 1000
        self._proposals = Proposals(own, rng.randrange(1 << LIFE_BITS), timeout, resend)
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
        self._restored_index = self.core.last_index
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
        self._duties = LeaderDuties(self._driver, settings, lambda: self._tenure, self.read_barrier)
        self._snapshots = SnapshotTaker(
            directory, settings, log_io, snapshot_io, self._driver.state, lambda _: None
        )
        self.leadership = MemberLeadership(self, self._ended, rng)
        self._loop_task = self._started(self._driver.run())
        self._snapshot_task = self._started(self._snapshots.run())
        transport.start(self._driver.receive, self._driver.lost, self._driver.restored)

    async def _respond(self, question: pb.Ask) -> pb.Answer:
        return await self._duties.respond(question)

    def _started(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(self._ended)
        return task

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
    def is_alone(self) -> bool:
        """Whether nobody else has a vote: then what is safe here is all that was ever answered."""
        return self.core.configuration.all_voters == {self._id}

    @property
    def leader(self) -> int:
        """The leading member, 0 while there is none that this one knows of."""
        leader = self.core.leader
        return 0 if leader == self._id and self._is_mute else leader

    @property
    def leader_name(self) -> str:
        """Its name; "" when it is not known, or is this one's and it cannot lead for want of room."""
        leader = self.core.leader
        if leader == self._id:
            return "" if self._is_mute else self.name
        return next((member.name for member in self.membership() if member.id == leader), "")

    @property
    def leading_term(self) -> int:
        """The term that this member leads, with all before it applied; 0: it does not."""
        return self._tenure.term if self._tenure is not None and not self._is_mute else 0

    @property
    def _is_mute(self) -> bool:
        """Whether it waits for room on its disk, silent to the others: another one leads by now, or could,
        and to stay the masters' leader would keep the agents from that one.
        """
        return self._driver.is_full and not self.is_alone

    def membership(self) -> Membership:
        """Who belongs to the cluster, as far as this member knows."""
        return decode(self.core.configuration)

    async def failed(self) -> None:
        """Waits until the member cannot go on, and raises why: StorageError, MemberRemoved."""
        raise await asyncio.shield(self._failure)

    # The store's way into the log.

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        """Answers when the command is safe and applied. Raises: Refused, StoreUnavailable, NoSpace."""
        answer = self._proposals.add(command, decoded)
        self._driver.proposed()
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
        if self._has_applied_all():
            return
        answer = self._reads.add()
        self._driver.wake()
        self._expire()
        await answer

    def _has_applied_all(self) -> bool:
        """Whether what is applied here is all that was ever answered: nobody else answers, not even a learner
        (it may apply a write before this member does), since an entry that is applied.
        """
        core, applied = self.core, self.machine.applied_index
        configuration = core.configuration
        return (
            len(configuration.voters) == 1
            and self._id in configuration.voters
            and not configuration.outgoing
            and not configuration.learners
            and applied >= self._restored_index
            and core.configuration_at(applied) is configuration
        )

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

    # The driver's news.

    def noticed(self) -> None:
        """See Duties."""
        core = self.core
        if self._driver.is_full and not self._serving.is_set():
            self._serving.set()
        seen = core.term, core.role, core.leader, self._driver.is_full
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
        self._duties.noticed()
        self.leadership.look()

    def applied(self, entries: Sequence[Entry]) -> None:
        """See Duties."""
        core = self.core
        if self._tenure is None and core.role is Role.LEADER and self._applier.term == core.term:
            self._tenure = Tenure(
                core.term,
                self.machine,
                self._clock,
                self._proposals,
                self._driver.wake,
                self._ended,
                self._rng,
            )
            self._serving.set()
            self.leadership.stir()
        self._duties.noticed()
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
                    await self._duties.gave_away()
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
            append_bytes_max=settings.append_bytes_max,
            inflight_max=settings.inflight_max,
        ),
        Restored(hard_state, mark, entries, mark.index),
        rng,
    )
