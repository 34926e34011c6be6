"""Watches: the store's changes as typed events, seen through selectors."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from orchestra.base.errors import Expired
from orchestra.mvcc.model import Event, EventType, KeyValue, Range
from orchestra.objects.kinds import ApiObject, Kind
from orchestra.store.access import Access
from orchestra.store.contract import Compacted, Watch
from orchestra.store.encoding import Decoder, revision_suffix
from orchestra.store.failures import mapped
from orchestra.store.listing import CHUNK_KEYS, Filter

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

# A selector that lets nothing through still has to move the watcher's revision on, now and then.
BOOKMARK_EVENTS = 500


class ObjectEvent:
    """One change of one object.

    Objects are decoded when asked for, once in the process; encoded() never decodes.
    """

    __slots__ = (
        "_decoder",
        "_encoded",
        "_key",
        "_kind",
        "_left",
        "_obj",
        "_previous",
        "_value",
        "revision",
        "type",
    )

    def __init__(
        self,
        type_: ChangeType,
        kind: Kind,
        decoder: Decoder,
        key: bytes,
        value: bytes,
        revision: int,
        previous: KeyValue | None,
        left: bool = False,
    ) -> None:
        self.type: ChangeType = type_
        self.revision = revision
        self._kind = kind
        self._decoder = decoder
        self._key = key
        self._value = value
        self._previous = previous
        self._left = left
        self._obj: ApiObject | None = None
        self._encoded: bytes | None = None

    @property
    def obj(self) -> ApiObject:
        """The object after the change; of DELETED the last state, with the deletion's resourceVersion."""
        if self._obj is None:
            if self._left:
                # Not from the cache: at (key, revision) it has the state that no longer matches.
                self._obj = self._kind.message.FromString(self.encoded())
            else:
                self._obj = self._decoder.at(self._kind, self._key, self._value, self.revision)
        return self._obj

    @property
    def previous(self) -> ApiObject | None:
        """The object before the change, None for one that is new or whose past has been compacted."""
        return None if self._previous is None else self._decoder.decode(self._kind, self._previous)

    def encoded(self) -> bytes:
        """The bytes of `obj`."""
        if self._encoded is None:
            self._encoded = self._value + revision_suffix(self.revision)
        return self._encoded

    def __repr__(self) -> str:
        return f"ObjectEvent({self.type} {self._key.decode()} at {self.revision})"


@dataclass(frozen=True, slots=True)
class ObjectBatch:
    """What one or more whole revisions changed; without events a bookmark.

    revision: resume from here. initial_end: with this batch the initial state is complete.
    """

    revision: int
    events: Sequence[ObjectEvent]
    initial_end: bool = False


