"""Handing leadership over. Source: thesis §3.10."""

from orchestra.raft.errors import NotCaughtUp, NotLeader
from orchestra.raft.model import NOBODY, TimeoutNow
from orchestra.raft.progress import Pace
from orchestra.raft.state import State


def transfer(state: State, to: int) -> None:
    """Takes no more proposals, brings `to` up to date, and has it stand. 0: who has the most of the log."""
    if not state.is_leader:
        raise NotLeader(state.leader)
    if to == state.node:
        return
    able = {
        node: progress
        for node, progress in state.followers.items()
        if node in state.log.configuration.voters
        and progress.heard_lately
        and progress.pace is Pace.REPLICATE
    }
    if to == NOBODY:
        to = min(able, key=lambda node: (-able[node].match, node), default=NOBODY)
    if to not in able:
        who = f"{to:016x} does not follow" if to else "no other voter follows"
        raise NotCaughtUp(f"leadership cannot be handed over: {who} the log closely enough")
    state.transferee = to
    state.transfer_elapsed = 0
    hand_over(state)


def hand_over(state: State) -> None:
    """Sends the word once the heir has all of the log. Sent again while it is not heard to have worked."""
    progress = state.followers.get(state.transferee)
    if progress is not None and progress.match == state.log.last_index:
        state.out.append(TimeoutNow(state.node, state.transferee, state.term))


def tick_transfer(state: State) -> None:
    """Gives up after an election timeout, and goes on leading."""
    if state.transferee == NOBODY:
        return
    state.transfer_elapsed += 1
    if state.transfer_elapsed >= state.settings.election_ticks or state.transferee not in state.followers:
        state.transferee = NOBODY
