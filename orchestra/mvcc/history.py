"""What happened: every change since the last compaction, in order.

History is all that is kept of the past: a change knows what it replaced, so the state at an older revision is
the newest state with the changes since taken back. A key that never changes costs nothing here.

    revision 5: put a=1      events [5 put a=1 (before: none)]
    revision 6: delete a     events [5 put a=1, 6 delete a (before: a=1)]
    read a at 5              the first change of a after 5 is 6: what it replaced, a=1
    compact 6                events [6 delete a]; what it replaced is forgotten, 5 can no longer be read

Changes by key are looked up in an index that is made when somebody first reads far back, and forgotten with
the next compaction: writing costs nothing for it. Who reads a revision twice is probably paging through it:
what has changed since is kept in order then, and only added to, so that a page costs what it holds.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from operator import attrgetter

from orchestra.mvcc.model import Event, EventType, KeyValue

# So many changes are looked through sooner than looked up.
_FEW = 256

_mod_revision = attrgetter("kv.mod_revision")


class _ChangesByKey:
    """The first `indexed` events of a history by their keys."""

    __slots__ = ("_by_key", "_keys", "indexed")

    def __init__(self) -> None:
        self._by_key: dict[bytes, list[Event]] = {}
        self._keys: list[bytes] = []
        self.indexed = 0

    def extend(self, events: Sequence[Event]) -> None:
        """The events after those that it has."""
        by_key, before = self._by_key, len(self._by_key)
        for event in events:
            key = event.kv.key
            changes = by_key.get(key)
            if changes is None:
                by_key[key] = [event]
            else:
                changes.append(event)
        self.indexed += len(events)
        if len(by_key) != before:
            self._keys = sorted(by_key)

    def first_after(self, revision: int, key: bytes) -> Event | None:
        """The first change of a key after a revision."""
        changes = self._by_key.get(key, ())
        at = bisect_right(changes, revision, key=_mod_revision)
        return changes[at] if at < len(changes) else None

    def changed(self, key: bytes, range_end: bytes) -> Sequence[bytes]:
        """The keys of a range that have changed at all, ascending."""
        return self._keys[slice(*_places(self._keys, key, range_end))]

    def newest(self, key: bytes) -> Event:
        """The newest change of a key that has changed."""
        return self._by_key[key][-1]


class Since:
    """What has changed in a range since a revision.

    was: each changed key's value then, None if it was not there; may hold keys outside the range, too.
    before, live: how many changed keys were there then, and are there now. gone: who only was, ascending.
    """

    __slots__ = ("before", "gone", "live", "was")

    def __init__(
        self, was: Mapping[bytes, KeyValue | None], before: int, live: int, gone: Sequence[bytes]
    ) -> None:
        self.was = was
        self.before = before
        self.live = live
        self.gone = gone

    def undone(self, keys: Iterable[bytes], current: Mapping[bytes, KeyValue]) -> Iterator[KeyValue]:
        """The range as it was, ascending, from the keys that it has now. Lazy: ends where its reader does."""
        was = self.was
        kvs = filter(None, (was[key] if key in was else current[key] for key in keys))
        if not self.gone:
            return kvs
        return merge(kvs, filter(None, map(was.__getitem__, self.gone)), key=attrgetter("key"))


class _Page:
    """What has changed anywhere since `revision`, by the first `added` events of a history."""

    __slots__ = ("_alive", "_before", "_gone", "_live", "added", "was")

    def __init__(self, start: int) -> None:
        self.added = start
        self.was: dict[bytes, KeyValue | None] = {}
        self._alive: dict[bytes, bool] = {}
        self._before: list[bytes] = []
        self._live: list[bytes] = []
        self._gone: list[bytes] = []

    def extend(self, events: Sequence[Event]) -> None:
        """The events after those that it has."""
        self.added += len(events)
        if len(events) <= _FEW:
            for event in events:
                self._add(event)
            return
        was, alive = self.was, self._alive
        for event in events:
            key = event.kv.key
            was.setdefault(key, event.prev_kv)
            alive[key] = event.type is EventType.PUT
        self._before = sorted([key for key, kv in was.items() if kv])
        self._live = sorted([key for key, lives in alive.items() if lives])
        self._gone = [key for key in self._before if not alive[key]]

    def _add(self, event: Event) -> None:
        key, lives = event.kv.key, event.type is EventType.PUT
        if key not in self.was:
            self.was[key] = event.prev_kv
            self._alive[key] = False
            if event.prev_kv:
                insort(self._before, key)
                insort(self._gone, key)
        if lives != self._alive[key]:
            self._alive[key] = lives
            _move(self._live, key, lives)
            if self.was[key]:
                _move(self._gone, key, not lives)

    def since(self, key: bytes, range_end: bytes) -> Since:
        """Of a range."""
        before, live = (_places(keys, key, range_end) for keys in (self._before, self._live))
        gone = self._gone[slice(*_places(self._gone, key, range_end))]
        return Since(self.was, before[1] - before[0], live[1] - live[0], gone)


def _move(keys: list[bytes], key: bytes, inside: bool) -> None:
    if inside:
        insort(keys, key)
    else:
        del keys[bisect_left(keys, key)]


def _places(keys: list[bytes], key: bytes, range_end: bytes) -> tuple[int, int]:
    """Where the keys of a range begin and end."""
    start = bisect_left(keys, key)
    return start, len(keys) if range_end == b"\0" else bisect_left(keys, range_end, start)


def _changes(events: Sequence[Event]) -> Since:
    was: dict[bytes, KeyValue | None] = {}
    alive: dict[bytes, bool] = {}
    for event in events:
        key = event.kv.key
        was.setdefault(key, event.prev_kv)
        alive[key] = event.type is EventType.PUT
    return _of(was, alive)


def _of(was: dict[bytes, KeyValue | None], alive: dict[bytes, bool]) -> Since:
    before = [key for key, kv in was.items() if kv]
    return Since(was, len(before), sum(alive.values()), sorted([key for key in before if not alive[key]]))


class History:
    """Events by revision. Bound: by compaction; the store's owner decides when."""

    __slots__ = ("_by_key", "_events", "_page", "_read_revision", "_revisions", "value_bytes")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._revisions: list[int] = []
        self._by_key: _ChangesByKey | None = None
        self._read_revision = 0
        self._page: _Page | None = None
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

    def extend(self, revision: int, events: Sequence[Event]) -> None:
        """Adds the newest changes, all of one revision."""
        self._revisions += [revision] * len(events)
        self._events += events
        self.value_bytes += sum([len(event.kv.value) for event in events])

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

    def first_after(self, revision: int, key: bytes) -> Event | None:
        """The first change of a key after `revision`: what it replaced is what the key was at `revision`."""
        start = bisect_right(self._revisions, revision)
        if len(self._events) - start > _FEW:
            return self._indexed().first_after(revision, key)
        for event in self._events[start:]:
            if event.kv.key == key:
                return event
        return None

    def changed_since(self, revision: int, key: bytes, range_end: bytes) -> Since:
        """What has changed in a range since a revision.

        Costs the changes since, or the keys of the range that have changed at all, whichever costs less; for
        the next range at that revision, the changes since this one.
        """
        start = bisect_right(self._revisions, revision)
        if len(self._events) - start <= _FEW:
            return _changes(self._matching(start, len(self._events), key, range_end))
        if self._read_revision != revision:
            self._read_revision, self._page = revision, None
            return self._look_up(revision, start, key, range_end)
        page = self._page
        if page is None:
            page = self._page = _Page(start)
        if page.added < len(self._events):
            page.extend(self._events[page.added :])
        return page.since(key, range_end)

    def _look_up(self, revision: int, start: int, key: bytes, range_end: bytes) -> Since:
        index = self._indexed()
        changed = index.changed(key, range_end)
        # To look up a key costs what looking at a few changes does.
        if 4 * len(changed) >= len(self._events) - start:
            return _changes(self._matching(start, len(self._events), key, range_end))
        was: dict[bytes, KeyValue | None] = {}
        alive: dict[bytes, bool] = {}
        for each in changed:
            event = index.first_after(revision, each)
            if event is not None:
                was[each] = event.prev_kv
                alive[each] = index.newest(each).type is EventType.PUT
        return _of(was, alive)

    def changed_at_all(self) -> Since:
        """What has changed since the history begins; the same whatever happens after the call."""
        return _changes(self._events)

    def _indexed(self) -> _ChangesByKey:
        index = self._by_key
        if index is None:
            index = self._by_key = _ChangesByKey()
        if index.indexed < len(self._events):
            index.extend(self._events[index.indexed :])
        return index

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
        self.value_bytes -= sum([len(event.kv.value) for event in self._events[:cut]])
        del self._events[:cut]
        del self._revisions[:cut]
        for at in range(bisect_right(self._revisions, revision)):
            event = self._events[at]
            self._events[at] = Event(event.type, event.kv)
        self._by_key = None
        self._page = None

    def copy(self) -> list[Event]:
        """The events as they are now, to be read while the history goes on."""
        return self._events[:]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)
