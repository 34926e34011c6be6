"""Watches on a machine's history.

A watch is a position, not a queue: what a slow reader has not read yet is in the history once, for all
watches. A change costs a look-up for its key and for its prefixes that are watched; watches that it does not
concern cost nothing.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from orchestra.mvcc.keyindex import in_range, prefix_end
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import Event
from orchestra.store.contract import Compacted, StoreUnavailable, WatchBatch

BATCH_EVENTS = 1024
BOOKMARK_REVISIONS = 1024


class HistoryWatch:
    """One watch. `_next`: everything before this revision has been delivered or does not concern it.

    `_pending` says that there is something at `_next` or later; only then is history looked at.
    """

    __slots__ = (
        "_behind",
        "_closed",
        "_failure",
        "_hub",
        "_next",
        "_pending",
        "_told",
        "_waiter",
        "key",
        "prev_kv",
        "range_end",
    )

    def __init__(self, hub: "WatchHub", key: bytes, range_end: bytes, prev_kv: bool, start: int) -> None:
        self.key = key
        self.range_end = range_end
        self.prev_kv = prev_kv
        self._hub = hub
        self._next = start
        # The revision that the reader knows to have been covered.
        self._told = start - 1
        self._pending = start <= hub.revision
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
            batch = self._take()
            if batch is not None:
                return batch
            if self._waiter is not None:
                raise RuntimeError("a watch has one reader")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _take(self) -> WatchBatch | None:
        if self._closed:
            raise StopAsyncIteration
        if self._failure is not None:
            raise StoreUnavailable(self._failure)
        if not self._pending:
            return None
        machine = self._hub.machine
        if self._next < machine.compact_revision:
            raise Compacted(machine.compact_revision)
        events, following = machine.events_since(self._next, self.key, self.range_end, BATCH_EVENTS)
        self._pending = self._behind = following is not None
        self._next = machine.revision + 1 if following is None else following
        self._told = self._next - 1
        if not self.prev_kv:
            events = [event if event.prev_kv is None else Event(event.type, event.kv) for event in events]
        return WatchBatch(self._told, events)

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
        self.catch_up(self._hub.revision)

    @property
    def told_revision(self) -> int:
        """The revision that the reader has been told it is at."""
        return self._told

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

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # What watches have been told of; the machine may be ahead until `advance`.
        self.revision = machine.revision
        self._bookmarked = machine.revision
        self._failure: str | None = None
        # Sets in insertion order, so that watches wake in the order they were opened in every run.
        self._keys: dict[bytes, dict[HistoryWatch, None]] = {}
        self._prefixes: dict[bytes, dict[HistoryWatch, None]] = {}
        self._prefix_lengths: dict[int, int] = {}
        self._ranges: dict[HistoryWatch, None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._keys.values())) + sum(map(len, self._prefixes.values())) + len(self._ranges)

    def watch(self, key: bytes, range_end: bytes, start_revision: int, prev_kv: bool) -> HistoryWatch:
        """Opens a watch from a revision on (0: from the next one)."""
        watch = HistoryWatch(self, key, range_end, prev_kv, start_revision or self.revision + 1)
        if self._failure is not None:
            watch.fail(self._failure)
        if not range_end:
            self._keys.setdefault(key, {})[watch] = None
        elif range_end == prefix_end(key):
            self._prefixes.setdefault(key, {})[watch] = None
            self._prefix_lengths[len(key)] = self._prefix_lengths.get(len(key), 0) + 1
        else:
            self._ranges[watch] = None
        return watch

    def remove(self, watch: HistoryWatch) -> None:
        """Forgets a watch."""
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
                watch.changed(since + 1)
        elif self._keys or self._prefixes or self._ranges:
            for event in machine.history.after(since):
                self._tell(event)
            if self.revision - self._bookmarked >= BOOKMARK_REVISIONS:
                self._bookmark()

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

    def replace(self, machine: Machine) -> None:
        """Goes on with another machine, which is ahead (a snapshot was installed)."""
        self.machine = machine
        self.advance()

    def fail(self, reason: str) -> None:
        """Ends every watch, and those opened from now on, with StoreUnavailable."""
        self._failure = reason
        for watch in self._all():
            watch.fail(reason)
