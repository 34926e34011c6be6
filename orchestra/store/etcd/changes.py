"""Every change of an etcd cluster from a revision on, whatever happens to the stream that tells them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import grpc.aio

from orchestra.aio.rpc.status import plain_cause
from orchestra.base.log import get_logger
from orchestra.mvcc.model import Event
from orchestra.pb import etcd_rpc_pb2 as rpc
from orchestra.store.contract import Compacted, StoreUnavailable
from orchestra.store.etcd import words
from orchestra.store.etcd.connection import NEEDS_LEADER, Connection, Endpoint

if TYPE_CHECKING:
    WatchCall = grpc.aio.StreamStreamCall[rpc.WatchRequest, rpc.WatchResponse]

log = get_logger("store.etcd.watch")

Answer = TypeVar("Answer")

# From the opening of a stream to etcd's word that the watch is there.
OPEN_SECONDS: Final = 3.0
# InvalidStateError is grpc.aio's word for writing to a call that has ended already.
_BROKEN: Final = (grpc.aio.AioRpcError, StoreUnavailable, TimeoutError, asyncio.InvalidStateError)


class ChangeStream:
    """All keys' changes at `next_revision` and later, for one reader.

    Resumes by itself, at another member if there is one, without a gap or a repeat. Cancelling a read loses
    nothing.
    Bound: one answer of etcd's, about 1.5 MiB of values and what they replaced, and one revision.
    """

    def __init__(
        self, connection: Connection, start_revision: int, seen: Callable[[rpc.ResponseHeader], None]
    ) -> None:
        self._connection = connection
        self._next = start_revision
        self._seen = seen
        self._call: WatchCall | None = None
        self._endpoint: Endpoint | None = None
        self._opening: asyncio.Timeout | None = None
        self._part: list[Event] = []
        self._backoff = connection.backoff()
        self._closed = asyncio.Event()
        self._broken = False

    @property
    def next_revision(self) -> int:
        """Every change before it has been handed out."""
        return self._next

    async def open(self) -> None:
        """Returns once etcd has said that it follows the changes. Raises: as read()."""
        await self._patiently(self._opened)

    async def read(self) -> Sequence[Event]:
        """The changes of the next revisions, whole; none when the stream was closed.

        Raises: Compacted when they are no longer kept; StoreUnavailable when the store is closed.
        """
        return await self._patiently(self._receive) or ()

    async def _patiently(self, step: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
        """Does a step on an open stream until it comes to something, on another one as often as needed."""
        while not self._closed.is_set():
            self._connection.check_open()
            try:
                if self._call is None:
                    await self._open()
                done = await step()
                if done:
                    self._broken = False
                    self._backoff.reset()
                    return done
            except _BROKEN as error:
                await self._pause(error)
            except asyncio.CancelledError:
                self._drop()
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Cut off by close(), restart() or the connection's end.
        return None

    async def _opened(self) -> bool:
        return True

    async def _open(self) -> None:
        endpoint = self._endpoint = self._connection.endpoint
        self._part = []
        call = self._call = endpoint.watch.Watch(metadata=NEEDS_LEADER)
        create = rpc.WatchCreateRequest(
            key=b"\0", range_end=b"\0", start_revision=self._next, prev_kv=True, fragment=True
        )
        try:
            async with asyncio.timeout(OPEN_SECONDS) as self._opening:
                await call.write(rpc.WatchRequest(create_request=create))
                response = await call.read()
        finally:
            self._opening = None
        self._check(response)

    async def _receive(self) -> Sequence[Event]:
        assert self._call is not None
        response = await self._call.read()
        self._check(response)
        assert isinstance(response, rpc.WatchResponse)
        self._part += [words.event(told) for told in response.events if told.kv.mod_revision >= self._next]
        if not self._part:
            return ()
        events, self._part = self._part, []
        if response.fragment:
            # The last revision may go on in the next one.
            last = events[-1].kv.mod_revision
            cut = next(at for at, event in enumerate(events) if event.kv.mod_revision == last)
            events, self._part = events[:cut], events[cut:]
        if events:
            self._next = events[-1].kv.mod_revision + 1
        return events

    def _check(self, response: object) -> None:
        """Raises: Compacted; StoreUnavailable when the watch has ended for another reason."""
        if not isinstance(response, rpc.WatchResponse):
            raise StoreUnavailable("etcd has ended the stream")
        if response.compact_revision:
            self._drop()
            raise Compacted(response.compact_revision)
        if response.canceled:
            raise StoreUnavailable(f"etcd has ended the watch: {response.cancel_reason or 'it says not why'}")
        self._seen(response.header)

    async def _pause(self, error: Exception) -> None:
        if self._endpoint is not None:
            self._connection.failed(self._endpoint)
        self._drop()
        wait_ms = self._backoff.next_ms()
        if not self._broken:
            why = plain_cause(error) if isinstance(error, grpc.aio.AioRpcError) else str(error)
            address = self._endpoint.address if self._endpoint else ""
            log.info("the stream of changes has broken, it will be resumed", etcd=address, why=why)
        self._broken = True
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._closed.wait()
        except TimeoutError:
            pass

    def _drop(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = None
        self._part = []

    def restart(self) -> None:
        """Gives up the member that tells the changes, for another one if there is one."""
        if self._endpoint is not None:
            self._connection.failed(self._endpoint)
        self._cut()

    def close(self) -> None:
        """Ends the stream, and a read that waits."""
        self._closed.set()
        self._cut()

    def _cut(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._opening is not None and not self._opening.expired():
            # grpc.aio does not wake who waits to write to a call that is cancelled.
            self._opening.reschedule(asyncio.get_running_loop().time())
