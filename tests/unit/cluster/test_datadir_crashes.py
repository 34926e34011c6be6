"""Power lost at any operation of the disk, again and again on one data directory.

The member follows a cluster whose committed log is `truth`: it is given entries of it, entries that nobody
commits and that are replaced, hard states, and whole snapshots. After each loss the directory opens with a
state that it was in, or was being brought to; and its machine is what `truth` makes.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.datadir import DataDirectory
from orchestra.mvcc.commands import encode
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import DeleteRange, Put, Txn
from orchestra.mvcc.snapshot import snapshot, state_hash
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark
from tests.unit.storage.crashing import Crash, CrashingDisk

DIRECTORY = Path("/data")
LIVES = 12
CONFIGURATION = Configuration(frozenset((1, 2, 3)), context=b"names")
BOOTSTRAP = Bootstrap("ab" * 16, 1, "m1", CONFIGURATION)

Log = tuple[Entry, ...]


def some_command(rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return b""
    key = b"%d" % rng.randrange(30)
    value = rng.randbytes(rng.choice((0, 5, 200, 3000)))
    op = DeleteRange(key) if rng.random() < 0.2 else Put(key, value + bytes(rng.choice((0, 0, 600))))
    return encode(Txn((), (op,)))


def applied(machine: Machine, entries: Log) -> Machine:
    for entry in entries:
        if entry.data:
            machine.apply(entry.index, entry.data)
        else:
            machine.skip(entry.index)
    return machine


class World:
    """possible: the states that the disk may be in, as (hard state, whole log from entry 1 on)."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = CrashingDisk(self.rng)
        self.truth: Log = ()
        self.hard_state = HardState()
        self.log: Log = ()
        self.possible: list[tuple[HardState, Log]] = [(self.hard_state, self.log)]
        self.commit = 0
        self.installs = self.replaced = 0

    def grown(self, size: int) -> None:
        """Makes the committed log at least that long."""
        while len(self.truth) < size:
            term = self.truth[-1].term + (self.rng.random() < 0.1) if self.truth else 1
            entry = Entry(term, len(self.truth) + 1, EntryKind.NORMAL, some_command(self.rng))
            self.truth = (*self.truth, entry)

    def open(self) -> DataDirectory:
        """Opens the directory and checks it."""
        directory = DataDirectory.open(self.disk, DIRECTORY, "m1", 8000, BOOTSTRAP)
        mark, found = directory.mark, directory.hard_state
        assert mark.configuration == CONFIGURATION
        assert mark.term == (self.truth[mark.index - 1].term if mark.index else 0)
        expected = applied(Machine(), self.truth[: mark.index])
        assert state_hash(directory.machine) == state_hash(expected)
        log = (*self.truth[: mark.index], *directory.entries)
        assert any(
            log == each and found == replace(hard_state, commit=max(hard_state.commit, mark.index))
            for hard_state, each in self.possible
        )
        assert log[: found.commit] == self.truth[: found.commit]
        assert all(entry.term <= found.term for entry in log)
        assert self.commit <= len(log)
        assert log[: self.commit] == self.truth[: self.commit]
        self.commit = found.commit
        self.known(found, log)
        applied(directory.machine, log[mark.index : self.commit])
        return directory

    def known(self, hard_state: HardState, log: Log) -> None:
        self.hard_state, self.log = hard_state, log
        self.possible = [(hard_state, log)]

    def write(self, directory: DataDirectory) -> None:
        """What an AppendEntries comes to: of the leader's log, or of a leader's that will not last."""
        rng = self.rng
        lasts = rng.random() < 0.7
        agreed = self.commit
        while agreed < min(len(self.log), len(self.truth)) and self.log[agreed] == self.truth[agreed]:
            agreed += 1
        first = agreed + 1 if lasts else rng.randint(self.commit + 1, len(self.log) + 1)
        size = rng.randint(1, 5)
        self.grown(first + size)
        term = self.hard_state.term + (rng.random() < 0.3 or not lasts)
        if lasts:
            entries = self.truth[first - 1 : first - 1 + size]
            term = max(term, entries[-1].term)
        else:
            entries = tuple(
                Entry(term, index, EntryKind.NORMAL, b"never committed %d" % index)
                for index in range(first, first + size)
            )
        log = (*self.log[: first - 1], *entries)
        commit = rng.randint(self.commit, first - 1 + size) if lasts else self.commit
        vote = rng.randint(0, 3) if term > self.hard_state.term else self.hard_state.vote
        wanted = HardState(term, vote, commit)
        early = replace(wanted, commit=min(commit, first - 1))
        self.replaced += first <= len(self.log)
        self.possible += [(early, self.log)]
        self.possible += [(early, (*self.log[: first - 1], *entries[:n])) for n in range(1, size + 1)]
        self.possible += [(wanted, log)]
        directory.journal.append(wanted, entries, True)
        self.known(wanted, log)
        applied(directory.machine, log[self.commit : commit])
        self.commit = commit

    def vote(self, directory: DataDirectory) -> None:
        wanted = HardState(self.hard_state.term + 1, self.rng.randint(0, 3), self.commit)
        self.possible += [(wanted, self.log)]
        directory.journal.append(wanted, (), True)
        self.known(wanted, self.log)

    def hear_of_commit(self, directory: DataDirectory) -> None:
        """It may be forgotten: nothing waits for it."""
        agreed = self.commit
        while agreed < min(len(self.log), len(self.truth)) and self.log[agreed] == self.truth[agreed]:
            agreed += 1
        wanted = replace(self.hard_state, commit=self.rng.randint(self.commit, agreed))
        directory.journal.append(wanted, (), False)
        applied(directory.machine, self.log[self.commit : wanted.commit])
        self.commit, self.hard_state = wanted.commit, wanted
        self.possible += [(wanted, self.log)]

    def mark(self, index: int) -> SnapshotMark:
        return SnapshotMark(index, self.truth[index - 1].term, CONFIGURATION)

    def take_snapshot(self, directory: DataDirectory) -> None:
        index = directory.machine.applied_index
        if index == 0:
            return
        self.fill(directory, index, iter(snapshot(directory.machine)))

    def fill(self, directory: DataDirectory, index: int, chunks: Iterator[bytes]) -> None:
        writer = directory.begin_snapshot(self.mark(index))
        for chunk in chunks:
            writer.write(chunk)
        directory.keep(writer, self.mark(index))

    def install(self, directory: DataDirectory) -> None:
        """A snapshot that comes in from far ahead."""
        rng = self.rng
        index = self.commit + rng.randint(1, 30)
        self.grown(index)
        mark = self.mark(index)
        machine = applied(Machine(), self.truth[:index])
        wanted = HardState(max(self.hard_state.term, mark.term), self.hard_state.vote, index)
        if wanted.term > self.hard_state.term:
            wanted = replace(wanted, vote=0)
        early = replace(wanted, commit=self.hard_state.commit)
        follows = len(self.log) >= index and self.log[index - 1].term == mark.term
        kept = self.log if follows else self.truth[:index]
        for hard_state, _ in [*self.possible, (early, ())]:
            in_term = hard_state if hard_state.term >= mark.term else HardState(mark.term)
            self.possible += [(hard_state, self.log), (in_term, kept)]
            self.possible += [(replace(each, commit=index), kept) for each in (in_term, wanted)]
        self.possible += [(wanted, self.truth[:index])]
        writer = directory.begin_snapshot(mark)
        for chunk in snapshot(machine):
            writer.write(chunk)
        directory.machine = directory.install(writer, mark, wanted)
        assert state_hash(directory.machine) == state_hash(machine)
        self.known(wanted, self.truth[:index])
        self.commit = index
        self.installs += 1

    def live(self) -> None:
        """From an opening, which may fail too, to the next loss of power."""
        self.disk.operations_left = self.rng.randrange(90)
        directory = self.open()
        actions = (self.take_snapshot, self.install, self.vote, self.hear_of_commit, self.write)
        while True:
            self.rng.choices(actions, (10, 5, 10, 15, 60))[0](directory)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_safe_is_lost(seed: int) -> None:
    world = World(seed)
    for _ in range(LIVES):
        with pytest.raises(Crash):
            world.live()
        world.disk.crash()
    world.open()
    assert world.commit > 0
    assert world.installs + world.replaced > 0
