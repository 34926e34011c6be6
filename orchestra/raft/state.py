"""The one record that the rooms of the core work on, and what it begins from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestra.raft.log import RaftLog, size_of
from orchestra.raft.model import (
    NOBODY,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftSettings,
    ReadState,
    Role,
    SnapshotChunk,
    SnapshotMark,
)
from orchestra.raft.progress import Progress


class Rng(Protocol):
    """Where chance comes from: `random.Random` is one."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to below `stop`."""
        ...


@dataclass(frozen=True, slots=True)
class Restored:
    """What a member has on disk. applied: what the driver's state holds already, the mark's index or later.

    A new cluster's member begins with SnapshotMark(0, 0, its first configuration) and nothing else; one that
    joins, with a configuration without members.
    """

    hard_state: HardState
    mark: SnapshotMark
    entries: Sequence[Entry]
    applied: int


@dataclass(slots=True)
class Reads:
    """Reads that wait (thesis §6.4). A leader's carry who asked (0: this member itself) and its number.

    waiting: not in a round of heartbeats yet; asked: in `asked_round`, at commit index `asked_index`.
    confirmed: the newest round each member answered. sent: at which tick a round began (with leases only).
    lease_until: the tick at which this leader's lease ends. fresh: a follower's that were not sent on yet;
    forwarded: those that were, with the tick.
    """

    waiting: list[tuple[int, int]] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    asked_round: int = 0
    asked_index: int = 0
    round: int = 0
    confirmed: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    lease_until: int = 0
    fresh: list[int] = field(default_factory=list)
    forwarded: dict[int, tuple[list[int], int]] = field(default_factory=dict)
    number: int = 0
    answers: list[ReadState] = field(default_factory=list)


@dataclass(slots=True)
class Incoming:
    """A snapshot that is coming in: its place in the order of sendings, and how many pieces are here."""

    place: tuple[int, int]
    received: int = 0


@dataclass(slots=True)
class State:
    """Everything a member knows. Only the modules of this package change it."""

    settings: RaftSettings
    rng: Rng
    log: RaftLog
    term: int
    vote: int
    # What is on disk of them.
    saved: HardState
    role: Role = Role.FOLLOWER
    leader: int = NOBODY
    # Ticks since the start.
    now: int = 0
    # Ticks since the leader's last word or its own last try; a leader's: since it last counted who is there.
    elapsed: int = 0
    timeout: int = 0
    heartbeat_elapsed: int = 0
    # Ticks until it stands because the link from the leader broke; 0: it did not.
    suspicion: int = 0
    # Tries left that follow soon upon each other, because the leader is lost; how many waits were short.
    haste: int = 0
    hurries: int = 0
    # With leases: it may have promised not to vote before its restart, until this tick.
    sworn_until: int = 0
    votes: dict[int, bool] = field(default_factory=dict)
    # A leader's: everyone else who gets the log, ascending.
    followers: dict[int, Progress] = field(default_factory=dict)
    # A leader's: members just removed, until they know it; and since when.
    leaving: dict[int, int] = field(default_factory=dict)
    term_start: int = 0
    pending_bytes: int = 0
    transferee: int = NOBODY
    transfer_elapsed: int = 0
    streams: int = 0
    out: list[Message] = field(default_factory=list)
    reads: Reads = field(default_factory=Reads)
    wanted: list[int] = field(default_factory=list)
    incoming: Incoming | None = None
    chunks: list[SnapshotChunk] = field(default_factory=list)
    install: SnapshotMark | None = None

    @property
    def node(self) -> int:
        """This member."""
        return self.settings.node

    @property
    def is_leader(self) -> bool:
        """Whether it leads."""
        return self.role is Role.LEADER

    @property
    def is_alone(self) -> bool:
        """Whether this member is all of the cluster: what it has on disk is committed."""
        configuration = self.log.configuration
        return configuration.everyone == {self.node}

    @property
    def has_committed_own_term(self) -> bool:
        """A leader knows how far the log is committed only then (paper §8, thesis §6.4)."""
        return self.is_leader and self.log.commit >= self.term_start


def append_own(state: State, kind: EntryKind, data: bytes) -> int:
    """Appends one entry of this leader's term. Returns its index."""
    entry = Entry(state.term, state.log.last_index + 1, kind, data)
    state.log.extend((entry,))
    state.pending_bytes += size_of((entry,))
    return entry.index
