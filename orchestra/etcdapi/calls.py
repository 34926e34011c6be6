"""A service's methods as gRPC's handlers: etcd's errors, and streams that end when the server stops.

Deadlines are the callers' own and the store's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from orchestra.aio.rpc.server import Context, Handler
from orchestra.base.log import get_logger
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.errors import (
    NO_LEADER,
    STOPPED,
    TIMEOUT,
    TOO_MANY_REQUESTS,
    Said,
    refusal_of,
)
from orchestra.etcdapi.requests import decoded
from orchestra.store.contract import NotProposed, StoreUnavailable

log = get_logger("etcdapi")

Unary = Callable[[Any], Awaitable[Any]]
Stream = Callable[[Any, Context], Awaitable[None]]

# gRPC cancels a call's task when the caller has gone; these words tell our own cancelling from that.
_STOPPED: Final = "etcdapi: server stopped"
_NO_LEADER: Final = "etcdapi: no leader"

# What a client says that would rather have no stream than one that may stand still.
_REQUIRES_LEADER: Final = ("hasleader", "true")
# A stream may outlive an election: three looks without a leader end it.
LOOK_SECONDS: Final = 0.5
LOOKS: Final = 3


class Calls:
    """Makes handlers, and knows which streams are open."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._streams: set[asyncio.Task[Any]] = set()
        self._led: set[asyncio.Task[Any]] = set()
        self._any_led = asyncio.Event()
        self._stopping = False

    def unary(self, behave: Unary, request: Any, response: Any) -> Handler:
        """The handler of a method from one message to one. request, response bytes: it decodes, encodes the
        message itself.
        """

        async def call(encoded: bytes, context: Context) -> Any:
            try:
                return await behave(encoded if request is bytes else decoded(request, encoded))
            except Exception as error:  # noqa: BLE001 - the outermost frame of a call answers everything
                await self._fail(context, error)

        # Decoded within: what is no such message is answered as any other mistake is.
        return grpc.unary_unary_rpc_method_handler(
            call, None, None if response is bytes else response.SerializeToString
        )

    def stream(self, behave: Stream, request: Any, response: Any) -> Handler:
        """The handler of a method from one message to a stream, written to the context."""
        return grpc.unary_stream_rpc_method_handler(
            self._listed(behave), request.FromString, response.SerializeToString
        )

    def talk(self, behave: Stream, request: Any) -> Handler:
        """The handler of a method from a stream to a stream: read from and written to the context, the latter
        as encoded messages."""
        return grpc.stream_stream_rpc_method_handler(self._listed(behave), request.FromString, None)

    def end_streams(self) -> None:
        """Ends every open stream and refuses new ones; each tells its caller that the server stops."""
        self._stopping = True
        for task in tuple(self._streams):
            task.cancel(_STOPPED)

    def _listed(self, behave: Stream) -> Stream:
        async def call(message: Any, context: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            if self._stopping:
                await context.abort(*STOPPED)
            self._streams.add(task)
            try:
                await self._require_leader(context, task)
                await behave(message, context)
            except asyncio.CancelledError as error:
                if error.args not in ((_STOPPED,), (_NO_LEADER,)):
                    raise
                await context.abort(*(STOPPED if error.args == (_STOPPED,) else NO_LEADER))
            except Exception as error:  # noqa: BLE001 - the outermost frame of a call answers everything
                await self._fail(context, error)
            finally:
                self._streams.discard(task)
                self._led.discard(task)

        return call

    async def _require_leader(self, context: Context, task: "asyncio.Task[Any]") -> None:
        if any((key, value) == _REQUIRES_LEADER for key, value in context.invocation_metadata() or ()):
            if not self._backend.status().leader:
                await context.abort(*NO_LEADER)
            self._led.add(task)
            self._any_led.set()

    async def watch_leader(self) -> None:
        """Ends the streams that require a leader when there is none for long; for ever."""
        missing = 0
        while True:
            if not self._led:
                self._any_led.clear()
                await self._any_led.wait()
            await asyncio.sleep(LOOK_SECONDS)
            missing = 0 if self._backend.status().leader else missing + 1
            if missing >= LOOKS:
                for task in tuple(self._led):
                    task.cancel(_NO_LEADER)

    async def _fail(self, context: Context, error: Exception) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        code, text = self._told(error)
        await context.abort(code, text)

    def _told(self, error: Exception) -> Said:
        said = refusal_of(error)
        if said is not None:
            return said
        if isinstance(error, StoreUnavailable):
            log.debug("a request could not be served", why=error)
            if self._stopping:
                return STOPPED
            if not self._backend.status().leader:
                return NO_LEADER
            return TOO_MANY_REQUESTS if isinstance(error, NotProposed) else TIMEOUT
        if isinstance(error, TimeoutError):
            return TIMEOUT
        log.error("a call failed by a defect", error)
        return Said(
            grpc.StatusCode.INTERNAL, "etcdserver: the server failed by a defect: its log has the cause"
        )
