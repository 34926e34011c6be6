"""How much of the log stays in memory once it is applied.

A snapshot for a member that needs more is made from the machine when it is asked for, so memory needs no more
than what spares members that are a little behind a whole snapshot.
"""

from collections import deque
from collections.abc import Sequence

from orchestra.cluster.settings import MemberSettings
from orchestra.raft.model import Entry

# The core forgets in steps.
_STEPS = 8
_ENTRY_BYTES = 200


class Trimming:
    """Which entries to forget. Bound: what it remembers is one mark for each step kept."""

    def __init__(self, applied: int, settings: MemberSettings) -> None:
        self._kept_entries = settings.snapshot_catch_up_entries
        self._kept_bytes = settings.snapshot_catch_up_bytes
        self._kept_bytes_max = settings.snapshot_catch_up_bytes_max
        self._step_entries = max(self._kept_entries // _STEPS, 1)
        self._step_bytes = self._kept_bytes // _STEPS
        self._applied = applied
        self._bytes = 0
        # Ascending: an index, and the bytes applied up to it.
        self._marks: deque[tuple[int, int]] = deque()
        self._last = (applied, 0)

    def applied(self, entries: Sequence[Entry]) -> None:
        """They are in the machine."""
        self._bytes += sum([len(entry.data) for entry in entries]) + _ENTRY_BYTES * len(entries)
        self._applied = entries[-1].index
        index, size = self._last
        if self._applied - index >= self._step_entries or self._bytes - size >= self._step_bytes:
            self._last = (self._applied, self._bytes)
            self._marks.append(self._last)

    def jumped(self, index: int) -> None:
        """A snapshot was installed: the log is empty."""
        self._marks.clear()
        self._applied = index
        self._last = (index, self._bytes)

    def due(self, needed: int | None) -> int:
        """The index to forget up to; 0: nothing more. needed: who follows has the log up to there; None:
        nobody follows.
        """
        index = 0
        while self._marks:
            at, size = self._marks[0]
            kept = self._bytes - size
            if needed is not None and kept < self._kept_bytes_max:
                little = self._applied - at < self._kept_entries and kept < self._kept_bytes
                if little or at > needed:
                    break
            index = at
            self._marks.popleft()
        return index
