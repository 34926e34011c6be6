"""Bugs in consensus: elections, replication, reads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestra.cluster import reads
from orchestra.cluster.journal import Journal
from orchestra.raft import core, election, membership, output, quorum, replication, roles
from orchestra.raft import reads as raft_reads
from orchestra.raft.log import RaftLog
from orchestra.raft.model import Heartbeat
from orchestra.raft.state import State
from tests.simulation.group.planting import Patches, mutant

# Elections.


@mutant("paper §5.2: the vote is durable before it is given", ("storm", "flap"))
def votes_twice_after_a_restart(patches: Patches) -> None:
    begin = core.RaftCore.__init__

    def forgetful(self: Any, settings: Any, restored: Any, rng: Any) -> None:
        hard_state = replace(restored.hard_state, vote=0)
        begin(self, settings, replace(restored, hard_state=hard_state), rng)

    patches.attribute(core.RaftCore, "__init__", forgetful)


@mutant("paper §5.4.1: only for a log that is at least as new", ("flap", "storm", "depose"))
def votes_for_an_older_log(patches: Patches) -> None:
    def generous(state: State, message: Any) -> None:
        free = state.vote == message.frm or (state.vote == 0 and state.leader == 0)
        if not free and not (message.pre and message.term > state.term):
            election.answer_vote(state, message, granted=False)
            return
        if not message.pre:
            state.vote = message.frm
            roles.restart_timer(state)
        election.answer_vote(state, message, granted=True)

    patches.function(election.handle_vote_request, generous)


@mutant("paper §5.2: one vote a term", ("storm", "flap"))
def votes_for_everyone(patches: Patches) -> None:
    def easy(state: State, message: Any) -> None:
        log = state.log
        new = (message.last_term, message.last_index) >= (log.last_term, log.last_index)
        if new and not message.pre:
            state.vote = message.frm
        election.answer_vote(state, message, granted=new)

    patches.function(election.handle_vote_request, easy)


@mutant(
    "etcd #11651 and paper, figure 2: what a promise rests on is durable before it is made",
    ("lose power midway", "kill", "storm"),
)
def promises_before_the_sync(patches: Patches) -> None:
    patches.function(output._split, lambda messages, changed: (messages, []))


@mutant("paper, figure 2: the term is durable before it is acted on")
def keeps_term_and_vote_in_memory(patches: Patches) -> None:
    append = Journal.append

    def lazy(self: Journal, hard_state: Any, entries: Sequence[Any], sync: bool = True) -> None:
        if entries:
            append(self, hard_state, entries, sync)

    patches.attribute(Journal, "append", lazy)


# Replication.


@mutant(
    "paper §5.4.2, figure 8: an older term's entry is not committed by counting",
    ("weather", "cut one way", "kill", "depose"),
)
def commits_an_older_terms_entry(patches: Patches) -> None:
    def hasty(state: State) -> None:
        log = state.log
        reached = {node: progress.match for node, progress in state.followers.items()}
        reached[state.node] = log.durable
        index = quorum.reached_by_majority(log.configuration, reached)
        if index > log.commit:
            replication.commit(state, index)

    patches.function(replication.advance_commit, hasty)


@mutant("paper §5.3: what conflicts with the leader's log is replaced")
def keeps_conflicting_entries(patches: Patches) -> None:
    handle = replication.handle_append

    def stubborn(state: State, message: Any) -> None:
        entries = [each for each in message.entries if each.index > state.log.last_index]
        if len(entries) == len(message.entries):
            handle(state, message)
            return
        if entries:
            state.log.extend(entries)
        last = message.prev_index + len(message.entries)
        state.log.commit_to(min(message.commit, last))
        replication._accept(state, message, last)

    patches.function(replication.handle_append, stubborn)


@mutant("paper §5.3: a follower is told of no commit beyond what is known to match")
def tells_everyone_the_whole_commit_index(patches: Patches) -> None:
    def careless(state: State) -> None:
        state.heartbeat_elapsed = 0
        for node in state.followers:
            known = min(state.log.commit, state.log.last_index)
            state.out.append(Heartbeat(state.node, node, state.term, known, state.reads.round))

    patches.function(raft_reads.broadcast_heartbeat, careless)

    def believing(state: State, message: Any) -> None:
        state.log.commit_to(min(message.commit, state.log.last_index))
        state.out.append(replication.HeartbeatResponse(state.node, message.frm, state.term, message.round))

    patches.function(replication.handle_heartbeat, believing)


@mutant("paper §6: both majorities while the voters change", ("grow", "reconfigure", "split"))
def one_majority_while_voters_change(patches: Patches) -> None:
    patches.function(
        quorum.decided, lambda configuration, votes: quorum._decided(configuration.voters, votes)
    )
    patches.function(
        quorum.reached_by_majority,
        lambda configuration, reached: quorum._reached(configuration.voters, reached),
    )


@mutant(
    "paper §6: the configuration of a replaced entry is replaced too",
    ("grow", "reconfigure", "split", "depose"),
)
def keeps_a_lost_configuration(patches: Patches) -> None:
    def forgetful(self: RaftLog, index: int) -> None:
        del self._entries[index - self._start[0] - 1 :]
        self.durable = min(self.durable, index - 1)
        self._handed = min(self._handed, index - 1)

    patches.attribute(RaftLog, "truncate", forgetful)
    patches.function(membership.after_commit, lambda state: None)


# Reads.


@mutant(
    "thesis §6.4: a leader that was stopped for a while is perhaps none any more",
    ("depose", "split"),
    theme="reads",
)
def reads_without_asking_anyone(patches: Patches) -> None:
    patches.function(raft_reads._has_lease, lambda state: True)


@mutant(
    "thesis §6.4, step 1; etcd #741: a new leader does not know the commit index yet",
    ("flap", "move leader", "depose"),
    theme="reads",
)
def reads_before_its_own_term_is_committed(patches: Patches) -> None:
    patches.attribute(State, "has_committed_own_term", property(lambda self: self.is_leader))


@mutant("thesis §6.4, step 4: a follower reads once it has applied what it was told")
def reads_before_it_is_applied(patches: Patches) -> None:
    answered = reads.Reads.answered

    def hasty(self: reads.Reads, states: Sequence[Any], applied: int) -> None:
        answered(self, states, 1 << 62)

    patches.attribute(reads.Reads, "answered", hasty)
