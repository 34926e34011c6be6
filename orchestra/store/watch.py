"""Watches on a machine's history.

A watch is a position, not a queue: what a slow reader has not read yet is in the history once, for all
watches. A change costs a look-up for its key and for its prefixes that are watched; watches that it does not
concern cost nothing.
"""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from orchestra.mvcc.history import History
from orchestra.mvcc.keyindex import in_range, prefix_end
from orchestra.mvcc.model import Event
from orchestra.store.contract import Compacted, StoreUnavailable, WatchBatch

BATCH_EVENTS = 1024
BOOKMARK_REVISIONS = 1024
SHARED_BATCHES = 64
SHARED_EVENTS = 256


class Past(Protocol):
    """What watches need of a machine: its history up to `revision`, kept from `compact_revision` on."""

    @property
    def revision(self) -> int: ...

    @property
    def compact_revision(self) -> int: ...

    @property
    def history(self) -> History: ...

    def events_since(
        self, revision: int, key: bytes, range_end: bytes = b"", limit: int = 0
    ) -> tuple[list[Event], int | None]:
        """A range's changes at `revision` and later, and the revision after those, None at the end."""
        ...


class HistoryWatch:
    """One watch. `_next`: everything before this revision has been delivered or does not concern it.

    `_pending` says that there is something at `_next` or later; only then is history looked at.
    A reader of many watches iterates over none of them: it gives `ready`, which is called when there is
    something for `take`, and again only after it was taken.
    """

    __slots__ = (
        "_asked",
        "_behind",
        "_closed",
        "_failure",
        "_hub",
        "_next",
        "_pending",
        "_ready",
        "_told",
        "_waiter",
        "key",
        "prev_kv",
        "range_end",
    )

    def __init__(
        self,
        hub: "WatchHub",
        key: bytes,
        range_end: bytes,
        prev_kv: bool,
        start: int,
        ready: Callable[[], None] | None = None,
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.prev_kv = prev_kv
        self._hub = hub
        self._ready = ready
        self._next = start
        # The revision that the reader knows to have been covered.
        self._told = start - 1
        self._pending = start <= hub.revision
        self._asked = False
        self._behind = False
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._failure: str | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchBatch:
        if self._behind:
            # A long way to catch up must not keep others from running.
            await asyncio.sleep(0)
        while True:
            batch = self.take()
            if batch is not None:
                return batch
            if self._waiter is not None:
                raise RuntimeError("a watch has one reader")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def take(self) -> WatchBatch | None:
        """What there is now, without waiting; None if there is nothing. `pending` says whether to come again.

        Raises: Compacted, StoreUnavailable; StopAsyncIteration once closed.
        """
        if self._closed:
            raise StopAsyncIteration
        if self._failure is not None:
            raise StoreUnavailable(self._failure)
        if not self._pending:
            return self._progress()
        machine = self._hub.machine
        if self._next < machine.compact_revision:
            raise Compacted(machine.compact_revision)
        batch, following = self._hub.batch(self._next, self.key, self.range_end, self.prev_kv)
        self._pending = self._behind = following is not None
        self._asked = False
        self._told = batch.revision
        self._next = batch.revision + 1
        return batch

    def _progress(self) -> WatchBatch | None:
        """What was asked of a watch that begins in the future: that nothing concerned it so far.

        Never less than its reader has been told, perhaps by another member, which is not as far behind.
        """
        if not self._asked:
            return None
        self._asked = False
        return WatchBatch(max(self._hub.revision, self._told), ())

    def changed(self, revision: int) -> None:
        """Something that concerns this watch happened at a revision: the hub says so."""
        if not self._pending:
            if revision < self._next:
                return
            self._pending = True
            self._next = revision
            self._wake()

    def catch_up(self, revision: int) -> None:
        """Nothing that concerns it happened up to a revision: worth a batch that says so."""
        if not self._pending and self._next <= revision + 1:
            self._next = revision + 1
            self._pending = True
            self._wake()

    def request_progress(self) -> None:
        """Asks for a batch soon, if only to say how far the watch is."""
        if not self._pending and self._next > self._hub.revision + 1:
            self._asked = True
            self._wake()
        else:
            self.catch_up(self._hub.revision)

    @property
    def next_revision(self) -> int:
        """Everything before this revision has been delivered or does not concern it."""
        return self._next

    @property
    def told_revision(self) -> int:
        """The revision that the reader has been told it is at."""
        return self._told

    @property
    def pending(self) -> bool:
        """Whether `take` has something, an error included."""
        return self._pending or self._asked or self._failure is not None

    def fail(self, reason: str) -> None:
        """The store ends: so does the watch, with StoreUnavailable."""
        self._failure = reason
        self._wake()

    def close(self) -> None:
        """Ends the watch; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._hub.remove(self)
            self._wake()

    def _wake(self) -> None:
        if self._ready is not None:
            self._ready()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WatchHub:
    """All watches on one machine. Tell it after commands were applied; it finds whom they concern."""

    def __init__(self, machine: Past) -> None:
        self.machine = machine
        # What watches have been told of; the machine may be ahead until `advance`.
        self.revision = machine.revision
        self._bookmarked = machine.revision
        self._failure: str | None = None
        # What one watch was given at a revision, for the others that ask the same.
        self._batches_at = 0
        self._batches: dict[tuple[int, bytes, bytes, bool], tuple[WatchBatch, int | None]] = {}
        # Sets in insertion order, so that watches wake in the order they were opened in every run.
        self._keys: dict[bytes, dict[HistoryWatch, None]] = {}
        self._prefixes: dict[bytes, dict[HistoryWatch, None]] = {}
        self._prefix_lengths: dict[int, int] = {}
        self._ranges: dict[HistoryWatch, None] = {}
        # What every watched key begins with; None: to be found anew.
        self._common: bytes | None = None

    def __len__(self) -> int:
        return sum(map(len, self._keys.values())) + sum(map(len, self._prefixes.values())) + len(self._ranges)

    def watch(
        self,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        prev_kv: bool,
        ready: Callable[[], None] | None = None,
    ) -> HistoryWatch:
        """Opens a watch from a revision on (0: from the next one)."""
        watch = HistoryWatch(self, key, range_end, prev_kv, start_revision or self.revision + 1, ready)
        if self._failure is not None:
            watch.fail(self._failure)
        self._common = None
        if not range_end:
            self._keys.setdefault(key, {})[watch] = None
        elif range_end == prefix_end(key):
            self._prefixes.setdefault(key, {})[watch] = None
            self._prefix_lengths[len(key)] = self._prefix_lengths.get(len(key), 0) + 1
        else:
            self._ranges[watch] = None
        return watch

    def batch(self, start: int, key: bytes, range_end: bytes, prev_kv: bool) -> tuple[WatchBatch, int | None]:
        """What there is from a revision on, and the revision after it that has more (None: no more).

        The same objects for all that ask the same while nothing is written: a change costs its first watch
        the reading of it, and the others a look-up.
        """
        machine = self.machine
        if self._batches_at != machine.revision or len(self._batches) >= SHARED_BATCHES:
            self._batches.clear()
            self._batches_at = machine.revision
        asked = (start, key, range_end, prev_kv)
        found = self._batches.get(asked)
        if found is None:
            events, following = machine.events_since(start, key, range_end, BATCH_EVENTS)
            if not prev_kv:
                events = [event if event.prev_kv is None else Event(event.type, event.kv) for event in events]
            revision = machine.revision if following is None else following - 1
            found = WatchBatch(revision, events), following
            if len(events) <= SHARED_EVENTS:
                self._batches[asked] = found
        return found

    def remove(self, watch: HistoryWatch) -> None:
        """Forgets a watch."""
        self._common = None
        if not watch.range_end:
            self._drop(self._keys, watch)
        elif watch.range_end == prefix_end(watch.key):
            self._drop(self._prefixes, watch)
            length = len(watch.key)
            self._prefix_lengths[length] -= 1
            if not self._prefix_lengths[length]:
                del self._prefix_lengths[length]
        else:
            del self._ranges[watch]

    def _drop(self, watches: dict[bytes, dict[HistoryWatch, None]], watch: HistoryWatch) -> None:
        del watches[watch.key][watch]
        if not watches[watch.key]:
            del watches[watch.key]

    def advance(self) -> None:
        """Wakes the watches concerned by what the machine did since the last call."""
        machine = self.machine
        if machine.revision == self.revision:
            return
        since, self.revision = self.revision, machine.revision
        if machine.compact_revision > since + 1:
            # What they were not told of may be gone already: each looks for itself, and says so if it is.
            for watch in self._all():
                start = max(since + 1, watch.next_revision)
                if start <= self.revision:
                    watch.changed(start)
        elif self._keys or self._prefixes or self._ranges:
            common = self._common = self._begin_with() if self._common is None else self._common
            for event in machine.history.after(since):
                if event.kv.key.startswith(common):
                    self._tell(event)
            if self.revision - self._bookmarked >= BOOKMARK_REVISIONS:
                self._bookmark()

    def _begin_with(self) -> bytes:
        """What all watched keys have in common: most of what others write is told apart by that alone."""
        if self._ranges:
            return b""
        watched = (*self._keys, *self._prefixes)
        first, last = min(watched), max(watched)
        same = 0
        while same < min(len(first), len(last)) and first[same] == last[same]:
            same += 1
        return first[:same]

    def _tell(self, event: Event) -> None:
        key, revision = event.kv.key, event.kv.mod_revision
        for watch in self._keys.get(key, ()):
            watch.changed(revision)
        for length in self._prefix_lengths:
            for watch in self._prefixes.get(key[:length], ()):
                watch.changed(revision)
        for watch in self._ranges:
            if in_range(key, watch.key, watch.range_end):
                watch.changed(revision)

    def _bookmark(self) -> None:
        """Moves on those that nothing concerned for long, before their place in history is compacted."""
        self._bookmarked = self.revision
        for watch in self._all():
            if watch.told_revision <= self.revision - BOOKMARK_REVISIONS:
                watch.catch_up(self.revision)

    def _all(self) -> Iterable[HistoryWatch]:
        for watches in (*self._keys.values(), *self._prefixes.values()):
            yield from watches
        yield from self._ranges

    def replace(self, machine: Past) -> None:
        """Goes on with another machine, which is ahead (a snapshot was installed)."""
        self.machine = machine
        self._batches.clear()
        self.advance()

    def fail(self, reason: str) -> None:
        """Ends every watch, and those opened from now on, with StoreUnavailable."""
        self._failure = reason
        for watch in self._all():
            watch.fail(reason)
