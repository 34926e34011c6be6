"""The loop that drives the core: persist, sync, send, apply, advance.

One task owns it all: what comes from outside (messages, ticks, proposals, reads, requests) waits until the
loop takes it in.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger
from orchestra.cluster.applying import SLICE_ENTRIES, Applier
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.forwarding import Forwarding
from orchestra.cluster.gathering import Gathering
from orchestra.cluster.incoming import IncomingSnapshot
from orchestra.cluster.io import IoThread
from orchestra.cluster.leaderasks import LeaderAsks
from orchestra.cluster.links import Links
from orchestra.cluster.messages import Answer, Ask, PeerMessage, Propose, ProposeRefused
from orchestra.cluster.proposals import Proposals, stamp_of
from orchestra.cluster.reads import Reads
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.ticking import Ticking
from orchestra.cluster.trimming import Trimming
from orchestra.cluster.wakeup import Wakeup
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.snapshot import snapshot
from orchestra.raft.core import RaftCore
from orchestra.raft.model import Configuration, Entry, EntryKind, Ready, Role, SnapshotMark
from orchestra.storage.errors import DiskFull
from orchestra.store.contract import NoSpace

INBOX_MAX = 16384

T = TypeVar("T")
log = get_logger("cluster.driver")


class MemberRemoved(OrchestraError):
    """The member does not belong to the cluster any more."""


class Duties(Protocol):
    """What the member does when the driver has come somewhere."""

    def noticed(self) -> None:
        """Role, term, leader or configuration may be others than before."""
        ...

    def applied(self, entries: Sequence[Entry]) -> None:
        """They are in the machine."""
        ...

    def installed(self, mark: SnapshotMark) -> None:
        """A snapshot is, in place of all before it."""
        ...


class Driver:
    """`run` it in one task; everything else may be called at any time."""

    def __init__(
        self,
        directory: DataDirectory,
        core: RaftCore,
        applier: Applier,
        proposals: Proposals,
        reads: Reads,
        asks: LeaderAsks,
        links: Links,
        settings: MemberSettings,
        log_io: IoThread,
        duties: Duties,
    ) -> None:
        self.core = core
        self._directory = directory
        self._applier = applier
        self._proposals = proposals
        self._reads = reads
        self._asks = asks
        self._links = links
        self._settings = settings
        self._log_io = log_io
        self._duties = duties
        self._loop = asyncio.get_running_loop()
        self._forwarding = Forwarding(core, proposals, links.send, lambda: applier.term)
        self._incoming = IncomingSnapshot(directory, log_io)
        self._trimming = Trimming(applier.machine.applied_index, settings)
        self._wakeup = Wakeup()
        self._gathering = Gathering(self._wakeup.wake)
        self._ticking = Ticking(settings.tick_ms / 1000, self._wakeup.wake)
        self._inbox: list[PeerMessage] = []
        self._requests: list[Callable[[], None]] = []
        self._stopping = asyncio.Event()
        # It was in a configuration of the log, not only in the one it was made with.
        self._belonged = directory.mark.index > 0 and core.node in directory.mark.configuration.everyone
        self._stands = False
        self.is_full = False

    async def run(self) -> None:
        """Until `stop`. Raises: StorageError, MemberRemoved."""
        core, links = self.core, self._links
        self._take_in()
        while not self._stopping.is_set():
            while (ready := core.ready()) is not None:
                links.send(ready.send_now)
                if ready.chunks:
                    ready = await self._take_pieces(ready)
                if await self._persist(ready):
                    links.send(ready.send_after_sync)
                    self._gathering.seen(len(self._proposals))
                    await self._apply(ready)
                    core.advance(ready)
                    self._follow(ready)
                if self._stopping.is_set():
                    break
                self._take_in()
            else:
                if not self._stands:
                    # Once all that it has is applied, for which it needs no disk.
                    self._stands = True
                    if core.configuration.all_voters == {core.node}:
                        core.campaign()
                        continue
                await self._wakeup.wait()
                self._take_in()

    def wake(self) -> None:
        """There is something to take in."""
        self._wakeup.wake()

    def proposed(self) -> None:
        """There is one proposal more to take in."""
        if self._proposals.unsent >= self._gathering.wanted:
            self._wakeup.wake()

    def stop(self) -> None:
        """Ends `run` soon."""
        self._stopping.set()
        self._gathering.end()
        self._ticking.stop()
        self._wakeup.wake()

    def abort(self) -> None:
        """Leaves no half snapshot behind. Blocks; after the end."""
        self._incoming.abort()

    # What comes from outside.

    def receive(self, messages: Sequence[PeerMessage]) -> None:
        """From the transport. Bound: INBOX_MAX; what is more is lost, which Raft makes good."""
        if len(self._inbox) < INBOX_MAX:
            self._inbox.extend(messages)
            self._wakeup.wake()

    def lost(self, peer: int) -> None:
        """The way to or from a peer has closed."""
        self._requests.append(partial(self._lost, peer))
        self._wakeup.wake()

    def _lost(self, peer: int) -> None:
        self.core.suspect(peer)
        self.core.unreachable(peer)

    def restored(self, peer: int) -> None:
        """It is open again: what may have been under way is sent again."""
        self._requests.append(partial(self._restored, peer))
        self._wakeup.wake()

    def _restored(self, peer: int) -> None:
        self.core.reachable(peer)
        if peer == self.core.leader:
            self._forwarding.resend(self._loop.time())
            self._asks.leader_is(peer)

    async def request(self, do: Callable[[RaftCore], T]) -> T:
        """Has the loop do something with the core. Raises: whatever it raises."""
        done: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            if done.done():
                return
            try:
                done.set_result(do(self.core))
            except OrchestraError as error:
                done.set_exception(error)

        self._requests.append(work)
        self._wakeup.wake()
        return await done

    def _take_in(self) -> None:
        core = self.core
        # Before the tick counts: after a pause the leader's words are here already.
        inbox, self._inbox = self._inbox, []
        for message in inbox:
            kind = type(message)
            if kind is Propose:
                self._forwarding.take(message)  # type: ignore[arg-type]
            elif kind is ProposeRefused:
                self._proposals.busy(message.sequences, self._loop.time())  # type: ignore[union-attr]
            elif kind is Ask:
                self._asks.asked(message)  # type: ignore[arg-type]
            elif kind is Answer:
                self._asks.answered(message.answer)  # type: ignore[union-attr]
            else:
                core.step(message)  # type: ignore[arg-type]
        if self._ticking.due:
            self._ticking.due = False
            core.tick()
            self._links.tick()
            self._reads.ask_again(core)
            self._forwarding.resend(self._loop.time() - self._settings.resend_ms / 1000)
        if self._requests:
            requests, self._requests = self._requests, []
            for request in requests:
                request()
        self._notice()
        if self._proposals.unsent:
            self._hand_over()
        if self._reads.to_ask:
            self._reads.ask(core)

    def _hand_over(self) -> None:
        proposals = self._proposals
        if self.core.role is not Role.LEADER:
            # The leader gathers.
            self._gathering.end()
        elif self._gathering.holds(proposals.unsent, len(proposals), proposals.waiting_bytes):
            return
        self._forwarding.hand_over()

    def _notice(self) -> None:
        core = self.core
        self._links.follow(core.configuration)
        self._duties.noticed()
        self._ticking.run(not (core.role is Role.LEADER and core.configuration.everyone == {core.node}))

    # The five.

    async def _persist(self, ready: Ready) -> bool:
        """Makes it durable. False: it was taken back instead, for want of space."""
        if ready.entries or (ready.install is None and ready.hard_state is not None):
            return await self._write(ready)
        return True

    async def _take_pieces(self, ready: Ready) -> Ready:
        """Keeps the pieces of a snapshot; puts it in place once it is whole. What is left to be done."""
        try:
            await self._incoming.take(ready.chunks)
            if ready.install is None:
                return ready
            machine = await self._incoming.install(ready.install, ready.hard_state)
        except DiskFull as error:
            log.warning("there is no room for the leader's snapshot: it is to send it again later", why=error)
            await self._log_io.run(self._incoming.abort)
            return self.core.abandon_incoming()
        self._applier.replace(machine, ready.install)
        self._trimming.jumped(ready.install.index)
        self._belonged = self._belonged or self.core.node in ready.install.configuration.everyone
        self._duties.installed(ready.install)
        return ready

    async def _write(self, ready: Ready) -> bool:
        journal = self._directory.journal
        while True:
            try:
                await self._log_io.run(
                    lambda: journal.append(ready.hard_state, ready.entries, ready.must_sync)
                )
            except DiskFull as error:
                if self.core.discard_unpersisted():
                    self._refuse(ready.entries, error)
                    return False
                self._set_full(error)
                try:
                    async with asyncio.timeout(self._settings.retry_full_ms / 1000):
                        await self._stopping.wait()
                    return False
                except TimeoutError:
                    continue
            if self.is_full:
                self.is_full = False
                self._proposals.full(None)
                log.info("there is room on the disk again")
                self._duties.noticed()
            return True

    def _refuse(self, entries: Sequence[Entry], error: DiskFull) -> None:
        sequences = [
            stamp_of(entry.data)[1] for entry in entries if entry.kind is EntryKind.NORMAL and entry.data
        ]
        self._proposals.refused(sequences, NoSpace(str(error)))

    def _set_full(self, error: DiskFull) -> None:
        """Nothing can be written, nor taken back. The loop waits for room, and is silent meanwhile: so
        another member is elected.
        """
        self._proposals.full(str(error))
        if not self.is_full:
            self.is_full = True
            log.error("the log cannot be written until there is room", why=error)
            self._duties.noticed()

    async def _apply(self, ready: Ready) -> None:
        entries = ready.committed
        for at in range(0, len(entries), SLICE_ENTRIES):
            if at:
                await asyncio.sleep(0)
            part = entries[at : at + SLICE_ENTRIES]
            self._applier.apply(part)
            self._reads.applied(part[-1].index)
        if entries:
            self._trimming.applied(entries)
            self._duties.applied(entries)

    def _follow(self, ready: Ready) -> None:
        """What is to be done once it is all done."""
        if ready.reads:
            self._reads.answered(ready.reads, self._applier.machine.applied_index)
        for node in ready.snapshots_wanted:
            mark, machine = self.state()
            self.core.offer_snapshot(node, mark, snapshot(machine))
        if ready.committed:
            for entry in ready.committed:
                if entry.kind is EntryKind.CONFIGURATION:
                    self._check_belonging(self.core.configuration_at(entry.index))
            forget = self._trimming.due(self._needed())
            if forget:
                self.core.compact(forget)

    def _needed(self) -> int | None:
        core = self.core
        if core.configuration.everyone == {core.node}:
            return None
        return min((each.match for each in core.progress()), default=core.applied)

    def _check_belonging(self, configuration: Configuration) -> None:
        if self.core.node in configuration.everyone:
            self._belonged = True
        elif self._belonged:
            raise MemberRemoved(
                f"member {self._directory.identity.name!r} has been removed from the cluster: its data "
                f"directory ({self._directory.path}) is of no more use. To have it back, move that away and "
                "add it as a new member"
            )

    def state(self) -> tuple[SnapshotMark, Machine]:
        """What has been applied, and what it stands for."""
        machine = self._applier.machine
        index = machine.applied_index
        return SnapshotMark(index, self._applier.term, self.core.configuration_at(index)), machine
