"""Watches and logs: the client's streams."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import grpc.aio

from orchestra.aio.rpc.status import never_sent
from orchestra.base.errors import DeadlineExceeded, Unavailable
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
_Key = tuple[str, str]
Call = TypeVar("Call", bound="grpc.aio.Call")


class _Stream(Generic[Call]):
    """A call that streams, and its end: by close(), by leaving the context, or by being dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._call: Call | None = None
        self._attempts: Attempts | None = None
        self._closed = False

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
        self._peer: Peer | None = None
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
            self._peer = self._connection.peer()
            self._call = self._peer.objects.Watch(self._request)
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

    Ends with the log, or with close(). Raises while iterating: ApiError.
    """

    def __init__(self, connection: Connection, request: api.LogRequest) -> None:
        super().__init__(connection)
        self._request = request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._closed:
            if self._attempts is None:
                self._attempts = self._connection.attempts()
            peer = self._connection.peer()
            if self._call is None:
                self._call = peer.logs.Read(self._request)
            try:
                chunk: Any = await self._call.read()
            except grpc.aio.AioRpcError as error:
                failed = self._connection.meant(error)
                self._call = None
                if not never_sent(error):
                    raise failed from None
                self._connection.leave(peer)
                if not await self._attempts.again():
                    raise failed from None
                continue
            except asyncio.CancelledError as error:
                if self._closed:
                    break
                if not cancelled_from_inside(error):
                    raise
                raise Unavailable("the connection to the master was closed") from None
            if not isinstance(chunk, api.LogChunk):
                break
            return chunk.data
        raise StopAsyncIteration