class ObjectWatch:
    """An open watch of one kind: `async for batch in watch`. Close it when done.

    Raises while iterating: Expired when it asked for, or fell behind to, what is compacted; Unavailable.
    Bound: holds one batch, and references to what is left of the initial state; what else a slow reader has
    not seen stays in the store.
    """

    def __init__(self, access: Access, decoder: Decoder, wanted: Filter, revision: int) -> None:
        self._access = access
        self._decoder = decoder
        self._wanted = wanted
        wanted.check()
        self._key, self._end = wanted.keys()
        self._revision = revision
        self._initial = revision == 0
        self._waiting: deque[KeyValue] | None = None
        self._watch: Watch | None = None
        self._skipped = 0
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectBatch:
        while not self._closed:
            batch = await (self._read_initial() if self._initial else self._read_live())
            if batch is not None:
                return batch
        raise StopAsyncIteration

    async def _read_initial(self) -> ObjectBatch | None:
        if self._waiting is None:
            result = await self._access.range(Range(self._key, self._end))
            self._revision = result.revision
            self._waiting = deque(result.kvs)
        else:
            await asyncio.sleep(0)
        some = [self._waiting.popleft() for _ in range(min(CHUNK_KEYS, len(self._waiting)))]
        self._initial = bool(self._waiting)
        events = [
            self._event("ADDED", kv.key, kv.value, kv.mod_revision, None) for kv in some if self._matches(kv)
        ]
        if self._initial and not events:
            return None
        return ObjectBatch(self._revision, events, initial_end=not self._initial)

    async def _read_live(self) -> ObjectBatch | None:
        if self._watch is None:
            await self._check_not_future()
            if self._closed:
                return None
            self._watch = self._access.store.watch(
                self._key, self._end, start_revision=self._revision + 1, prev_kv=True
            )
        try:
            with mapped():
                batch = await anext(self._watch)
        except Expired as error:
            oldest = error.__cause__.compact_revision if isinstance(error.__cause__, Compacted) else 0
            raise Expired(
                f"too old resource version: {self._revision} ({oldest}): list again, then watch from there"
            ) from error
        except StopAsyncIteration:
            self._closed = True
            return None
        self._revision = batch.revision
        if self._wanted.everything:
            events = [self._plain(event) for event in batch.events]
        else:
            events = [made for event in batch.events if (made := self._selected(event)) is not None]
        self._skipped += len(batch.events) - len(events)
        if not events and batch.events and self._skipped < BOOKMARK_EVENTS:
            return None
        self._skipped = 0
        return ObjectBatch(batch.revision, events)

    async def _check_not_future(self) -> None:
        """A watch from a revision that never happened (the store was put back to a backup) would wait for
        long and then miss what it is told from a past that is not its own.
        """
        if self._revision <= self._access.store.revision:
            return
        newest = (await self._access.range(Range(self._key, self._end, count_only=True))).revision
        if self._revision > newest:
            raise Expired(
                f"too large resource version: {self._revision}, the newest is {newest}: list again, then "
                "watch from there"
            )

    def _matches(self, kv: KeyValue) -> bool:
        if self._wanted.everything:
            return True
        return self._wanted.matches(self._decoder.decode(self._wanted.kind, kv))

    def _plain(self, event: Event) -> ObjectEvent:
        kv, before = event.kv, event.prev_kv
        if event.type == EventType.DELETE:
            return self._deleted(event)
        kind: ChangeType = "ADDED" if kv.create_revision == kv.mod_revision else "MODIFIED"
        return self._event(kind, kv.key, kv.value, kv.mod_revision, before)

    def _selected(self, event: Event) -> ObjectEvent | None:
        """The event as seen through the selectors: entering is ADDED, leaving is DELETED."""
        kv, before = event.kv, event.prev_kv
        known = before is not None
        was = before is not None and self._matches(before)
        if event.type == EventType.DELETE:
            return self._deleted(event) if was or not known else None
        created = kv.create_revision == kv.mod_revision
        if self._matches(kv):
            kind: ChangeType = "MODIFIED" if was or not (known or created) else "ADDED"
            return self._event(kind, kv.key, kv.value, kv.mod_revision, before)
        return self._deleted(event) if was or not (known or created) else None

    def _deleted(self, event: Event) -> ObjectEvent:
        kv, before = event.kv, event.prev_kv
        value = before.value if before is not None else self._name_only(kv.key)
        left = event.type != EventType.DELETE
        return self._event("DELETED", kv.key, value, kv.mod_revision, before, left)

    def _name_only(self, key: bytes) -> bytes:
        """What the key tells of an object whose past has been compacted."""
        obj = self._wanted.kind.new()
        namespace, _, name = key.decode().removeprefix(self._wanted.kind.prefix).rpartition("/")
        if namespace:
            obj.metadata.namespace = namespace
        obj.metadata.name = name
        data: bytes = obj.SerializeToString()
        return data

    def _event(
        self,
        kind: ChangeType,
        key: bytes,
        value: bytes,
        revision: int,
        before: KeyValue | None,
        left: bool = False,
    ) -> ObjectEvent:
        return ObjectEvent(kind, self._wanted.kind, self._decoder, key, value, revision, before, left)

    def request_progress(self) -> None:
        """Asks for a batch soon, a bookmark if nothing happened, to learn how far the watch is."""
        if self._watch is not None:
            self._watch.request_progress()

    def close(self) -> None:
        """Ends the watch, and an iteration that waits. Safe to call twice."""
        self._closed = True
        if self._watch is not None:
            self._watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
