"""The words of Raft: entries, messages, and what the core asks its driver to do.

Everything here is plain data. A member is named by a number that is never used twice; 0 names nobody. Terms
and indices begin at 1; 0 is what comes before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

NodeId = NewType("NodeId", int)
Term = NewType("Term", int)

NOBODY = NodeId(0)


class EntryKind(IntEnum):
    """What an entry's data is."""

    # A command of whoever drives the core; empty in the entry that a leader begins its term with.
    NORMAL = 0
    # A whole Configuration, encoded.
    CONFIGURATION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log."""

    term: int
    index: int
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What a member must not forget: durable before anything that follows from it is said.

    commit: need not be durable; saved along so that a restart knows more sooner.
    """

    term: int = 0
    vote: int = 0
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who belongs to the cluster. A member uses the newest one in its log, committed or not.

    outgoing: the voters of C_old while the change from it is under way (joint consensus), else empty;
    decisions then need a majority of both. learners: get the log and do not vote. context: the driver's own
    (names and addresses), not looked at here. Source: Raft paper §6, thesis §4.3 and §4.2.1.
    """

    voters: frozenset[int]
    outgoing: frozenset[int] = frozenset()
    learners: frozenset[int] = frozenset()
    context: bytes = b""

    @property
    def is_joint(self) -> bool:
        """Whether a change is under way."""
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[int]:
        """Everyone with a vote, of either side."""
        return self.voters | self.outgoing

    @property
    def everyone(self) -> frozenset[int]:
        """Everyone who gets the log."""
        return self.voters | self.outgoing | self.learners


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """What a snapshot stands for: the log up to `index`, whose last entry was of `term`."""

    index: int
    term: int
    configuration: Configuration


# Messages. frm and to are members; term is the sender's.


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """RequestVote. pre: only asks whether a vote would be given (thesis §9.6), in `term`, which is then the
    sender's next one. transfer: the leader asked for this election itself (thesis §3.10), so that a
    follower that hears from it votes all the same.
    """

    frm: int
    to: int
    term: int
    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False


@dataclass(frozen=True, slots=True)
class VoteResponse:
    """granted in `pre`: `term` is the one asked about."""

    frm: int
    to: int
    term: int
    granted: bool
    pre: bool = False


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """AppendEntries (paper §5.3)."""

    frm: int
    to: int
    term: int
    prev_index: int
    prev_term: int
    entries: Sequence[Entry]
    commit: int


@dataclass(frozen=True, slots=True)
class AppendResponse:
    """index: accepted: the newest entry known to match; refused: the prev_index that did not.

    hint_index, hint_term: when refused, the newest entry at or before `index` whose term is not above the
    one asked for: where to look next (paper §5.3, the end).
    """

    frm: int
    to: int
    term: int
    index: int
    refused: bool = False
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """round: confirms that the sender leads, for the reads that wait for it (thesis §6.4)."""

    frm: int
    to: int
    term: int
    commit: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatResponse:
    """round: as it was asked."""

    frm: int
    to: int
    term: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """InstallSnapshot, one piece (paper §7). Pieces are numbered from 0; `last` ends the snapshot.

    stream: which sending of a snapshot it belongs to, ascending within a leader's term: two never mix.
    """

    frm: int
    to: int
    term: int
    mark: SnapshotMark
    sequence: int
    data: bytes
    last: bool
    stream: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotResponse:
    """received: how many pieces of the snapshot at `index` are safe; done: it is installed, or not needed;
    refused: it could not be kept, for want of space, and nothing of it is there.
    """

    frm: int
    to: int
    term: int
    index: int
    received: int
    done: bool = False
    stream: int = 0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A follower asks the leader for the index to read at. id: the follower's own."""

    frm: int
    to: int
    term: int
    id: int


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """index: once the follower has applied it, it may read. 0: the leader cannot say; ask again."""

    frm: int
    to: int
    term: int
    id: int
    index: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader hands over: stand for election at once (thesis §3.10)."""

    frm: int
    to: int
    term: int


Message = (
    VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | SnapshotChunk
    | SnapshotResponse
    | ReadRequest
    | ReadResponse
    | TimeoutNow
)


class Role(IntEnum):
    """What a member is in its term."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


@dataclass(frozen=True, slots=True)
class ReadState:
    """An answer to `RaftCore.read`. index None: nobody could say (no leader, or it changed): ask again."""

    id: int
    index: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """What the driver has to do, in the order of the fields; then it calls `advance`.

    send_now: may leave before anything is written (a leader's own log need not be first, thesis §10.2.1).
    hard_state, entries: to be made durable with one sync; entries replace what the log has from the first
    one's index on. must_sync False: only the commit index has changed, nothing waits for it.
    chunks: pieces of a snapshot, to be written in order; a piece with sequence 0 begins anew.
    install: the snapshot that has come in whole: it replaces state and log.
    send_after_sync: must not leave before all of the above is durable.
    committed: to be applied, in order, each once. reads: `applied >= index` allows the read.
    snapshots_wanted: members that need one; answer with `RaftCore.offer_snapshot`.
    """

    send_now: Sequence[Message] = ()
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    must_sync: bool = False
    chunks: Sequence[SnapshotChunk] = ()
    install: SnapshotMark | None = None
    send_after_sync: Sequence[Message] = ()
    committed: Sequence[Entry] = ()
    reads: Sequence[ReadState] = ()
    snapshots_wanted: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class FollowerProgress:
    """What a leader knows of one member. state: probe, replicate or snapshot. active: heard of lately."""

    node: int
    match: int
    next: int
    state: str
    active: bool
    is_learner: bool


@dataclass(frozen=True, slots=True)
class RaftSettings:
    """Ticks are the driver's. An election times out after election_ticks to twice that, at random.

    Bounds: append_bytes_max: entries of one message. inflight_max, inflight_bytes_max: messages and bytes
    under way to one follower. uncommitted_bytes_max: a leader's entries that are not committed yet.
    apply_bytes_max: entries of one Ready to be applied. snapshot_window: pieces under way to one follower.
    lease_reads: a leader that a majority answered within election_ticks reads without asking again; right
    only while clocks run at nearly the same speed (thesis §6.4.1).
    """

    node: int
    election_ticks: int = 10
    heartbeat_ticks: int = 2
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False
    append_bytes_max: int = 512 * 1024
    inflight_max: int = 64
    inflight_bytes_max: int = 8 * 1024 * 1024
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    apply_bytes_max: int = 1024 * 1024
    snapshot_window: int = 8
    reads_waiting_max: int = 4096
