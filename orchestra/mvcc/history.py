"""What happened: every change since the last compaction, in order.

History is all that is kept of the past: a change knows what it replaced, so the state at an older revision is
the newest state with the changes since taken back. A key that never changes costs nothing here.

    revision 5: put a=1      events [5 put a=1 (before: none)]
    revision 6: delete a     events [5 put a=1, 6 delete a (before: a=1)]
    read a at 5              the first change of a after 5 is 6: what it replaced, a=1
    compact 6                events [6 delete a]; what it replaced is forgotten, 5 can no longer be read
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from orchestra.mvcc.keyindex import in_range
from orchestra.mvcc.model import Event, KeyValue


class History:
    """Events by revision. Bound: by compaction; the store's owner decides when."""

    __slots__ = ("_events", "_revisions", "value_bytes")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._revisions: list[int] = []
        self.value_bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def newest_revision(self) -> int:
        """The revision of the newest change that is kept; 0 without any."""
        return self._revisions[-1] if self._revisions else 0

    def append(self, revision: int, event: Event) -> None:
        """Adds the newest change."""
        self._revisions.append(revision)
        self._events.append(event)
        self.value_bytes += len(event.kv.value)

    def since(
        self, revision: int, key: bytes, range_end: bytes, limit: int
    ) -> tuple[list[Event], int | None]:
        """A range's changes at `revision` and later, and the revision that the next ones start at.

        Ends after `limit` events (0: never), but never within a revision; then there is a next revision,
        else None.
        """
        events, revisions = self._events, self._revisions
        at = bisect_left(revisions, revision)
        if at == len(events):
            return [], None
        if not limit:
            return self._matching(at, len(events), key, range_end), None
        found: list[Event] = []
        while at < len(events):
            # A stretch at least `limit` long, to the end of its revision: it may match wholly or not at all.
            end = bisect_right(revisions, revisions[min(at + limit, len(events)) - 1], at)
            found += self._matching(at, end, key, range_end)
            at = end
            if len(found) >= limit:
                break
        return found, revisions[at] if at < len(events) else None

    def _matching(self, start: int, end: int, key: bytes, range_end: bytes) -> list[Event]:
        events = self._events[start:end]
        if not range_end:
            return [event for event in events if event.kv.key == key]
        if range_end == b"\0":
            return [event for event in events if event.kv.key >= key]
        return [event for event in events if key <= event.kv.key < range_end]

    def replaced_since(self, revision: int, key: bytes, range_end: bytes) -> dict[bytes, KeyValue | None]:
        """For each key of a range that changed after `revision`, what it was at `revision`."""
        was: dict[bytes, KeyValue | None] = {}
        for event in self.after(revision):
            changed = event.kv.key
            if changed not in was and in_range(changed, key, range_end):
                was[changed] = event.prev_kv
        return was

    def after(self, revision: int) -> Sequence[Event]:
        """Every change after a revision."""
        return self._events[bisect_right(self._revisions, revision) :]

    def revision_keeping(self, value_bytes: int) -> int:
        """The oldest revision from which on the history's values take at most that many bytes."""
        kept = 0
        for at in range(len(self._events) - 1, -1, -1):
            kept += len(self._events[at].kv.value)
            if kept > value_bytes:
                return self._revisions[at] + 1
        return self._revisions[0] if self._revisions else 0

    def compact(self, revision: int) -> None:
        """Forgets the changes before `revision`, and what those at `revision` replaced."""
        cut = bisect_left(self._revisions, revision)
        self.value_bytes -= sum(len(event.kv.value) for event in self._events[:cut])
        del self._events[:cut]
        del self._revisions[:cut]
        for at in range(bisect_right(self._revisions, revision)):
            event = self._events[at]
            self._events[at] = Event(event.type, event.kv)

    def copy(self) -> list[Event]:
        """The events as they are now, to be read while the history goes on."""
        return self._events[:]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)
