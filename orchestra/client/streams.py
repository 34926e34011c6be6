"""Watches and logs: the client's streams."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import grpc.aio

from orchestra.aio.rpc.status import never_sent
from orchestra.base.errors import ApiError, DeadlineExceeded, Unavailable
from orchestra.base.log import get_logger
from orchestra.client.connection import Attempts, Connection, Peer, cancelled_from_inside
from orchestra.client.types import EventType, WatchEvent
from orchestra.objects.kinds import Kind, unwrap
from orchestra.pb import api_v1_pb2 as api

log = get_logger("client")

_TYPES: Final[dict[int, EventType]] = {
    api.WatchEvent.ADDED: "ADDED",
    api.WatchEvent.MODIFIED: "MODIFIED",
    api.WatchEvent.DELETED: "DELETED",
}
# How long a log that broke off is asked for again before its reader is told.
RESUME_SECONDS: Final = 20.0
_Key = tuple[str, str]
Call = TypeVar("Call", bound="grpc.aio.Call")


class _Stream(Generic[Call]):
    """A call that streams, and its end: by close(), by leaving the context, or by being dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._call: Call | None = None
        self._peer: Peer | None = None
        self._attempts: Attempts | None = None
        self._closed = False

    def _begin(self, peer: Peer, call: Call) -> None:
        peer.began()
        call.add_done_callback(peer.ended)
        self._peer, self._call = peer, call

    def close(self) -> None:
        """Ends the stream, and an iteration that waits. Safe to call twice."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __del__(self) -> None:
        # A caller that broke out of its loop has no other way to say that it is done.
        if not self._closed and not self._connection.closed:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Watch(_Stream["grpc.aio.UnaryStreamCall[api.WatchRequest, api.WatchResponse]"]):
    """An open watch: `async for event in watch`. It reconnects and resumes by itself, for ever.

    Ends with close(), or when it is dropped. Raises while iterating: Expired when the revision to resume from
    is no longer kept; Unavailable when the master could not be reached at the start.
    Bound: holds one response of the server.
    """

    def __init__(
        self, connection: Connection, kind: Kind, request: api.WatchRequest, bookmarks: bool
    ) -> None:
        super().__init__(connection)
        self._kind = kind
        self._request = request
        self._bookmarks = bookmarks
        self._events: deque[WatchEvent] = deque()
        self._connected_once = False
        # What has been told of an initial state that is not complete yet; and of one that broke off.
        self._initial: set[_Key] | None = set() if not request.resource_version else None
        self._broken_off: set[_Key] = set()

    @property
    def revision(self) -> int:
        """A new watch from here misses nothing; 0 while the initial state is not complete."""
        return int(self._request.resource_version or 0)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            await self._read()
        return self._events.popleft()

    async def _read(self) -> None:
        if self._attempts is None:
            self._attempts = self._connection.attempts(limited=not self._connected_once)
        if self._call is None:
            peer = self._connection.peer()
            self._begin(peer, peer.objects.Watch(self._request))
        assert self._call is not None
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            failed = self._connection.meant(error)
        except asyncio.CancelledError as error:
            if self._closed:
                return
            if not cancelled_from_inside(error):
                raise
            failed = Unavailable("the connection to the master was closed")
        else:
            if isinstance(response, api.WatchResponse):
                self._attempts, self._connected_once = None, True
                self._take(response)
                return
            failed = Unavailable("the master ended the watch")
        self._call = None
        if not isinstance(failed, Unavailable | DeadlineExceeded):
            self._closed = True
            raise failed
        await self._reconnect(failed)

    async def _reconnect(self, failed: Exception) -> None:
        log.debug("a watch lost its master", kind=self._kind.kind, cause=str(failed))
        if self._peer is not None:
            self._connection.leave(self._peer)
        if self._initial is not None:
            self._broken_off |= self._initial
            self._initial = set()
        assert self._attempts is not None
        if not await self._attempts.again():
            self._closed = True
            raise failed

    def _take(self, response: api.WatchResponse) -> None:
        for event in response.events:
            if event.type == api.WatchEvent.BOOKMARK:
                continue
            obj = unwrap(event.object)
            if self._initial is not None:
                self._initial.add((obj.metadata.namespace, obj.metadata.name))
            self._events.append(WatchEvent(_TYPES[event.type], obj, self.revision))
        if response.initial_events_end:
            self._complete()
        if response.resource_version:
            self._request.resource_version = response.resource_version
            if self._bookmarks:
                self._events.append(WatchEvent("BOOKMARK", None, self.revision))
            elif self._events:
                last = self._events[-1]
                self._events[-1] = WatchEvent(last.type, last.obj, self.revision)

    def _complete(self) -> None:
        """Tells the end of what an earlier, broken attempt had told and what is gone meanwhile."""
        for namespace, name in sorted(self._broken_off - (self._initial or set())):
            gone = self._kind.new()
            gone.metadata.namespace, gone.metadata.name = namespace, name
            self._events.append(WatchEvent("DELETED", gone, self.revision))
        self._initial, self._broken_off = None, set()


class LogStream(_Stream["grpc.aio.UnaryStreamCall[api.LogRequest, api.LogChunk]"]):
    """A container's output: `async for data in stream` gives bytes, whole lines where possible.

    A log that is followed goes on by itself, where it was, when its master or the agent's link is lost.
    Ends with the log, or with close(). Raises while iterating: ApiError.
    """

    def __init__(self, connection: Connection, request: api.LogRequest) -> None:
        super().__init__(connection)
        self._request = request
        self._limit = request.options.limit_bytes if request.options.HasField("limit_bytes") else None
        # Bytes given out in all; of them those after the position in the request; and what has come after
        # that position by the present call, given out or not.
        self._given = 0
        self._behind = 0
        self._received = 0
        self._broke_at: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._closed:
            if self._attempts is None:
                self._attempts = self._connection.attempts(limited=not self._request.options.position)
            if self._call is None:
                peer = self._connection.peer()
                self._begin(peer, peer.logs.Read(self._request))
            assert self._call is not None
            assert self._peer is not None
            try:
                chunk: Any = await self._call.read()
            except grpc.aio.AioRpcError as error:
                await self._failed(self._connection.meant(error), unsent=never_sent(error))
                continue
            except asyncio.CancelledError as error:
                if self._closed:
                    break
                if not cancelled_from_inside(error):
                    raise
                raise Unavailable("the connection to the master was closed") from None
            if not isinstance(chunk, api.LogChunk):
                break
            data = self._take(chunk)
            if data:
                return data
        raise StopAsyncIteration

    async def _failed(self, failed: ApiError, *, unsent: bool) -> None:
        """Returns when another attempt is due. Raises: what failed, when there is to be none."""
        self._call = None
        options = self._request.options
        resumes = options.follow and bool(options.position)
        now = asyncio.get_running_loop().time()
        if self._broke_at is None:
            self._broke_at = now
        late = now - self._broke_at > RESUME_SECONDS
        # A master that cannot reach the agent yet, or does not lead, may be able to in a moment.
        again = unsent or failed.not_done or (resumes and not late and isinstance(failed, Unavailable))
        if not again:
            raise failed from None
        self._received = 0
        if self._limit is not None:
            options.limit_bytes = self._limit - (self._given - self._behind)
        assert self._peer is not None
        assert self._attempts is not None
        self._connection.leave(self._peer)
        if late or not await self._attempts.again(answered=not unsent):
            raise failed from None

    def _take(self, chunk: api.LogChunk) -> bytes:
        """What of it is new."""
        options = self._request.options
        self._broke_at = None
        if chunk.data:
            self._attempts = None
        elif chunk.position != options.position:
            # The log's beginning; or where it was is rotated away, and all that comes is new.
            self._behind = self._received = 0
        data = chunk.data[max(0, self._behind - self._received) :]
        self._received += len(chunk.data)
        self._behind = max(self._behind, self._received)
        self._given += len(data)
        if chunk.position:
            for name in ("since_seconds", "since_time", "tail_lines"):
                options.ClearField(name)
            options.position = chunk.position
            self._behind -= self._received
            self._received = 0
        return data
