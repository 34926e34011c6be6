"""What the driver is to do next, and what follows once it is done."""

from dataclasses import dataclass

from orchestra.raft.membership import forget_leaving, leave_if_removed
from orchestra.raft.model import (
    AppendResponse,
    Entry,
    HardState,
    Message,
    ReadState,
    Ready,
    SnapshotResponse,
    VoteRequest,
    VoteResponse,
)
from orchestra.raft.reads import flush_reads
from orchestra.raft.replication import advance_commit, commit, send_entries
from orchestra.raft.roles import track_members
from orchestra.raft.snapshots import send_pieces
from orchestra.raft.state import State

# What says that something is durable here. All else may leave before the disk is done, as long as the term is
# on it (thesis §10.2.1).
_PROMISES = (AppendResponse, SnapshotResponse, VoteRequest, VoteResponse)


def make_ready(state: State) -> Ready | None:
    """Collects it. None: there is nothing to do."""
    if state.is_leader:
        _lead(state)
    flush_reads(state)
    log = state.log
    changed = state.term != state.saved.term or state.vote != state.saved.vote
    entries = log.hand_out()
    if entries and state.is_leader and state.is_alone:
        # What it applies is durable by then: a cluster of one need not ask twice.
        commit(state, log.last_index)
    # The commit index goes along with what is written anyway; it is never worth a write of its own.
    known = min(log.commit, log.durable)
    hard_state = None
    if changed or (entries and known != state.saved.commit and not state.is_alone):
        hard_state = HardState(state.term, state.vote, known)
    committed: list[Entry] = []
    if log.commit > log.applied and state.install is None:
        committed = log.slice(log.applied + 1, state.settings.apply_bytes_max, log.commit)
    if not (
        entries
        or committed
        or hard_state
        or state.out
        or state.reads.answers
        or state.chunks
        or state.install
        or state.wanted
    ):
        return None
    now, after = _split(state.out, changed)
    ready = Ready(
        send_now=now,
        hard_state=hard_state,
        entries=entries,
        must_sync=bool(entries or changed or state.chunks or state.install),
        chunks=state.chunks,
        install=state.install,
        send_after_sync=after,
        committed=committed,
        reads=state.reads.answers,
        snapshots_wanted=state.wanted,
    )
    state.out, state.chunks, state.wanted, state.reads.answers = [], [], [], []
    return ready


def _lead(state: State) -> None:
    if state.followers:
        send_entries(state)
        send_pieces(state)
    if state.leaving:
        forget_leaving(state)
    leave_if_removed(state)


def _split(messages: list[Message], changed: bool) -> tuple[list[Message], list[Message]]:
    if changed:
        return [], messages
    if not messages:
        return messages, []
    after: list[Message] = [message for message in messages if isinstance(message, _PROMISES)]
    if not after:
        return messages, after
    return [message for message in messages if not isinstance(message, _PROMISES)], after


def done(state: State, ready: Ready) -> None:
    """The driver has done all of it."""
    log = state.log
    if ready.hard_state is not None:
        state.saved = ready.hard_state
    if ready.install is not None:
        state.install = None
        log.installed()
    if ready.entries:
        log.made_durable()
        if state.is_leader:
            advance_commit(state)
    if ready.committed:
        log.applied = max(log.applied, ready.committed[-1].index)


@dataclass(slots=True)
class _Cut:
    """Reads answered for entries that are taken back wait no further than the log goes."""

    index: int

    def __call__(self, read: ReadState) -> ReadState:
        return read if read.index is None or read.index <= self.index else ReadState(read.id, self.index)


def take_back(state: State, ready: Ready) -> bool:
    """Takes back a lone member's proposals that could not be written. False: it is not such a case."""
    log = state.log
    if not (
        state.is_leader and state.is_alone and ready.hard_state is None and log.durable >= state.term_start
    ):
        return False
    if log.configuration_at(log.durable).everyone != {state.node}:
        return False
    state.pending_bytes = 0
    log.take_back()
    track_members(state, log.last_index + 1)
    cut = _Cut(log.last_index)
    state.reads.answers = [cut(read) for read in [*ready.reads, *state.reads.answers]]
    state.out = [*ready.send_now, *ready.send_after_sync, *state.out]
    state.wanted = [*ready.snapshots_wanted, *state.wanted]
    return True
