"""Watches on etcd: one stream of all changes, kept for a while, and told to whom they concern.

The watches are those of a machine in this process, on a history that holds the newest changes only. A watch
that needs older ones, or was too slow for what is kept, reads them from etcd on a stream of its own until it
has caught up.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Final, Self

from orchestra.base.log import get_logger
from orchestra.mvcc.history import History
from orchestra.mvcc.keyindex import in_range
from orchestra.mvcc.model import Event
from orchestra.store.contract import Compacted, WatchBatch
from orchestra.store.etcd.changes import ChangeStream
from orchestra.store.watch import BOOKMARK_REVISIONS, WatchHub

log = get_logger("store.etcd.watch")

# What is kept here of the newest changes; anything older is etcd's to tell.
RECENT_EVENTS: Final = 4096
RECENT_VALUE_BYTES: Final = 16 * 1024 * 1024
# The changes told may stay that long behind what answers show, before another member is asked for them.
STALLED_SECONDS: Final = 2.0

OpenStream = Callable[[int], ChangeStream]


class Recent:
    """The newest changes, as a machine's history: from `compact_revision` to `revision`, none missing."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.compact_revision = revision + 1
        self.history = History()

    def add(self, events: Sequence[Event]) -> None:
        """Adds whole revisions, ascending; forgets the oldest of what is too much."""
        for revision, changes in groupby(events, key=attrgetter("kv.mod_revision")):
            self.history.extend(revision, list(changes))
        self.revision = events[-1].kv.mod_revision
        if len(self.history) > 2 * RECENT_EVENTS:
            self._forget(self.history.copy()[-RECENT_EVENTS].kv.mod_revision)
        if self.history.value_bytes > RECENT_VALUE_BYTES:
            self._forget(self.history.revision_keeping(RECENT_VALUE_BYTES // 2))

    def _forget(self, revision: int) -> None:
        # What is at the revision itself loses what it replaced, so it is not told either.
        revision = min(revision, self.revision)
        self.history.compact(revision)
        self.compact_revision = max(self.compact_revision, revision + 1)

    def compacted(self, revision: int) -> None:
        """etcd has forgotten what was overwritten before `revision`: nobody is told of it any more."""
        revision = min(revision, self.revision + 1)
        if revision > self.compact_revision:
            self.history.compact(revision)
            self.compact_revision = revision

    def jump(self, revision: int) -> None:
        """Goes on from another revision: what was between is not to be had here."""
        self.history = History()
        self.revision = revision
        self.compact_revision = revision + 1

    def events_since(
        self, revision: int, key: bytes, range_end: bytes = b"", limit: int = 0
    ) -> tuple[list[Event], int | None]:
        """A range's changes at `revision` and later, and the revision after those, None at the end."""
        return self.history.since(revision, key, range_end, limit)


class EtcdWatches:
    """All watches of a store. `run()` follows etcd; newest() is the newest revision that an answer showed."""

    def __init__(self, revision: int, newest: Callable[[], int], open_stream: OpenStream) -> None:
        self.recent = Recent(revision)
        self.hub = WatchHub(self.recent)
        self.open_stream = open_stream
        self._newest = newest
        self._ahead = asyncio.Event()
        self._moved = asyncio.Event()
        self._ready = asyncio.Event()
        self._stream: ChangeStream | None = None
        self._asking: dict[EtcdWatch, None] = {}
        self._failure = ""
        self._open: dict[EtcdWatch, None] = {}

    def watch(self, key: bytes, range_end: bytes, start_revision: int, prev_kv: bool) -> "EtcdWatch":
        """Opens a watch from a revision on (0: after the newest seen)."""
        watch = EtcdWatch(self, key, range_end, start_revision or self._newest() + 1, prev_kv)
        self._open[watch] = None
        return watch

    def removed(self, watch: "EtcdWatch") -> None:
        """A watch was closed."""
        self._open.pop(watch, None)
        self._asking.pop(watch, None)

    def ask(self, watch: "EtcdWatch") -> None:
        """Has a watch told how far it is, once that is as far as any answer given by now."""
        watch.wanted_revision = self._newest()
        self._asking[watch] = None
        self._answer()

    def noticed(self) -> None:
        """An answer showed a newer revision."""
        self._ahead.set()

    async def ready(self) -> None:
        """Waits until etcd has begun to tell its changes."""
        await self._ready.wait()

    async def run(self) -> None:
        """Follows etcd's changes, for ever. Raises: StoreUnavailable when the store is closed."""
        while True:
            stream = self._stream = self.open_stream(self.recent.revision + 1)
            try:
                await stream.open()
                self._ready.set()
                while events := await stream.read():
                    self.recent.add(events)
                    self._advance()
            except Compacted as error:
                # Away for longer than etcd keeps. Each watch finds out for itself whether it missed anything.
                log.warning("fell behind what etcd keeps of its history", oldest=error.compact_revision)
                self.recent.jump(max(self._newest(), error.compact_revision))
                self._advance()
            finally:
                stream.close()
                self._stream = None

    async def watch_over(self) -> None:
        """Has another member tell the changes when the one that does has fallen silent; for ever."""
        while True:
            self._ahead.clear()
            if self._newest() <= self.recent.revision:
                await self._ahead.wait()
                continue
            self._moved.clear()
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._moved.wait()
            except TimeoutError:
                if self._stream is not None:
                    log.warning("no changes are told though there are some", revision=self.recent.revision)
                    self._stream.restart()

    def _advance(self) -> None:
        self.hub.advance()
        self._moved.set()
        self._answer()

    def _answer(self) -> None:
        for watch in [watch for watch in self._asking if watch.wanted_revision <= self.hub.revision]:
            del self._asking[watch]
            watch.tell()

    def compacted(self, revision: int) -> None:
        """This store has compacted etcd."""
        self.recent.compacted(revision)

    def fail(self, reason: str) -> None:
        """Ends every watch, with StoreUnavailable."""
        self.hub.fail(reason)
        for watch in list(self._open):
            watch.wake()


class EtcdWatch:
    """One watch, for one reader. Bound: a position, and one answer of etcd's while it catches up."""

    def __init__(self, watches: EtcdWatches, key: bytes, range_end: bytes, start: int, prev_kv: bool) -> None:
        self.key = key
        self.range_end = range_end
        self.prev_kv = prev_kv
        self.wanted_revision = 0
        self._watches = watches
        self._live = watches.hub.watch(key, range_end, start, prev_kv)
        self._stream: ChangeStream | None = None
        self._told = start - 1
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchBatch:
        while not self._closed:
            try:
                batch = await (self._follow() if self._stream is None else self._catch_up(self._stream))
            except Compacted:
                if self._stream is not None:
                    raise
                # Not here any more; perhaps with etcd.
                self._stream = self._watches.open_stream(self._live.next_revision)
                continue
            if batch is not None:
                self._told = batch.revision
                return batch
        raise StopAsyncIteration

    async def _follow(self) -> WatchBatch | None:
        return await anext(self._live)

    async def _catch_up(self, stream: ChangeStream) -> WatchBatch | None:
        if stream.next_revision < self._watches.recent.compact_revision:
            changed = await stream.read()
            events = [event for event in changed if in_range(event.kv.key, self.key, self.range_end)]
            if not self.prev_kv:
                events = [Event(event.type, event.kv) for event in events]
            revision = stream.next_revision - 1
            if events or revision - self._told >= BOOKMARK_REVISIONS:
                return WatchBatch(revision, events)
            return None
        stream.close()
        self._stream = None
        self._live.close()
        self._live = self._watches.hub.watch(self.key, self.range_end, stream.next_revision, self.prev_kv)
        if self.wanted_revision:
            self._watches.ask(self)
        return None

    def request_progress(self) -> None:
        """Asks for a batch soon, without events if there are none, that says how far the watch is."""
        if not self._closed:
            self._watches.ask(self)

    def tell(self) -> None:
        """The watches are at `wanted_revision`: says so, unless it is still catching up."""
        if self._stream is None:
            self.wanted_revision = 0
            self._live.request_progress()

    def wake(self) -> None:
        """Has a reader that is catching up look whether the store has ended."""
        if self._stream is not None:
            self._stream.restart()

    def close(self) -> None:
        """Ends the watch, and an iteration that waits. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._watches.removed(self)
            self._live.close()
            if self._stream is not None:
                self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
