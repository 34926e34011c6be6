"""A Raft group in memory: cores with disks that lose what was not written, and a network of queued messages."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from orchestra.raft.core import RaftCore
from orchestra.raft.model import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftSettings,
    ReadState,
    Ready,
    Role,
    SnapshotChunk,
    SnapshotMark,
)
from orchestra.raft.state import Restored


@dataclass
class Disk:
    """What survives a crash. state: what the machine was at the mark."""

    mark: SnapshotMark
    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    state: tuple[bytes, ...] = ()

    def write(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            first = entries[0].index
            assert self.mark.index < first <= self.mark.index + len(self.entries) + 1
            del self.entries[first - self.mark.index - 1 :]
            self.entries.extend(entries)

    def install(self, mark: SnapshotMark, state: tuple[bytes, ...]) -> None:
        self.mark, self.state, self.entries = mark, state, []

    def snapshot(self, mark: SnapshotMark, state: tuple[bytes, ...]) -> None:
        self.entries = self.entries[mark.index - self.mark.index :]
        self.mark, self.state = mark, state


def pieces_of(state: Sequence[bytes], size: int = 3) -> Iterator[bytes]:
    """A state in pieces of a few commands."""
    for start in range(0, len(state), size):
        yield b"\n".join(state[start : start + size])


class Node:
    """A member and its driver. Its machine is the list of the commands applied."""

    def __init__(self, settings: RaftSettings, disk: Disk, seed: int) -> None:
        self.settings = settings
        self.disk = disk
        self.seed = seed
        self.starts = 0
        self.up = False
        # Its disk has no room for a snapshot.
        self.full = False
        self.start()

    def start(self) -> None:
        disk = self.disk
        restored = Restored(disk.hard_state, disk.mark, list(disk.entries), disk.mark.index)
        self.core = RaftCore(self.settings, restored, random.Random(f"{self.seed}/{self.starts}"))
        self.starts += 1
        self.state = list(disk.state)
        self.chunks: list[SnapshotChunk] = []
        self.reads: list[ReadState] = []
        self.up = True

    def crash(self) -> None:
        self.up = False

    @property
    def id(self) -> int:
        return self.settings.node

    def persist(self, ready: Ready) -> None:
        self.disk.write(ready.hard_state, ready.entries)
        for chunk in ready.chunks:
            if chunk.sequence == 0:
                self.chunks = []
            assert chunk.sequence == len(self.chunks)
            self.chunks.append(chunk)
        if ready.install is not None:
            assert self.chunks[-1].last
            assert self.chunks[-1].mark == ready.install
            data = b"\n".join(chunk.data for chunk in self.chunks if chunk.data)
            self.state = data.split(b"\n") if data else []
            self.disk.install(ready.install, tuple(self.state))

    def snapshot(self, keep: int = 0) -> None:
        """Writes a snapshot of what is applied, and forgets all but `keep` entries before it."""
        core = self.core
        applied = core.applied
        if applied <= self.disk.mark.index:
            return
        term = core.term_at(applied)
        assert term is not None
        mark = SnapshotMark(applied, term, core.configuration_at(applied))
        self.disk.snapshot(mark, tuple(self.state))
        core.compact(applied - keep)


class Group:
    """Nodes by number, and the messages under way."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.nodes: dict[int, Node] = {}
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.says: Callable[[str], None] = lambda line: None
        self.applied: Callable[[Node, Entry], None] = lambda node, entry: None
        self.offers_snapshots = True

    def add(
        self,
        numbers: Sequence[int],
        voters: Sequence[int] | None = None,
        learners: Sequence[int] = (),
        **settings: object,
    ) -> None:
        """Adds members. voters: those of the first configuration; all of them, if not given."""
        first = Configuration(
            frozenset(numbers if voters is None else voters), frozenset(), frozenset(learners)
        )
        for number in numbers:
            own = replace(RaftSettings(node=number), **settings)  # type: ignore[arg-type]
            self.nodes[number] = Node(own, Disk(SnapshotMark(0, 0, first)), self.seed * 1000 + number)

    def __getitem__(self, number: int) -> RaftCore:
        return self.nodes[number].core

    def work(self, number: int) -> bool:
        """Does one Ready of a member. False: there was none."""
        node = self.nodes[number]
        if not node.up or (ready := node.core.ready()) is None:
            return False
        self.send(ready.send_now)
        if node.full and ready.chunks:
            ready = node.core.abandon_incoming()
        node.persist(ready)
        self.send(ready.send_after_sync)
        self.finish(node, ready)
        return True

    def finish(self, node: Node, ready: Ready) -> None:
        """Applies and answers, after all is durable and sent."""
        for entry in ready.committed:
            if entry.kind is EntryKind.NORMAL and entry.data:
                node.state.append(entry.data)
            self.applied(node, entry)
        node.reads.extend(ready.reads)
        node.core.advance(ready)
        for wanting in ready.snapshots_wanted:
            if not self.offers_snapshots or not node.disk.mark.index:
                node.core.snapshot_failed(wanting)
            else:
                node.core.offer_snapshot(wanting, node.disk.mark, pieces_of(node.disk.state))

    def send(self, messages: Sequence[Message]) -> None:
        self.network.extend(messages)

    def deliver(self, message: Message) -> None:
        """Hands a message over, unless the way is cut or nobody is there."""
        node = self.nodes.get(message.to)
        if node is not None and node.up and (message.frm, message.to) not in self.cut:
            node.core.step(message)

    def settle(self, rounds: int = 1000) -> None:
        """Works and delivers until nothing is left to do."""
        for _ in range(rounds):
            busy = False
            for number in sorted(self.nodes):
                while self.work(number):
                    busy = True
            waiting, self.network = self.network, []
            for message in waiting:
                self.deliver(message)
            if not busy and not waiting:
                return
        raise AssertionError("the group does not come to rest")

    def tick(self, times: int = 1, *numbers: int) -> None:
        """Ticks members (all, if none is named), settling after each."""
        for _ in range(times):
            for number in numbers or sorted(self.nodes):
                if self.nodes[number].up:
                    self[number].tick()
            self.settle()

    def lead(self, number: int) -> RaftCore:
        """Makes a member the leader."""
        self[number].campaign()
        self.settle()
        assert self[number].role is Role.LEADER
        return self[number]

    def separate(self, *numbers: int) -> None:
        """Cuts these off from all others, both ways."""
        for a in numbers:
            for b in self.nodes:
                if b not in numbers:
                    self.cut |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.cut.clear()

    def leaders(self) -> list[int]:
        return [number for number, node in self.nodes.items() if node.up and node.core.role is Role.LEADER]

    def log_of(self, number: int) -> list[tuple[int, int, bytes]]:
        """Index, term and data of each entry on disk."""
        return [(entry.index, entry.term, entry.data) for entry in self.nodes[number].disk.entries]


def three(**settings: object) -> Group:
    """Three voters, 1 leads, everything is quiet."""
    group = Group()
    group.add([1, 2, 3], **settings)
    group.lead(1)
    group.tick(2)
    return group
