"""Bugs in what stands on consensus: durability, exactly once, leases, watches and history."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from orchestra.cluster import datadir, duties, proposals, running, tenure
from orchestra.cluster.journal import _Replay
from orchestra.cluster.running import RunningMember
from orchestra.mvcc.history import History
from orchestra.mvcc.machine import Machine
from orchestra.storage.wal import Wal
from orchestra.store.leases import LeaseOwner
from orchestra.store.watch import HistoryWatch, WatchHub
from tests.simulation.group.planting import Patches, mutant

# Durability.


@mutant("etcd #13766: the applied index saved apart from the data it covers")
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


@mutant(
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


@mutant(
    "paper §5.3: of two entries of one index the later one counts, after a restart too",
    ("depose", "flap", "kill all"),
)
def replays_the_entry_that_was_replaced(patches: Patches) -> None:
    take = _Replay._entry

    def first_wins(self: _Replay, position: int, entry: Any) -> str:
        return "" if entry.index <= self.last else take(self, position, entry)

    patches.attribute(_Replay, "_entry", first_wins)


# Exactly once.


@mutant("a proposal sent again is one proposal", ("weather", "flap"))
def takes_a_proposal_twice(patches: Patches) -> None:
    patches.attribute(
        proposals.TakenSequences, "new", lambda self, propose: list(range(len(propose.sequences)))
    )


@mutant("a new leader may have what the one before was given")
def proposes_anew_without_knowing(patches: Patches) -> None:
    notice = RunningMember.noticed

    def impatient(self: RunningMember) -> None:
        before = self._seen
        notice(self)
        if before is not None and before[0] != self.core.term:
            self._proposals.term_applied(self.core.term)

    patches.attribute(RunningMember, "noticed", impatient)


# Leases.


@mutant(
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


@mutant("a follower's clock says that leases are over, which it never hears to be kept alive")
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


@mutant("etcd's lessor: a new leader gives every lease its whole time")
def a_new_leader_ends_leases_at_once(patches: Patches) -> None:
    begin = LeaseOwner.__init__

    def strict(self: LeaseOwner, machine: Machine, *more: Any) -> None:
        begin(self, machine, *more)
        for lease in machine.leases:
            self._book.start(lease, 0, self._clock.monotonic_ns())

    patches.attribute(LeaseOwner, "__init__", strict)


# Watches and history.


@mutant(
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


@mutant("etcd #16907: a watch that was opened again is told the last event again", ("kill",))
def a_watch_repeats_after_reconnecting(patches: Patches) -> None:
    watch = WatchHub.watch

    def early(self: WatchHub, key: bytes, end: bytes, start: int, *more: Any) -> Any:
        return watch(self, key, end, start - 1 if start > 1 else start, *more)

    patches.attribute(WatchHub, "watch", early)


@mutant("etcd #15271: what happened while a slow watch caught up is not told")
def a_slow_watch_misses_what_is_new(patches: Patches) -> None:
    changed = HistoryWatch.changed

    def deaf(self: HistoryWatch, revision: int) -> None:
        if self._pending:
            self._next = max(self._next, revision)
        changed(self, revision)

    patches.attribute(HistoryWatch, "changed", deaf)


@mutant("etcd's API guarantees: a bookmark promises that nothing before it is still to come")
def a_bookmark_runs_ahead(patches: Patches) -> None:
    take = HistoryWatch.take

    def boasting(self: HistoryWatch) -> Any:
        batch = take(self)
        if batch is None:
            return None
        return type(batch)(batch.revision + 1, batch.events)

    patches.attribute(HistoryWatch, "take", boasting)


@mutant("etcd's API guarantees: a transaction is told whole")
def a_watch_tells_half_a_transaction(patches: Patches) -> None:
    def halved(self: WatchHub, start: int, key: bytes, range_end: bytes, prev_kv: bool) -> Any:
        batch, following = whole(self, start, key, range_end, prev_kv)
        first = {}
        for event in batch.events:
            first.setdefault(event.kv.mod_revision, event)
        return type(batch)(batch.revision, list(first.values())), following

    whole = WatchHub.batch
    patches.attribute(WatchHub, "batch", halved)


@mutant("etcd #17780: compaction takes what is still to be read", ("kill",), theme="compactions")
def compaction_takes_too_much(patches: Patches) -> None:
    patches.attribute(History, "compact", _compacting_one_more(History.compact))


def _compacting_one_more(compact: Callable[[History, int], None]) -> Callable[[History, int], None]:
    def greedy(self: History, revision: int) -> None:
        compact(self, revision + 1)

    return greedy


@mutant("two transactions that compare are one after the other")
def compares_with_what_is_newer(patches: Patches) -> None:
    holds = Machine._holds

    def blurred(self: Machine, compare: Any) -> bool:
        if isinstance(compare.value, int) and compare.value:
            compare = replace(compare, value=compare.value + 1)
        return holds(self, compare)

    patches.attribute(Machine, "_holds", blurred)
