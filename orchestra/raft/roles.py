"""Becoming a follower, a candidate, a leader. Source: paper §5.2, figure 4; thesis §9.6 (pre-vote)."""

from orchestra.raft.log import size_of
from orchestra.raft.model import NOBODY, EntryKind, Role
from orchestra.raft.progress import Progress
from orchestra.raft.reads import abandon_reads
from orchestra.raft.state import State, append_own

# The shortest wait in haste: a vote's way there and back, with two disks in between.
_SOON_TICKS = 3


def restart_timer(state: State) -> None:
    """Waits anew, for a time drawn anew (paper §5.2: randomized timeouts).

    In haste, because the leader is lost, for a shorter one that grows from try to try: an election that was
    split, or asked of who did not know of the loss yet, is soon tried again.
    """
    ticks = state.settings.election_ticks
    state.elapsed = 0
    state.timeout = ticks + state.rng.randrange(ticks)
    state.suspicion = 0
    if state.haste:
        state.hurries += 1
        most = min(_SOON_TICKS * state.hurries, ticks)
        state.timeout = _SOON_TICKS + state.rng.randrange(most)
    else:
        state.hurries = 0


def _reset(state: State, term: int, leader: int) -> None:
    if term != state.term:
        state.term = term
        # One vote a term (paper §5.2).
        state.vote = NOBODY
    if state.is_leader or state.leader != leader:
        abandon_reads(state)
    state.leader = leader
    state.votes = {}
    state.followers = {}
    state.leaving = {}
    state.wanted = []
    state.transferee = NOBODY
    state.heartbeat_elapsed = 0
    state.pending_bytes = 0


def become_follower(state: State, term: int, leader: int, *, keep_timer: bool = False) -> None:
    """Follows `leader` (0: whoever it will be) in `term`.

    keep_timer: only hearing from a leader or giving a vote puts off standing (paper §5.2).
    """
    was_follower = state.role is Role.FOLLOWER
    _reset(state, term, leader)
    state.role = Role.FOLLOWER
    if not (keep_timer and was_follower):
        restart_timer(state)


def become_pre_candidate(state: State) -> None:
    """Asks whether it would be elected; neither term nor vote change (thesis §9.6)."""
    _reset(state, state.term, NOBODY)
    restart_timer(state)
    state.role = Role.PRE_CANDIDATE
    state.votes[state.node] = True


def become_candidate(state: State) -> None:
    """Stands in a new term and votes for itself (paper §5.2)."""
    _reset(state, state.term + 1, NOBODY)
    restart_timer(state)
    state.role = Role.CANDIDATE
    state.vote = state.node
    state.votes[state.node] = True


def become_leader(state: State) -> None:
    """Leads. An empty entry begins its term: only then does it know what is committed (paper §5.4.2, §8)."""
    _reset(state, state.term, state.node)
    state.haste = 0
    restart_timer(state)
    state.role = Role.LEADER
    state.incoming = None
    log = state.log
    track_members(state, log.last_index + 1)
    state.pending_bytes = size_of(log.slice(log.commit + 1, 1 << 62)) if log.commit < log.last_index else 0
    state.term_start = append_own(state, EntryKind.NORMAL, b"")


def track_members(state: State, next_index: int) -> None:
    """Keeps a progress for everyone else in the newest configuration, and for nobody more.

    next_index: where to try first with who is new.
    """
    everyone = sorted((state.log.configuration.everyone | state.leaving.keys()) - {state.node})
    known = state.followers
    state.followers = {node: known.get(node) or Progress(next_index) for node in everyone}
