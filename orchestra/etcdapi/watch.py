"""etcd's Watch service: many watches on one stream.

A stream has one task that writes, and a queue of its watches that have something; what a watch has is a
position in history. A client that reads slowly holds up its own stream, and nothing piles up for it.
Source: etcd's server/etcdserver/api/v3rpc/watch.go, mvcc/watcher.go.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

import grpc.aio

from orchestra.aio.rpc.server import Context
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.encoding import EventEncoder
from orchestra.etcdapi.errors import WATCH_DUPLICATE_ID, WATCH_RANGE_EMPTY
from orchestra.etcdapi.header import Headers, varint
from orchestra.mvcc.errors import Compacted
from orchestra.mvcc.model import Event, EventType
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.store.contract import WatchBatch
from orchestra.store.watch import HistoryWatch

# How often a watch that asked for it is told how far it is, when nothing else told it.
PROGRESS_SECONDS: Final = 600.0
# Answers that wait to be written; beyond that no request is read.
ANSWERS_MAX: Final = 256

NO_WATCH_ID: Final = -1
_FROM_KEY: Final = b"\0"
_FRAGMENT: Final = b"\x38\x01"
_Filter = pb.WatchCreateRequest.FilterType


class Rng(Protocol):
    """What spreads periodic work."""

    def random(self) -> float: ...


class WatchService:
    """Serves streams of watches."""

    def __init__(
        self,
        backend: Backend,
        headers: Headers,
        *,
        progress_seconds: float = PROGRESS_SECONDS,
        rng: Rng,
    ) -> None:
        self._backend = backend
        self._headers = headers
        self._encoder = EventEncoder()
        self._progress_seconds = progress_seconds
        self._rng = rng

    async def watch(self, _: object, context: Context) -> None:
        """One stream, until its client or the store ends it."""
        # Jitter, so that clients that came together are not told together for ever.
        progress_seconds = self._progress_seconds * (1 + self._rng.random() / 10)
        stream = _Stream(self._backend, self._headers, self._encoder, context, progress_seconds)
        await stream.run()


class _Watch:
    """One watch of a stream. quiet: nothing was sent since the last look at whose progress is to be told."""

    __slots__ = ("fragment", "history", "id", "notify", "prev_kv", "progress", "quiet", "tag", "unwanted")

    history: HistoryWatch

    def __init__(self, id: int, request: pb.WatchCreateRequest) -> None:
        self.id = id
        self.tag = b"\x10" + varint(id) if id else b""
        self.prev_kv = request.prev_kv
        self.fragment = request.fragment
        self.progress = request.progress_notify
        self.quiet = True
        self.notify = False
        self.unwanted = {
            EventType.PUT if each == _Filter.NOPUT else EventType.DELETE for each in request.filters
        }

    def wanted(self, batch: WatchBatch) -> "list[Event] | tuple[()]":
        """A batch's events without those filtered out."""
        if self.unwanted:
            return [event for event in batch.events if event.type not in self.unwanted]
        return list(batch.events) if batch.events else ()


class _Progress:
    """A place in the queue: when it is reached, what every watch had when it was taken has been sent."""


