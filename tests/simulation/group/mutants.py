"""Known bugs, each to be switched on: who tests the tester. A world with one of them has to fail soon.

Most are from etcd's list of what its robustness tests found, from Raft's papers (what a rule is there to
prevent), and from what is easy to get wrong in a store like this one.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from orchestra.cluster import datadir, duties, proposals, reads, running, tenure
from orchestra.cluster.journal import Journal, _Replay
from orchestra.cluster.running import RunningMember
from orchestra.mvcc.history import History
from orchestra.mvcc.machine import Machine
from orchestra.raft import core, election, membership, output, quorum, replication, roles
from orchestra.raft import reads as raft_reads
from orchestra.raft.log import RaftLog
from orchestra.raft.model import Heartbeat
from orchestra.raft.state import State
from orchestra.storage.wal import Wal
from orchestra.store.leases import LeaseOwner
from orchestra.store.watch import HistoryWatch, WatchHub
from tests.simulation.group.scenes import turbulence
from tests.simulation.group.world import World

Plant = Callable[["Patches"], None]


class Patches:
    """What was replaced, to be put back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Replaces an attribute of a class or module."""
        self._undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def function(self, function: Callable[..., Any], value: Callable[..., Any]) -> None:
        """Replaces a function in every module of the project that has it by name."""
        for name, module in sorted(sys.modules.items()):
            if name.startswith("orchestra."):
                for key, found in list(vars(module).items()):
                    if found is function:
                        self.attribute(module, key, value)

    def back(self) -> None:
        """Puts everything back."""
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: what is wrong, and where it was met or what forbids it.

    faults, theme: the worlds to look for it in; any, if it is not rare.
    """

    name: str
    source: str
    plant: Plant
    faults: Sequence[str] = ()
    theme: str = ""


MUTANTS: dict[str, Mutant] = {}


def _mutant(source: str, faults: Sequence[str] = (), theme: str = "") -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        MUTANTS[plant.__name__] = Mutant(plant.__name__, source, plant, faults, theme)
        return plant

    return add


