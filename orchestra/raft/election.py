"""Elections: who stands when, and who votes for whom.

Source: paper §5.2, §5.4.1; thesis §9.6 (pre-vote), §6.2 and §4.2.3 (stickiness), §3.10 (transfer).
"""

from orchestra.raft.model import NOBODY, Role, TimeoutNow, VoteRequest, VoteResponse
from orchestra.raft.quorum import decided
from orchestra.raft.reads import abandon_reads
from orchestra.raft.roles import (
    become_candidate,
    become_follower,
    become_leader,
    become_pre_candidate,
    restart_timer,
)
from orchestra.raft.state import State

# Ticks between those who stand because they lost the leader; and how long one lets another try first.
_STAGGER_TICKS = 2
_YIELD_TICKS = 3
# So many tries soon after one another, before whole timeouts again.
_HASTE_TRIES = 6


def may_stand(state: State) -> bool:
    """Only a voter does, and not while a snapshot is being installed.

    A member that a change removes still may as long as the change is not known to be committed: nobody else
    may be able to win (thesis §4.2.2).
    """
    return state.install is None and any(
        state.node in configuration.all_voters
        for configuration in state.log.configurations_from(state.log.commit)
    )


def tick_election(state: State) -> None:
    """Stands when nothing was heard of a leader for too long (paper §5.2)."""
    state.elapsed += 1
    if state.suspicion:
        state.suspicion -= 1
        if not state.suspicion:
            state.elapsed = state.timeout
    if state.elapsed < state.timeout:
        return
    if may_stand(state):
        campaign(state, pre=state.settings.pre_vote)
    else:
        state.leader = NOBODY
        abandon_reads(state)
        restart_timer(state)


def suspect(state: State, node: int) -> None:
    """The link from the leader, or from who this member voted for, broke: stands soon. A matter of speed,
    never of safety.

    One after the other, by number, so that rarely two stand at once; and an election that comes to nothing is
    tried again soon, a bounded number of times. Where leases are read from, a promise to the leader holds
    until its end (thesis §6.4.1).
    """
    lost = state.leader or state.vote
    if lost != node or node == state.node or state.suspicion or state.settings.lease_reads:
        return
    if state.role is not Role.FOLLOWER:
        return
    state.haste = _HASTE_TRIES
    others = sorted(state.log.configuration.all_voters - {node})
    rank = others.index(state.node) if state.node in others else len(others)
    latest = max(state.settings.election_ticks - 1, 1)
    state.suspicion = 1 + min(_STAGGER_TICKS * rank + state.rng.randrange(_STAGGER_TICKS), latest)


def campaign(state: State, *, pre: bool, transfer: bool = False) -> None:
    """Stands, or asks first whether it would win."""
    state.haste = max(state.haste - 1, 0)
    if pre:
        become_pre_candidate(state)
        term = state.term + 1
    else:
        become_candidate(state)
        term = state.term
    if _count(state):
        return
    log = state.log
    for node in sorted(log.configuration.all_voters - {state.node}):
        state.out.append(
            VoteRequest(state.node, node, term, log.last_index, log.last_term, pre=pre, transfer=transfer)
        )


def _count(state: State) -> bool:
    """Acts on the votes so far. Whether they decided."""
    won = decided(state.log.configuration, state.votes)
    if won is None:
        return False
    if not won:
        become_follower(state, state.term, NOBODY)
    elif state.role is Role.PRE_CANDIDATE:
        campaign(state, pre=False)
    else:
        become_leader(state)
    return True


def is_loyal(state: State) -> bool:
    """Whether it heard from a leader so lately that it takes part in no other election (thesis §4.2.3, §6.2).

    That keeps a member that was cut off, or removed, from deposing a leader that works.
    """
    if not state.settings.check_quorum:
        return False
    if state.now < state.sworn_until:
        return True
    return state.leader != NOBODY and not state.suspicion and state.elapsed < state.settings.election_ticks


def handle_vote_request(state: State, message: VoteRequest) -> None:
    """Votes once a term, and only for a log that is at least as new (paper §5.2, §5.4.1)."""
    log = state.log
    fresh_term = message.pre and message.term > state.term
    free = state.vote == message.frm or (state.vote == NOBODY and state.leader == NOBODY) or fresh_term
    up_to_date = (message.last_term, message.last_index) >= (log.last_term, log.last_index)
    if not (free and up_to_date):
        answer_vote(state, message, granted=False)
        return
    if not message.pre:
        state.vote = message.frm
        restart_timer(state)
    elif state.suspicion:
        # Bounded: the timeout itself goes on.
        state.suspicion = max(state.suspicion, _YIELD_TICKS)
    elif state.role is Role.PRE_CANDIDATE and _goes_first(state, message):
        become_follower(state, state.term, NOBODY)
    answer_vote(state, message, granted=True)


def _goes_first(state: State, message: VoteRequest) -> bool:
    """Of two that ask at once one yields, else both would stand and split the votes (thesis §9.6)."""
    log = state.log
    if (message.last_term, message.last_index) != (log.last_term, log.last_index):
        # It is the newer one: this member cannot have its vote.
        return True
    return message.frm < state.node


def answer_vote(state: State, message: VoteRequest, *, granted: bool) -> None:
    """A pre-vote that is granted speaks of the term asked about; everything else of the own one."""
    term = message.term if granted else state.term
    state.out.append(VoteResponse(state.node, message.frm, term, granted, message.pre))


def handle_vote_response(state: State, message: VoteResponse) -> None:
    """Counts a vote of the election under way."""
    asked = Role.PRE_CANDIDATE if message.pre else Role.CANDIDATE
    if state.role is not asked:
        return
    if message.pre and message.granted and message.term != state.term + 1:
        return
    state.votes.setdefault(message.frm, message.granted)
    _count(state)


def handle_timeout_now(state: State, message: TimeoutNow) -> None:
    """The leader hands over (thesis §3.10)."""
    if not state.is_leader and state.node in state.log.configuration.all_voters and may_stand(state):
        campaign(state, pre=False, transfer=True)
