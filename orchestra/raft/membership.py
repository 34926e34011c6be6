"""Changes of who belongs to the cluster, by joint consensus. Source: paper §6, thesis §4.3."""

from orchestra.raft.encoding import encode_configuration
from orchestra.raft.errors import ChangePending, NotCaughtUp, NotLeader
from orchestra.raft.model import NOBODY, Configuration, EntryKind, TimeoutNow
from orchestra.raft.progress import Pace
from orchestra.raft.roles import become_follower, track_members
from orchestra.raft.state import State, append_own

# A learner that lags by no more is taken for caught up (thesis §4.2.1).
CAUGHT_UP_ENTRIES = 1000


def change(state: State, voters: frozenset[int], learners: frozenset[int], context: bytes) -> int:
    """Begins a change. Returns the index of its entry. Raises: as `RaftCore.change`."""
    if not state.is_leader:
        raise NotLeader(state.leader)
    if not voters or voters & learners:
        raise ValueError("a cluster needs a voter, and nobody is both a voter and a learner")
    now = state.log.configuration
    if state.node not in now.all_voters:
        # It leads only until all are told that it is removed.
        raise NotLeader(NOBODY)
    if now.is_joint or state.log.configuration_index > state.log.commit:
        raise ChangePending("another change of the membership is under way: try again when it is done")
    if not state.has_committed_own_term:
        # Else two leaders' changes could be decided by majorities that do not overlap (thesis §4.1, the bug).
        raise ChangePending("the leader has just been elected: try again in a moment")
    for node in sorted((voters - now.voters) & now.learners):
        progress = state.followers[node]
        lag = state.log.last_index - progress.match
        if progress.pace is not Pace.REPLICATE or not progress.heard_lately or lag > CAUGHT_UP_ENTRIES:
            raise NotCaughtUp(
                f"{node:016x} does not have enough of the log yet to vote: {lag} entries are missing"
            )
    outgoing = now.voters if voters != now.voters else frozenset()
    return _append(state, Configuration(voters, outgoing, learners, context))


def _append(state: State, configuration: Configuration) -> int:
    gone = state.log.configuration.everyone - configuration.everyone - {state.node}
    index = append_own(state, EntryKind.CONFIGURATION, encode_configuration(configuration))
    for node in sorted(gone):
        state.leaving[node] = state.now
    for node in sorted(configuration.everyone & state.leaving.keys()):
        del state.leaving[node]
    track_members(state, index)
    return index


def after_commit(state: State) -> None:
    """Once C_old,new is committed, C_new follows; then a leader outside it goes (paper §6)."""
    log = state.log
    if log.configuration_index > log.commit:
        return
    now = log.configuration
    if now.is_joint:
        _append(state, Configuration(now.voters, frozenset(), now.learners, now.context))


def leave_if_removed(state: State) -> None:
    """A leader that is not in the committed C_new leads on only until it is told to all (paper §6)."""
    log = state.log
    if state.node in log.configuration.all_voters or log.configuration_index > log.commit:
        return
    heirs = [
        (-progress.match, node)
        for node, progress in state.followers.items()
        if node in log.configuration.voters and progress.heard_lately
    ]
    if heirs:
        _, heir = min(heirs)
        state.out.append(TimeoutNow(state.node, heir, state.term))
    become_follower(state, state.term, NOBODY)


def forget_leaving(state: State) -> None:
    """Ends what goes to members that are removed, once they know it or after a while."""
    oldest = state.now - 4 * state.settings.election_ticks
    done = [
        node
        for node, since in state.leaving.items()
        if since <= oldest
        or (
            state.log.configuration_index <= state.log.commit
            and state.followers[node].match >= state.log.configuration_index
            and state.followers[node].commit_sent >= state.log.configuration_index
        )
    ]
    for node in done:
        del state.leaving[node]
        del state.followers[node]