def caught(name: str, seeds: Sequence[int]) -> tuple[int, str] | None:
    """The first of the worlds that fails with the bug planted, and how; None: it goes unnoticed."""
    mutant = MUTANTS[name]
    for seed in seeds:
        with planted(name):
            world = World(seed)
            world.theme = mutant.theme or world.theme
            try:
                world.play(lambda played: turbulence(played, only=mutant.faults))
            except Exception as error:  # noqa: BLE001 - any failure will do
                return seed, f"{type(error).__name__}: {error}"
    return None


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While it lasts, the bug is there. "": none is."""
    patches = Patches()
    try:
        if name:
            MUTANTS[name].plant(patches)
        yield
    finally:
        patches.back()


# Elections.


@_mutant("paper §5.2: the vote is durable before it is given", ("storm", "flap"))
def votes_twice_after_a_restart(patches: Patches) -> None:
    begin = core.RaftCore.__init__

    def forgetful(self: Any, settings: Any, restored: Any, rng: Any) -> None:
        hard_state = replace(restored.hard_state, vote=0)
        begin(self, settings, replace(restored, hard_state=hard_state), rng)

    patches.attribute(core.RaftCore, "__init__", forgetful)


@_mutant("paper §5.4.1: only for a log that is at least as new", ("flap", "storm", "depose"))
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


@_mutant("paper §5.2: one vote a term", ("storm", "flap"))
def votes_for_everyone(patches: Patches) -> None:
    def easy(state: State, message: Any) -> None:
        log = state.log
        new = (message.last_term, message.last_index) >= (log.last_term, log.last_index)
        if new and not message.pre:
            state.vote = message.frm
        election.answer_vote(state, message, granted=new)

    patches.function(election.handle_vote_request, easy)


@_mutant(
    "etcd #11651 and paper, figure 2: what a promise rests on is durable before it is made",
    ("lose power midway", "kill", "storm"),
)
def promises_before_the_sync(patches: Patches) -> None:
    patches.function(output._split, lambda messages, changed: (messages, []))


@_mutant("paper, figure 2: the term is durable before it is acted on")
def keeps_term_and_vote_in_memory(patches: Patches) -> None:
    append = Journal.append

    def lazy(self: Journal, hard_state: Any, entries: Sequence[Any], sync: bool = True) -> None:
        if entries:
            append(self, hard_state, entries, sync)

    patches.attribute(Journal, "append", lazy)


# Replication.


@_mutant(
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


@_mutant("paper §5.3: what conflicts with the leader's log is replaced")
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


@_mutant("paper §5.3: a follower is told of no commit beyond what is known to match")
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


@_mutant("paper §6: both majorities while the voters change", ("grow", "reconfigure", "split"))
def one_majority_while_voters_change(patches: Patches) -> None:
    patches.function(
        quorum.decided, lambda configuration, votes: quorum._decided(configuration.voters, votes)
    )
    patches.function(
        quorum.reached_by_majority,
        lambda configuration, reached: quorum._reached(configuration.voters, reached),
    )


@_mutant(
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


@_mutant(
    "thesis §6.4: a leader that was stopped for a while is perhaps none any more",
    ("depose", "split"),
    theme="reads",
)
def reads_without_asking_anyone(patches: Patches) -> None:
    patches.function(raft_reads._has_lease, lambda state: True)


@_mutant(
    "thesis §6.4, step 1; etcd #741: a new leader does not know the commit index yet",
    ("flap", "move leader", "depose"),
    theme="reads",
)
def reads_before_its_own_term_is_committed(patches: Patches) -> None:
    patches.attribute(State, "has_committed_own_term", property(lambda self: self.is_leader))


@_mutant("thesis §6.4, step 4: a follower reads once it has applied what it was told")
def reads_before_it_is_applied(patches: Patches) -> None:
    answered = reads.Reads.answered

    def hasty(self: reads.Reads, states: Sequence[Any], applied: int) -> None:
        answered(self, states, 1 << 62)

    patches.attribute(reads.Reads, "answered", hasty)


# Durability.


@_mutant("etcd #13766: the applied index saved apart from the data it covers")
def saves_the_applied_index_apart(patches: Patches) -> None:
    open_ = datadir.DataDirectory.__dict__["open"].__func__
    make = running._core

    def opened(cls: Any, *arguments: Any, **more: Any) -> Any:
        directory = open_(cls, *arguments, **more)
        directory.machine.applied_index = max(directory.machine.applied_index, directory.hard_state.commit)
        return directory

    def made(directory: Any, own: int, settings: Any, rng: Any) -> Any:
        made = make(directory, own, settings, rng)
        made._state.log.applied = directory.machine.applied_index
        return made

    patches.attribute(datadir.DataDirectory, "open", classmethod(opened))
    patches.function(make, made)


@_mutant(
    "PostgreSQL's fsyncgate, 2018: a sync that failed was taken for done when tried again",
    ("fail sync", "kill"),
)
def takes_a_failed_sync_for_done(patches: Patches) -> None:
    append = Wal.append

    def hopeful(self: Wal, records: Sequence[Any]) -> None:
        sync = self._file.sync if self._file is not None else None
        if sync is None:
            append(self, records)
            return

        class Hopeful:
            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def sync(self) -> None:
                try:
                    file.sync()
                except OSError:
                    return

        file, self._file = self._file, Hopeful()  # type: ignore[assignment]
        try:
            append(self, records)
        finally:
            if isinstance(self._file, Hopeful):
                self._file = file

    patches.attribute(Wal, "append", hopeful)


@_mutant(
    "paper §5.3: of two entries of one index the later one counts, after a restart too",
    ("depose", "flap", "kill all"),
)
def replays_the_entry_that_was_replaced(patches: Patches) -> None:
    take = _Replay._entry

    def first_wins(self: _Replay, position: int, entry: Any) -> str:
        return "" if entry.index <= self.last else take(self, position, entry)

    patches.attribute(_Replay, "_entry", first_wins)


# Exactly once.


@_mutant("a proposal sent again is one proposal", ("weather", "flap"))
def takes_a_proposal_twice(patches: Patches) -> None:
    patches.attribute(
        proposals.TakenSequences, "new", lambda self, propose: list(range(len(propose.sequences)))
    )


@_mutant("a new leader may have what the one before was given")
def proposes_anew_without_knowing(patches: Patches) -> None:
    notice = RunningMember.noticed

    def impatient(self: RunningMember) -> None:
        before = self._seen
        notice(self)
        if before is not None and before[0] != self.core.term:
            self._proposals.term_applied(self.core.term)

    patches.attribute(RunningMember, "noticed", impatient)


# Leases.


@_mutant(
    "etcd #15247: a deposed leader, unaware of it, keeps leases alive", ("depose", "split"), theme="leases"
)
def keeps_leases_alive_after_its_time(patches: Patches) -> None:
    respond = duties.LeaderDuties.respond

    async def unaware(self: duties.LeaderDuties, question: Any) -> Any:
        leading = self._tenure()
        if leading is not None and question.WhichOneof("question") == "keep_alive":
            return duties.pb.Answer(number=await leading.leases.keep_alive(question.keep_alive))
        return await respond(self, question)

    patches.attribute(duties.LeaderDuties, "respond", unaware)


@_mutant("a follower's clock says that leases are over, which it never hears to be kept alive")
def a_followers_clock_ends_leases(patches: Patches) -> None:
    applied, noticed = RunningMember.applied, RunningMember.noticed

    async def propose(self: Any, command: bytes) -> Any:
        answer = self._proposals.add(command)
        self._wake()
        return await answer

    def eager(self: RunningMember, entries: Any) -> None:
        applied(self, entries)
        if getattr(self, "_own_clock", None) is None:
            tenure_ = tenure.Tenure(
                0, self.machine, self._clock, self._proposals, self._driver.wake, self._ended
            )
            self._own_clock = tenure_
        for lease in self.machine.leases.values():
            book = self._own_clock.leases
            if lease.lease not in book._book.leases():
                book.granted(lease)

    patches.attribute(tenure.Tenure, "_propose", propose)
    patches.attribute(RunningMember, "applied", eager)
    patches.attribute(RunningMember, "noticed", noticed)


@_mutant("etcd's lessor: a new leader gives every lease its whole time")
def a_new_leader_ends_leases_at_once(patches: Patches) -> None:
    begin = LeaseOwner.__init__

    def strict(self: LeaseOwner, machine: Machine, *more: Any) -> None:
        begin(self, machine, *more)
        for lease in machine.leases:
            self._book.start(lease, 0, self._clock.monotonic_ns())

    patches.attribute(LeaseOwner, "__init__", strict)


# Watches and history.


@_mutant(
    "etcd #15220 and others: a watch behind a compaction is told, not passed over",
    ("kill", "pause"),
    theme="compactions",
)
def a_watch_loses_events_at_compaction(patches: Patches) -> None:
    take = HistoryWatch.take

    def silent(self: HistoryWatch) -> Any:
        self._next = max(self._next, self._hub.machine.compact_revision)
        return take(self)

    patches.attribute(HistoryWatch, "take", silent)


@_mutant("etcd #16907: a watch that was opened again is told the last event again", ("kill",))
def a_watch_repeats_after_reconnecting(patches: Patches) -> None:
    watch = WatchHub.watch

    def early(self: WatchHub, key: bytes, end: bytes, start: int, *more: Any) -> Any:
        return watch(self, key, end, start - 1 if start > 1 else start, *more)

    patches.attribute(WatchHub, "watch", early)


@_mutant("etcd #15271: what happened while a slow watch caught up is not told")
def a_slow_watch_misses_what_is_new(patches: Patches) -> None:
    changed = HistoryWatch.changed

    def deaf(self: HistoryWatch, revision: int) -> None:
        if self._pending:
            self._next = max(self._next, revision)
        changed(self, revision)

    patches.attribute(HistoryWatch, "changed", deaf)


@_mutant("etcd's API guarantees: a bookmark promises that nothing before it is still to come")
def a_bookmark_runs_ahead(patches: Patches) -> None:
    take = HistoryWatch.take

    def boasting(self: HistoryWatch) -> Any:
        batch = take(self)
        if batch is None:
            return None
        return type(batch)(batch.revision + 1, batch.events)

    patches.attribute(HistoryWatch, "take", boasting)


@_mutant("etcd's API guarantees: a transaction is told whole")
def a_watch_tells_half_a_transaction(patches: Patches) -> None:
    def halved(self: WatchHub, start: int, key: bytes, range_end: bytes, prev_kv: bool) -> Any:
        batch, following = whole(self, start, key, range_end, prev_kv)
        first = {}
        for event in batch.events:
            first.setdefault(event.kv.mod_revision, event)
        return type(batch)(batch.revision, list(first.values())), following

    whole = WatchHub.batch
    patches.attribute(WatchHub, "batch", halved)


@_mutant("etcd #17780: compaction takes what is still to be read", ("kill",), theme="compactions")
def compaction_takes_too_much(patches: Patches) -> None:
    patches.attribute(History, "compact", _compacting_one_more(History.compact))


def _compacting_one_more(compact: Callable[[History, int], None]) -> Callable[[History, int], None]:
    def greedy(self: History, revision: int) -> None:
        compact(self, revision + 1)

    return greedy


@_mutant("two transactions that compare are one after the other")
def compares_with_what_is_newer(patches: Patches) -> None:
    holds = Machine._holds

    def blurred(self: Machine, compare: Any) -> bool:
        if isinstance(compare.value, int) and compare.value:
            compare = replace(compare, value=compare.value + 1)
        return holds(self, compare)

    patches.attribute(Machine, "_holds", blurred)