class _Stream:
    def __init__(
        self,
        backend: Backend,
        headers: Headers,
        encoder: EventEncoder,
        context: Context,
        progress_seconds: float,
    ) -> None:
        self._store = backend.store
        self._headers = headers
        self._encoder = encoder
        self._context = context
        self._progress_seconds = progress_seconds
        self._watches: dict[int, _Watch] = {}
        self._next_id = 0
        self._answers: deque[bytes] = deque()
        self._room = asyncio.Event()
        # Watches that have something, and places of progress. Bound: each watch once, ANSWERS_MAX places.
        self._ready: deque[_Watch | _Progress] = deque()
        self._places = 0
        self._work = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._work.set())
        try:
            while True:
                self._work.clear()
                while self._answers:
                    await self._context.write(self._answers.popleft())
                    self._room.set()
                if self._ready:
                    await self._send_next()
                elif not self._answers:
                    if reading.done():
                        # A client that has said all may still listen; one that broke off may not.
                        reading.result()
                    await self._work.wait()
        finally:
            reading.cancel()
            if self._timer is not None:
                self._timer.cancel()
            for watch in self._watches.values():
                watch.history.close()
            await asyncio.wait((reading,))

    # What the client says.

    async def _read(self) -> None:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            which = request.WhichOneof("request_union")
            if which == "create_request":
                self._create(request.create_request)
            elif which == "cancel_request":
                self._cancel(request.cancel_request.watch_id)
            elif which == "progress_request":
                self._places += 1
                self._enqueue(_Progress())
            while len(self._answers) + self._places >= ANSWERS_MAX:
                self._room.clear()
                await self._room.wait()

    def _create(self, request: pb.WatchCreateRequest) -> None:
        revision = self._store.told_revision
        key = request.key or _FROM_KEY
        reason = ""
        if request.range_end not in (b"", _FROM_KEY) and key >= request.range_end:
            reason = WATCH_RANGE_EMPTY
        elif request.watch_id and request.watch_id in self._watches:
            reason = WATCH_DUPLICATE_ID
        response = pb.WatchResponse(header=self._headers.at(revision), created=True)
        if reason:
            response.watch_id = NO_WATCH_ID
            response.canceled = True
            response.cancel_reason = reason
            self._answer(response)
            return
        watch = _Watch(request.watch_id or self._choose_id(), request)
        response.watch_id = watch.id
        self._answer(response)
        # Raw history is the same for all watches: what was there before is left out when it is encoded.
        watch.history = self._store.watch(
            key,
            request.range_end,
            start_revision=request.start_revision,
            prev_kv=True,
            ready=lambda: self._enqueue(watch),
        )
        self._watches[watch.id] = watch
        if watch.history.pending:
            self._enqueue(watch)
        if watch.progress and self._timer is None:
            self._look_later()

    def _choose_id(self) -> int:
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _cancel(self, id: int) -> None:
        watch = self._watches.pop(id, None)
        if watch is not None:
            watch.history.close()
            header = self._headers.at(self._store.told_revision)
            self._answer(pb.WatchResponse(header=header, watch_id=id, canceled=True))

    def _answer(self, response: pb.WatchResponse) -> None:
        self._answers.append(response.SerializeToString())
        self._work.set()

    def _enqueue(self, item: _Watch | _Progress) -> None:
        self._ready.append(item)
        self._work.set()

    # What the client is told.

    async def _send_next(self) -> None:
        item = self._ready.popleft()
        if isinstance(item, _Progress):
            await self._send_progress(item)
        elif self._watches.get(item.id) is item:
            try:
                batch = item.history.take()
            except Compacted as gone:
                await self._send_compacted(item, gone.compact_revision)
                return
            if item.history.pending:
                self._ready.append(item)
            if batch is not None and (events := item.wanted(batch)):
                await self._send_events(item, batch.revision, events)
            elif item.notify:
                item.notify = False
                await self._write(item, self._store.told_revision, b"")
            elif item.history.pending:
                # A long past of which nothing is wanted must not keep others from running.
                await asyncio.sleep(0)

    async def _send_events(self, watch: _Watch, revision: int, events: "list[Event]") -> None:
        watch.quiet = False
        watch.notify = False
        for piece in self._encoder.pieces(events, watch.prev_kv, within_revision=watch.fragment):
            if piece.last:
                await self._write(watch, revision, piece.events)
            elif watch.fragment:
                await self._write(watch, revision, _FRAGMENT + piece.events)
            else:
                await self._write(watch, piece.revision, piece.events)

    async def _write(self, watch: _Watch, revision: int, rest: bytes) -> None:
        await self._context.write(self._headers.encoded(revision) + watch.tag + rest)

    async def _send_compacted(self, watch: _Watch, compact_revision: int) -> None:
        del self._watches[watch.id]
        watch.history.close()
        response = pb.WatchResponse(
            header=self._headers.unrevised(),
            watch_id=watch.id,
            canceled=True,
            compact_revision=compact_revision,
        )
        await self._context.write(response.SerializeToString())

    async def _send_progress(self, place: _Progress) -> None:
        """Says how far all watches are, once those that are catching up have come so far."""
        if any(isinstance(item, _Watch) for item in self._ready):
            self._ready.append(place)
            return
        self._places -= 1
        self._room.set()
        header = self._headers.at(self._store.told_revision)
        response = pb.WatchResponse(header=header, watch_id=NO_WATCH_ID)
        await self._context.write(response.SerializeToString())

    # What it is told because time passed.

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._progress_seconds, self._look)

    def _look(self) -> None:
        for watch in self._watches.values():
            if watch.progress and watch.quiet and not watch.history.pending:
                watch.notify = True
                self._enqueue(watch)
            watch.quiet = True
        self._look_later()
