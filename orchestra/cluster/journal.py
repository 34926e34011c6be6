"""Raft's log on disk: hard state, entries and installed snapshots as records of a write-ahead log.

A record's own index is not Raft's: an entry that replaces the log's end is simply written after it, and the
end it replaced counts no more. At every record of the log, and so after a crash at any byte,

    the hard state's term is that of every entry before it, or a later one
    the hard state's commit is the index of an entry before it, or of an installed snapshot
    entries follow each other without a gap, and none that was committed is replaced

Where a log says otherwise it is refused: no crash explains it.

Everything here blocks: it runs on an I/O thread.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError

from orchestra.base.log import get_logger
from orchestra.cluster.journal_records import (
    ENTRY,
    HARD_STATE,
    INSTALLED,
    Head,
    decode_head,
    encode_head,
)
from orchestra.raft.encoding import (
    decode_entry,
    decode_hard_state,
    decode_mark,
    encode_entry,
    encode_hard_state,
    encode_mark,
)
from orchestra.raft.model import Configuration, Entry, HardState, SnapshotMark
from orchestra.storage.disk import Disk
from orchestra.storage.errors import Damaged, StorageError, WrongIdentity
from orchestra.storage.identity import Identity
from orchestra.storage.records import Record
from orchestra.storage.wal import REMEDY, SEGMENT_BYTES, Wal

log = get_logger("cluster.journal")


class Journal:
    """One member's log. `create` once, then `open`; then it takes records. Not for two threads at once."""

    def __init__(
        self, disk: Disk, directory: Path, identity: Identity, *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._directory = directory
        self._wal = Wal(disk, directory, identity, self._head, segment_bytes=segment_bytes)
        # As it is on disk; and what was told since and waits for the next write: a later commit index only.
        self._hard_state = HardState()
        self._told: HardState | None = None
        self._last = 0
        # The log begins after it, whatever was dropped since.
        self._mark = SnapshotMark(0, 0, Configuration(frozenset()))
        # For each segment the last index of the entries in it that count.
        self._ends: list[int] = []

    @property
    def appended_bytes(self) -> int:
        """Bytes appended since the opening."""
        return self._wal.appended_bytes

    @property
    def hard_state(self) -> HardState:
        """The newest that was told."""
        return self._told or self._hard_state

    @property
    def last_index(self) -> int:
        """The newest entry's index."""
        return self._last

    def _head(self) -> bytes:
        return encode_head(self._hard_state, self._mark, self._last)

    # Opening.

    def create(self, mark: SnapshotMark) -> None:
        """Makes the log of a member that begins after `mark`. Raises: StorageError, OSError."""
        self._mark, self._last = mark, mark.index
        self._hard_state = HardState(mark.term, 0, mark.index)
        self._wal.create()
        self._ends = [0]

    def open(self, snapshot: SnapshotMark) -> list[Entry]:
        """The entries after the snapshot that the machine was restored from; `hard_state` is known then.

        A snapshot that the log does not lead up to came from another member, and the machine stopped before
        that was noted: then it replaces the log now, as it would have. Raises: StorageError, OSError.
        """
        heads = self._heads()
        start = max((at for at, head in enumerate(heads) if head.last_index < snapshot.index), default=0)
        # What a segment holds is known from the next one's head, where it need not be read.
        self._ends = [head.last_index for head in heads[1:]] + [0]
        self._ends[start:] = [0] * (len(heads) - start)
        replay = _Replay(self._wal, heads[start], self._ends)
        for position, record in self._wal.replay(start):
            replay.take(position, record)
        self._hard_state, self._mark, self._last = replay.hard_state, replay.mark, replay.last
        self._check(snapshot, replay.first)
        at = snapshot.index - replay.first
        is_known = at < 0 or (at < len(replay.entries) and replay.entries[at].term == snapshot.term)
        if self._last < snapshot.index or not is_known:
            if self._hard_state.commit >= snapshot.index:
                raise self._damaged(
                    f"entry {snapshot.index} is of another term than its snapshot, and both are committed"
                )
            log.warning("a snapshot replaces the log", last=self._last, snapshot=snapshot.index)
            self.installed(snapshot, None)
            return []
        if self._hard_state.commit < snapshot.index:
            self._told = replace(self._hard_state, commit=snapshot.index)
        return replay.entries[max(at + 1, 0) :]

    def _heads(self) -> list[Head]:
        try:
            return [decode_head(head) for head in self._wal.open()]
        except DecodeError as error:
            raise self._damaged(f"the first record of a file cannot be read ({error})") from error

    def _check(self, snapshot: SnapshotMark, first: int) -> None:
        """Whether log and snapshot meet."""
        mark = self._mark
        if mark.index > snapshot.index or (mark.index == snapshot.index and mark.term != snapshot.term):
            raise self._damaged(
                f"the log begins after a snapshot at entry {mark.index} of term {mark.term}, and the newest "
                f"that can be used is at {snapshot.index} of term {snapshot.term}"
            )
        if first > snapshot.index + 1:
            raise self._damaged(
                f"the log begins at entry {first}, and what came after {snapshot.index} is missing"
            )

    def _damaged(self, found: str) -> Damaged:
        return Damaged(self._directory, 0, found, REMEDY)

    # Writing.

    def append(self, hard_state: HardState | None, entries: Sequence[Entry], sync: bool = True) -> None:
        """Makes them durable with one write and one sync; entries replace the log's end from the first on.

        A hard state with nothing new but its commit index waits for the next write, unless `sync`.
        Raises: DiskFull, having kept nothing; DiskFailed, after which the journal takes no more; ValueError
        when they contradict what is in the log.
        """
        wanted = hard_state or self.hard_state
        known = self._hard_state
        self._check_order(wanted, entries)
        if not entries and not sync and (wanted.term, wanted.vote) == (known.term, known.vote):
            self._told = wanted
            return
        before = entries[0].index - 1 if entries else self._last
        last = entries[-1].index if entries else self._last
        # The hard state goes first, for its term; its commit index not before the entries that it speaks of.
        early = replace(wanted, commit=min(wanted.commit, before))
        records = [] if early == known else [(HARD_STATE, encode_hard_state(early))]
        records += [(ENTRY, encode_entry(entry)) for entry in entries]
        if wanted != early:
            records.append((HARD_STATE, encode_hard_state(wanted)))
        if records:
            self._wal.append(records)
        self._hard_state, self._told, self._last = wanted, None, last
        if entries:
            _replaced(self._ends, self._wal.segment_count, before)
            self._ends[-1] = last

    def _check_order(self, wanted: HardState, entries: Sequence[Entry]) -> None:
        known = self.hard_state
        last = self._last
        if entries:
            first, last = entries[0].index, entries[-1].index
            if not known.commit < first <= self._last + 1 or last - first + 1 != len(entries):
                raise ValueError(
                    f"entries {first} to {last} cannot follow {self._last}, committed {known.commit}"
                )
            if entries[-1].term > wanted.term:
                raise ValueError(f"an entry of term {entries[-1].term} in term {wanted.term}")
        if wanted.term < known.term or not known.commit <= wanted.commit <= last:
            raise ValueError(f"{wanted} cannot follow {known} with a log up to {last}")

    def installed(self, mark: SnapshotMark, hard_state: HardState | None) -> None:
        """Notes that a snapshot has replaced state and log; its file is safe by now.

        Raises: DiskFull, having kept nothing; DiskFailed; ValueError when it is older than what is committed.
        """
        known = self._hard_state
        wanted = hard_state or self.hard_state
        if mark.index < self.hard_state.commit or wanted.term < known.term:
            raise ValueError(f"a snapshot at entry {mark.index} in {wanted} cannot follow {self.hard_state}")
        if wanted.term < mark.term:
            wanted = HardState(mark.term)
        wanted = replace(wanted, commit=mark.index)
        early = replace(wanted, commit=known.commit)
        records = [] if early == known else [(HARD_STATE, encode_hard_state(early))]
        records.append((INSTALLED, encode_mark(mark)))
        self._wal.append(records)
        self._hard_state, self._told = wanted, None
        self._mark, self._last = mark, mark.index
        _replaced(self._ends, self._wal.segment_count, 0)

    # Bounding.

    def drop_through(self, index: int) -> int:
        """Removes the files from the oldest on whose entries that count are all up to `index`; how many.

        There must be a snapshot at or after it. Raises: DiskFailed.
        """
        before = self._wal.segment_count
        _replaced(self._ends, before, self._last)
        useless = 0
        while useless < before - 1 and self._ends[useless] <= index:
            useless += 1
        try:
            self._wal.drop(useless)
        finally:
            gone = before - self._wal.segment_count
            del self._ends[:gone]
        return gone

    def close(self) -> None:
        """Writes what waits, and closes."""
        try:
            if self._told is not None:
                self.append(self._told, ())
        except StorageError as error:
            log.info("did not write down how much is committed", why=error)
        finally:
            self._wal.close()


class _Replay:
    """What the records come to, one after the other."""

    def __init__(self, wal: Wal, head: Head, ends: list[int]) -> None:
        self._wal = wal
        self._ends = ends
        self.hard_state, self.mark, self.last = head
        # The index that `entries` begin at.
        self.first = self.last + 1
        self.entries: list[Entry] = []

    def take(self, position: int, record: Record) -> None:
        """The next record. Raises: Damaged, WrongIdentity."""
        try:
            if record.type == ENTRY:
                found = self._entry(position, decode_entry(record.payload))
            elif record.type == HARD_STATE:
                found = self._told(decode_hard_state(record.payload))
            elif record.type == INSTALLED:
                found = self._installed(position, decode_mark(record.payload))
            else:
                raise WrongIdentity(
                    f"{self._wal.place(position)}: record {record.index} is of type {record.type}, which "
                    "this version does not know; start the version that wrote it"
                )
        except (ValueError, KeyError, DecodeError) as error:
            found = f"it cannot be read ({error})"
        if found:
            raise Damaged(self._wal.place(position), record.offset, f"record {record.index}: {found}", REMEDY)

    def _entry(self, position: int, entry: Entry) -> str:
        index = entry.index
        if not self.hard_state.commit < index <= self.last + 1:
            return f"entry {index} where {self.last + 1} should follow, committed {self.hard_state.commit}"
        if entry.term > self.hard_state.term:
            return f"entry {index} of term {entry.term}, but the member knew of no term {entry.term}"
        if index <= self.last:
            del self.entries[max(index - self.first, 0) :]
            self.first = min(self.first, index)
            _replaced(self._ends, position + 1, index - 1)
        self.entries.append(entry)
        self._ends[position] = self.last = index
        return ""

    def _told(self, hard_state: HardState) -> str:
        if hard_state.commit > self.last:
            return f"{hard_state.commit} entries are committed, but there are {self.last}"
        if hard_state.term < self.hard_state.term or hard_state.commit < self.hard_state.commit:
            return f"{hard_state} after {self.hard_state}"
        self.hard_state = hard_state
        return ""

    def _installed(self, position: int, mark: SnapshotMark) -> str:
        if mark.term > self.hard_state.term or mark.index < self.hard_state.commit:
            return f"a snapshot at entry {mark.index} of term {mark.term} after {self.hard_state}"
        self.mark, self.last, self.first, self.entries = mark, mark.index, mark.index + 1, []
        self.hard_state = replace(self.hard_state, commit=mark.index)
        _replaced(self._ends, position + 1, 0)
        return ""


def _replaced(ends: list[int], segments: int, last: int) -> None:
    """Of all segments only entries up to `last` count; there are that many segments by now."""
    ends += [0] * (segments - len(ends))
    for position, end in enumerate(ends):
        if end > last:
            ends[position] = last
