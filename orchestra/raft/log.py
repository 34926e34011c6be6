"""The log as it is in memory: what follows the newest snapshot, how far it is durable, committed, applied."""

from collections.abc import Sequence

from orchestra.raft.encoding import decode_configuration
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark

# What an entry costs beside its data, for every bound in bytes.
ENTRY_OVERHEAD_BYTES = 24


def size_of(entries: Sequence[Entry]) -> int:
    """Bytes that the bounds count for them."""
    return sum([len(entry.data) for entry in entries]) + ENTRY_OVERHEAD_BYTES * len(entries)


class RaftLog:
    """Entries `first_index`..`last_index`, and before them the mark of what was forgotten.

    durable: up to here it is on disk. committed, applied: never beyond last_index.
    """

    __slots__ = (
        "_before",
        "_configurations",
        "_entries",
        "_handed",
        "_start",
        "_undo",
        "applied",
        "commit",
        "durable",
    )

    def __init__(
        self, hard_state: HardState, mark: SnapshotMark, entries: Sequence[Entry], applied: int
    ) -> None:
        """As it is on disk. Raises: ValueError, when it has a gap."""
        # What is before the first entry: index and term.
        self._start = (mark.index, mark.term)
        self._entries: list[Entry] = []
        # The configurations in force from an index on, ascending; the first one is the mark's or older.
        self._configurations: list[tuple[int, Configuration]] = [(mark.index, mark.configuration)]
        self.durable = mark.index
        self.commit = mark.index
        self.applied = applied
        # The last entry of the Ready under way that has not been replaced since.
        self._handed = 0
        # What is applied, while a snapshot that goes beyond it is being installed.
        self._before: SnapshotMark | None = None
        # The log that this snapshot replaces, in case that it cannot be installed.
        self._undo: tuple[tuple[int, int], list[Entry], list[tuple[int, Configuration]], int, int] | None = (
            None
        )
        if not mark.index <= applied <= mark.index + len(entries):
            raise ValueError(f"applied {applied} is not within the log that begins after {mark.index}")
        for offset, entry in enumerate(entries, 1):
            if entry.index != mark.index + offset:
                raise ValueError(f"the log has entry {entry.index} where {mark.index + offset} belongs")
        self.extend(entries)
        self.durable = self.last_index
        # A commit index beyond the log was written ahead of entries that a crash took away.
        self.commit = max(mark.index, applied, min(hard_state.commit, self.last_index))

    @property
    def first_index(self) -> int:
        """The oldest entry still here (the next one to come, when there is none)."""
        return self._start[0] + 1

    @property
    def last_index(self) -> int:
        """The newest entry."""
        return self._start[0] + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the newest entry."""
        return self._entries[-1].term if self._entries else self._start[1]

    @property
    def configuration(self) -> Configuration:
        """The newest one, committed or not (paper §6)."""
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        """The entry that brought it."""
        return self._configurations[-1][0]

    def configuration_at(self, index: int) -> Configuration:
        """The one in force at `index`; the oldest known, when that is before it."""
        if self._before is not None and index <= self._before.index:
            return self._before.configuration
        for since, configuration in reversed(self._configurations):
            if since <= index:
                return configuration
        return self._configurations[0][1]

    def configurations_from(self, index: int) -> list[Configuration]:
        """The one in force at `index`, and those after it."""
        return [self.configuration_at(index), *(c for since, c in self._configurations if since > index)]

    def term_at(self, index: int) -> int | None:
        """The term of the entry; None: it is not here (not yet, or forgotten)."""
        position = index - self._start[0]
        if position == 0:
            return self._start[1]
        if 0 < position <= len(self._entries):
            return self._entries[position - 1].term
        if self._before is not None and index == self._before.index:
            return self._before.term
        return None

    def newest_not_above(self, index: int, term: int) -> tuple[int, int]:
        """The newest entry at or before `index` whose term is not above `term`: where two logs may meet.

        Returns: its index and term; term 0, when it is forgotten. Source: paper §5.3, the end.
        """
        index = min(index, self.last_index)
        while index > self._start[0]:
            own = self._entries[index - self._start[0] - 1].term
            if own <= term:
                return index, own
            index -= 1
        if index == self._start[0] and self._start[1] <= term:
            return self._start
        return index, 0

    def extend(self, entries: Sequence[Entry]) -> None:
        """Takes entries that follow the last one."""
        self._entries.extend(entries)
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION:
                self._configurations.append((entry.index, decode_configuration(entry.data)))

    def extend_normal(self, entries: list[Entry]) -> None:
        """The same, for entries of which none is a configuration."""
        self._entries.extend(entries)

    def truncate(self, index: int) -> None:
        """Forgets the entries from `index` on, and the configurations that they brought (paper §6).

        Raises: AssertionError, when one of them is committed: safety is lost, nothing may go on.
        """
        if index <= self.commit:
            raise AssertionError(
                f"a leader replaces entry {index}, which this log has as committed (up to {self.commit}): "
                "a member has lost what it had acknowledged"
            )
        del self._entries[index - self._start[0] - 1 :]
        while len(self._configurations) > 1 and self._configurations[-1][0] >= index:
            self._configurations.pop()
        self.durable = min(self.durable, index - 1)
        self._handed = min(self._handed, index - 1)

    def commit_to(self, index: int) -> bool:
        """Whether the commit index moved. Raises: AssertionError beyond the log."""
        if index <= self.commit:
            return False
        if index > self.last_index:
            raise AssertionError(
                f"entry {index} is said to be committed here, and this log ends at {self.last_index}: "
                "this member has lost what it had acknowledged"
            )
        self.commit = index
        return True

    def slice(self, index: int, bytes_max: int, last: int | None = None) -> list[Entry]:
        """Entries from `index` (to `last`), as many as the bytes allow, at least one if there is one."""
        start = index - self._start[0] - 1
        end = len(self._entries) if last is None else last - self._start[0]
        taken = self._entries[start:end] if end - start < 256 else self._entries[start : start + 256]
        more = start + 256
        while True:
            room = bytes_max
            for count, entry in enumerate(taken):
                room -= len(entry.data) + ENTRY_OVERHEAD_BYTES
                if room < 0 and count:
                    return taken[:count]
            if more >= end:
                return taken
            taken += self._entries[more : min(end, more + len(taken))]
            more = start + len(taken)

    # What is on its way to the disk.

    def hand_out(self) -> list[Entry]:
        """The entries that are not durable, for a Ready."""
        entries = self._entries[self.durable - self._start[0] :]
        self._handed = self.last_index if entries else 0
        return entries

    def made_durable(self) -> None:
        """What was handed out is on disk."""
        if self._handed > self.durable:
            self.durable = self._handed
        self._handed = 0

    def take_back(self) -> list[Entry]:
        """Forgets what is not durable, though a lone member's own commit may have been ahead of the disk."""
        lost = self._entries[self.durable - self._start[0] :]
        self.commit = min(self.commit, self.durable)
        self._handed = 0
        if lost:
            self.truncate(self.durable + 1)
        return lost

    # Snapshots.

    def install(self, mark: SnapshotMark) -> None:
        """Begins anew after a snapshot (paper §7). What is applied stays known until `installed`."""
        term = self.term_at(self.applied)
        assert term is not None
        self._before = SnapshotMark(self.applied, term, self.configuration_at(self.applied))
        self._undo = self._start, self._entries, self._configurations, self.durable, self.commit
        self._start = (mark.index, mark.term)
        self._entries = []
        self._configurations = [(mark.index, mark.configuration)]
        self.durable = self.commit = mark.index
        self._handed = 0

    def installed(self) -> None:
        """The snapshot is what is applied."""
        self.applied = self._start[0]
        self._before = self._undo = None

    def not_installed(self) -> None:
        """The snapshot could not be kept: all is as it was before `install`."""
        assert self._undo is not None
        self._start, self._entries, self._configurations, self.durable, self.commit = self._undo
        self._handed = 0
        self._before = self._undo = None

    def compact(self, index: int) -> None:
        """Forgets entries up to `index`, of which a snapshot keeps what they did. Raises: ValueError."""
        if index <= self._start[0]:
            return
        if index > self.applied:
            raise ValueError(f"entry {index} cannot be forgotten: only {self.applied} is applied")
        term = self.term_at(index)
        assert term is not None
        del self._entries[: index - self._start[0]]
        self._start = (index, term)
        configuration = self.configuration_at(index)
        newer = [each for each in self._configurations if each[0] > index]
        since = max(since for since, _ in self._configurations if since <= index)
        self._configurations = [(since, configuration), *newer]
