"""Raft as one object: messages and ticks in, Ready out. The rules are in the rooms around it."""

from collections.abc import Iterator, Sequence

from orchestra.raft import election, membership, output, reads, replication, snapshots, transfer
from orchestra.raft.errors import NotLeader, TooManyPending
from orchestra.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog
from orchestra.raft.model import (
    NOBODY,
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    FollowerProgress,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    Message,
    RaftSettings,
    ReadRequest,
    ReadResponse,
    Ready,
    Role,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from orchestra.raft.progress import Pace
from orchestra.raft.quorum import decided
from orchestra.raft.roles import become_follower, restart_timer
from orchestra.raft.state import Restored, Rng, State

_FROM_LEADER = (AppendRequest, Heartbeat, SnapshotChunk)


class RaftCore:
    """One member of a Raft group, without I/O.

    The driver's loop: `ready()`, do what it says in its order, `advance()`. Between the two it may step, tick
    and propose; there is one Ready at a time.
    """

    def __init__(self, settings: RaftSettings, restored: Restored, rng: Rng) -> None:
        """Begins as a follower, with what is on disk. Raises: ValueError, when that has a gap."""
        log = RaftLog(restored.hard_state, restored.mark, restored.entries, restored.applied)
        hard_state = restored.hard_state
        self._state = State(settings, rng, log, hard_state.term, hard_state.vote, hard_state)
        if log.last_term > hard_state.term:
            raise ValueError(
                f"the log has an entry of term {log.last_term}, the hard state is of {hard_state.term}"
            )
        if settings.lease_reads and hard_state.term:
            self._state.sworn_until = settings.election_ticks
        self._handed: Ready | None = None
        restart_timer(self._state)

    # What comes in.

    def step(self, message: Message) -> None:
        """Takes a message of another member. Late, repeated and overtaken ones do no harm.

        Raises: AssertionError, when a member has lost what it had acknowledged: nothing may go on then.
        """
        state = self._state
        if message.to != state.node:
            return
        if message.term > state.term:
            if not self._follow_newer_term(message):
                return
        elif message.term < state.term:
            self._answer_older_term(message)
            return
        self._dispatch(message)

    def _follow_newer_term(self, message: Message) -> bool:
        """A newer term ends the own role (paper §5.1). False: the message goes no further."""
        state = self._state
        if isinstance(message, VoteRequest):
            if not message.transfer and election.is_loyal(state):
                return False
            if not message.pre:
                become_follower(state, message.term, NOBODY, keep_timer=True)
        elif isinstance(message, VoteResponse) and message.pre and message.granted:
            # The term that was asked about: it has not begun.
            pass
        else:
            become_follower(state, message.term, message.frm if isinstance(message, _FROM_LEADER) else NOBODY)
        return True

    def _answer_older_term(self, message: Message) -> None:
        """Whoever is behind is told so: a deposed leader, or who cannot win in its term (thesis §9.6)."""
        state = self._state
        if isinstance(message, _FROM_LEADER):
            state.out.append(AppendResponse(state.node, message.frm, state.term, 0, refused=True))
        elif isinstance(message, VoteRequest):
            election.answer_vote(state, message, granted=False)
        elif isinstance(message, ReadRequest):
            state.out.append(ReadResponse(state.node, message.frm, state.term, message.id, 0))

    def _dispatch(self, message: Message) -> None:
        state = self._state
        match message:
            case AppendRequest() | Heartbeat() | SnapshotChunk():
                self._heard_from_leader(message.frm)
                if isinstance(message, AppendRequest):
                    replication.handle_append(state, message)
                elif isinstance(message, Heartbeat):
                    replication.handle_heartbeat(state, message)
                else:
                    snapshots.handle_chunk(state, message)
            case AppendResponse() if state.is_leader:
                replication.handle_append_response(state, message)
                if state.transferee == message.frm:
                    transfer.hand_over(state)
            case HeartbeatResponse() if state.is_leader:
                replication.handle_heartbeat_return(state, message)
                reads.handle_heartbeat_response(state, message)
                if state.transferee == message.frm:
                    transfer.hand_over(state)
            case SnapshotResponse() if state.is_leader:
                snapshots.handle_snapshot_response(state, message)
            case VoteRequest():
                election.handle_vote_request(state, message)
            case VoteResponse():
                election.handle_vote_response(state, message)
            case ReadRequest():
                reads.handle_read_request(state, message)
            case ReadResponse():
                reads.handle_read_response(state, message)
            case TimeoutNow():
                election.handle_timeout_now(state, message)
            case _:
                # Answers to a leader that this member is not any more.
                pass

    def _heard_from_leader(self, leader: int) -> None:
        state = self._state
        if state.is_leader:
            raise AssertionError(f"{leader:016x} leads term {state.term}, which this member leads")
        state.elapsed = 0
        if state.role is not Role.FOLLOWER or state.leader != leader or state.haste:
            state.haste = 0
            become_follower(state, state.term, leader)

    def tick(self) -> None:
        """Time has passed."""
        state = self._state
        state.now += 1
        if not state.is_leader:
            election.tick_election(state)
            reads.tick_reads(state)
            return
        state.elapsed += 1
        if state.elapsed >= state.settings.election_ticks:
            state.elapsed = 0
            if state.settings.check_quorum and not self._has_quorum():
                # A leader that cannot reach a majority does not keep others waiting (thesis §6.2).
                become_follower(state, state.term, NOBODY)
                return
        transfer.tick_transfer(state)
        snapshots.tick_snapshots(state)
        state.heartbeat_elapsed += 1
        if state.heartbeat_elapsed >= state.settings.heartbeat_ticks:
            reads.broadcast_heartbeat(state)

    def _has_quorum(self) -> bool:
        state = self._state
        heard = {node: progress.active for node, progress in state.followers.items()}
        heard[state.node] = True
        for progress in state.followers.values():
            progress.was_active, progress.active = progress.active, False
        return decided(state.log.configuration, heard) is True

    def propose(self, datas: Sequence[bytes]) -> int:
        """Appends commands to the leader's log, all or none. Returns the first one's index.

        Raises: NotLeader; TooManyPending: too much is not committed yet, or leadership is being handed over.
        """
        state = self._state
        if state.role is not Role.LEADER:
            raise NotLeader(state.leader)
        if state.transferee != NOBODY:
            raise TooManyPending("leadership is being handed over: try again in a moment")
        size = sum(map(len, datas)) + ENTRY_OVERHEAD_BYTES * len(datas)
        bound = state.settings.uncommitted_bytes_max
        if state.pending_bytes and state.pending_bytes + size > bound:
            raise TooManyPending(f"{state.pending_bytes} bytes wait to be committed: try again in a moment")
        state.pending_bytes += size
        first, term, kind = state.log.last_index + 1, state.term, EntryKind.NORMAL
        state.log.extend_normal([Entry(term, index, kind, data) for index, data in enumerate(datas, first)])
        return first

    def change(self, voters: frozenset[int], learners: frozenset[int], context: bytes) -> int:
        """Begins a change of who belongs to the cluster; done when a configuration that is not joint commits.

        Returns the index of its first entry. Raises: NotLeader, ChangePending, NotCaughtUp (a learner that is
        to vote and lags), ValueError.
        """
        return membership.change(self._state, voters, learners, context)

    def read(self, id: int) -> None:
        """Asks for the index from which a read sees everything acknowledged by now: see `Ready.reads`."""
        reads.request_read(self._state, id)

    def transfer_leadership(self, to: int = NOBODY) -> None:
        """Hands over to `to`, or to the most up to date. Raises: NotLeader, NotCaughtUp."""
        transfer.transfer(self._state, to)

    def campaign(self) -> None:
        """Stands for election now, if it may."""
        state = self._state
        if not state.is_leader and election.may_stand(state):
            election.campaign(state, pre=state.settings.pre_vote)

    def suspect(self, node: int) -> None:
        """The link from `node` broke. If it is the leader: stands soon, and lets others stand."""
        election.suspect(self._state, node)

    def unreachable(self, node: int) -> None:
        """The link to `node` broke: a leader sends no more into the void than it must."""
        progress = self._state.followers.get(node)
        if progress is not None and progress.pace is Pace.REPLICATE:
            progress.probe()

    def reachable(self, node: int) -> None:
        """The link to `node` is open again: a leader says at once that it lives."""
        state = self._state
        if state.is_leader and node in state.followers:
            reads.send_heartbeat(state, node)

    def offer_snapshot(self, node: int, mark: SnapshotMark, chunks: Iterator[bytes]) -> None:
        """Answers `Ready.snapshots_wanted`. Pieces are taken as they can be sent, within `ready()`.

        An OSError or OrchestraError of the iterator ends this sending; another one is wanted later.
        """
        snapshots.offer(self._state, node, mark, chunks)

    def snapshot_failed(self, node: int) -> None:
        """There is no snapshot to offer now; another one is wanted after an election timeout."""
        snapshots.failed(self._state, node)

    def abandon_incoming(self) -> Ready:
        """The pieces of a snapshot in the Ready under way could not be kept, or it could not be put in place,
        for want of space: what is to be done instead of that Ready. The leader sends it again later.
        """
        if self._handed is None:
            raise AssertionError("there is no Ready under way")
        self._handed = snapshots.abandon(self._state, self._handed)
        return self._handed

    def compact(self, index: int) -> None:
        """Forgets entries up to `index`; the driver has a snapshot at or after it.

        Raises: ValueError, when they are not applied.
        """
        self._state.log.compact(index)

    def discard_unpersisted(self) -> bool:
        """Instead of `advance`, when the entries of the Ready could not be written: takes them back.

        Only a cluster of this one member can: nobody else has seen them. False: it is not one, or they are
        what its term begins with; then the Ready is still to be done.
        """
        if self._handed is None or not output.take_back(self._state, self._handed):
            return False
        self._handed = None
        return True

    # What goes out.

    def ready(self) -> Ready | None:
        """What there is to do. Raises: AssertionError while the last one is not advanced."""
        if self._handed is not None:
            raise AssertionError("the Ready before is not done: call advance first")
        self._handed = output.make_ready(self._state)
        return self._handed

    def advance(self, ready: Ready) -> None:
        """All of `ready` is done."""
        if ready is not self._handed:
            raise AssertionError("this is not the Ready that is to be done")
        self._handed = None
        output.done(self._state, ready)

    # What can be seen.

    @property
    def node(self) -> int:
        """This member."""
        return self._state.node

    @property
    def role(self) -> Role:
        """What it is in its term."""
        return self._state.role

    @property
    def term(self) -> int:
        """The newest term it knows of."""
        return self._state.term

    @property
    def leader(self) -> int:
        """Who leads, as far as it knows; 0: nobody."""
        return self._state.leader

    @property
    def commit(self) -> int:
        """Up to here the log is committed, as far as it knows."""
        return self._state.log.commit

    @property
    def applied(self) -> int:
        """Up to here the driver has applied it."""
        return self._state.log.applied

    @property
    def last_index(self) -> int:
        """The newest entry."""
        return self._state.log.last_index

    @property
    def first_index(self) -> int:
        """The oldest entry that is not forgotten."""
        return self._state.log.first_index

    @property
    def configuration(self) -> Configuration:
        """The newest one in the log."""
        return self._state.log.configuration

    @property
    def hard_state(self) -> HardState:
        """Term, vote and commit index as they are now, durable or not."""
        return HardState(self._state.term, self._state.vote, self._state.log.commit)

    @property
    def pending_bytes(self) -> int:
        """A leader's entries that are not committed yet."""
        return self._state.pending_bytes

    def configuration_at(self, index: int) -> Configuration:
        """The one in force at `index`."""
        return self._state.log.configuration_at(index)

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None: it is not in the log."""
        return self._state.log.term_at(index)

    def progress(self) -> Sequence[FollowerProgress]:
        """What a leader knows of the others; empty for everyone else."""
        learners = self._state.log.configuration.learners
        return [
            FollowerProgress(node, p.match, p.next, p.pace.value, p.heard_lately, node in learners)
            for node, p in self._state.followers.items()
        ]
