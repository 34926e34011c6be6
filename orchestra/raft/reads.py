"""Reads that see every write acknowledged before them, without an entry in the log.

Source: thesis §6.4 (read index), §6.4.1 (leases).
"""

from orchestra.raft.model import (
    NOBODY,
    Heartbeat,
    HeartbeatResponse,
    ReadRequest,
    ReadResponse,
    ReadState,
)
from orchestra.raft.quorum import decided, reached_by_majority
from orchestra.raft.state import State

# The numbers under which a follower asks begin at random: an answer to its life before must not fit.
_BEGINNINGS = 1 << 32


def request_read(state: State, id: int) -> None:
    """Takes a read of the driver's."""
    reads = state.reads
    if state.is_leader:
        if len(reads.waiting) >= state.settings.reads_waiting_max:
            reads.answers.append(ReadState(id, None))
        else:
            reads.waiting.append((NOBODY, id))
    elif state.leader == NOBODY or len(reads.fresh) >= state.settings.reads_waiting_max:
        reads.answers.append(ReadState(id, None))
    else:
        reads.fresh.append(id)


def handle_read_request(state: State, message: ReadRequest) -> None:
    """A follower's. Waits until an entry of the own term is committed (thesis §6.4, step 1)."""
    reads = state.reads
    if not state.is_leader or len(reads.waiting) >= state.settings.reads_waiting_max:
        state.out.append(ReadResponse(state.node, message.frm, state.term, message.id, 0))
    else:
        reads.waiting.append((message.frm, message.id))


def handle_read_response(state: State, message: ReadResponse) -> None:
    """The leader's answer to reads that were sent on."""
    ids, _ = state.reads.forwarded.pop(message.id, ((), 0))
    state.reads.answers.extend(ReadState(id, message.index or None) for id in ids)


def handle_heartbeat_response(state: State, message: HeartbeatResponse) -> None:
    """A member still follows: with a majority of them this is still the leader (thesis §6.4, step 2)."""
    reads = state.reads
    if message.round <= reads.confirmed.get(message.frm, 0):
        return
    reads.confirmed[message.frm] = message.round
    confirmed = reached_by_majority(state.log.configuration, {**reads.confirmed, state.node: reads.round})
    if reads.asked and confirmed >= reads.asked_round:
        asked, reads.asked = reads.asked, []
        _answer(state, asked, reads.asked_index)
    if state.settings.lease_reads:
        began = [round_ for round_ in reads.sent if round_ <= confirmed]
        for round_ in began:
            # Followers count ticks too, from a different moment within one, and a little faster or slower.
            until = reads.sent.pop(round_) + state.settings.election_ticks - 2
            reads.lease_until = max(reads.lease_until, until)


def _answer(state: State, asked: list[tuple[int, int]], index: int) -> None:
    for frm, id in asked:
        if frm == NOBODY:
            state.reads.answers.append(ReadState(id, index))
        else:
            state.out.append(ReadResponse(state.node, frm, state.term, id, index))


def flush_reads(state: State) -> None:
    """Sends on what waits: a follower's reads to the leader, a leader's into one round of heartbeats.

    One round is under way at a time; what comes meanwhile shares the next one.
    """
    reads = state.reads
    if reads.fresh:
        reads.number = reads.number or state.rng.randrange(_BEGINNINGS) << 31
        reads.number += 1
        reads.forwarded[reads.number] = (reads.fresh, state.now)
        state.out.append(ReadRequest(state.node, state.leader, state.term, reads.number))
        reads.fresh = []
    if not reads.waiting or not state.has_committed_own_term:
        return
    if decided(state.log.configuration, {state.node: True}) or _has_lease(state):
        waiting, reads.waiting = reads.waiting, []
        _answer(state, waiting, state.log.commit)
    elif not reads.asked:
        reads.asked, reads.waiting = reads.waiting, []
        reads.asked_index = state.log.commit
        reads.round += 1
        reads.asked_round = reads.round
        broadcast_heartbeat(state)


def _has_lease(state: State) -> bool:
    # A transfer lets another be elected before the lease ends (thesis §6.4.1).
    settings = state.settings
    return (
        settings.lease_reads
        and settings.check_quorum
        and state.transferee == NOBODY
        and state.now < state.reads.lease_until
    )


def broadcast_heartbeat(state: State) -> None:
    """Says that it leads. The commit index goes no further than what is known to be there (paper §5.3)."""
    state.heartbeat_elapsed = 0
    reads = state.reads
    if state.settings.lease_reads:
        reads.round += 1
        reads.sent[reads.round] = state.now
    for node in state.followers:
        send_heartbeat(state, node)


def send_heartbeat(state: State, node: int) -> None:
    """Says to one other that this member leads. Its commit index is not beyond what is known to be there."""
    commit = min(state.followers[node].match, state.log.commit)
    state.out.append(Heartbeat(state.node, node, state.term, commit, state.reads.round))


def tick_reads(state: State) -> None:
    """Gives up what was asked of a leader that does not answer."""
    reads = state.reads
    oldest = state.now - state.settings.election_ticks
    for number in [number for number, (_, since) in reads.forwarded.items() if since <= oldest]:
        ids, _ = reads.forwarded.pop(number)
        reads.answers.extend(ReadState(id, None) for id in ids)


def abandon_reads(state: State) -> None:
    """Nobody can say any more: the leader changed. Whoever asked asks again."""
    reads = state.reads
    for frm, id in [*reads.asked, *reads.waiting]:
        if frm == NOBODY:
            reads.answers.append(ReadState(id, None))
        else:
            state.out.append(ReadResponse(state.node, frm, state.term, id, 0))
    unanswered = [id for ids, _ in reads.forwarded.values() for id in ids]
    reads.answers.extend(ReadState(id, None) for id in [*unanswered, *reads.fresh])
    reads.asked, reads.waiting, reads.fresh = [], [], []
    reads.forwarded, reads.confirmed, reads.sent = {}, {}, {}
    reads.lease_until = 0
