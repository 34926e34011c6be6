"""The one place that makes servers.

Every Orchestra service gets the same treatment: errors become statuses with details, defects become INTERNAL
with the cause in the log only, unary calls have a deadline even if the caller named none, and streams end
with a clear UNAVAILABLE when the server stops.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, NoReturn, TypeVar, cast

import grpc
import grpc.aio

from orchestra.aio.rpc.channel import check_address
from orchestra.aio.rpc.limits import (
    CALLS_MAX,
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    SESSION_KEEPALIVE,
    UNARY_SECONDS_MAX,
    Keepalive,
    server_arguments,
)
from orchestra.aio.rpc.status import abort
from orchestra.base.errors import (
    ApiError,
    DeadlineExceeded,
    InternalError,
    OrchestraError,
    Unavailable,
)
from orchestra.base.log import get_logger

log = get_logger("rpc")

S = TypeVar("S")
Context = grpc.aio.ServicerContext[Any, Any]
# grpc.RpcMethodHandler, which is generic for the type checker only.
Handler = Any
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


# gRPC cancels a call's task when the caller has gone; this word tells our own cancelling from that.
_ENDED: Final = "ended by the server"


def end_call(task: "asyncio.Task[Any]") -> None:
    """Ends a call from outside, given its task, wherever it waits; the caller is told UNAVAILABLE."""
    task.cancel(_ENDED)


class ListenError(OrchestraError):
    """The address cannot be listened on."""


class RpcServer:
    """A gRPC server of Orchestra services, with health and reflection.

    A service's unary methods are coroutines, its streaming ones async generators; a generator is closed
    before its call ends, however it ends. Both may answer with a message's encoded bytes.

    translate: how errors of lower floors that are no ApiError are told to callers.
    own_errors: for another protocol's services, whose handlers answer their errors, keep their deadlines and
    end their streams themselves (`add_handlers`).
    """

    def __init__(
        self,
        *,
        translate: Mapping[type[Exception], Callable[[Any], ApiError]] | None = None,
        keepalive: Keepalive = SESSION_KEEPALIVE,
        calls_max: int = CALLS_MAX,
        request_bytes_max: int = REQUEST_BYTES_MAX,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
        own_errors: bool = False,
    ) -> None:
        self._calls = _Calls(translate or {})
        self._server = grpc.aio.server(
            interceptors=None if own_errors else [self._calls],
            options=server_arguments(keepalive, request_bytes_max, response_bytes_max),
            maximum_concurrent_rpcs=calls_max,
        )
        self._names: list[str] = []
        self._health: Any = None
        self._stopped = False

    def add(self, add_to_server: Callable[[S, grpc.aio.Server], None], servicer: S, name: str) -> None:
        """Adds a service by its generated function; `name` is its full name, for health and reflection."""
        add_to_server(servicer, self._server)
        self._names.append(name)

    def add_handlers(self, name: str, handlers: Mapping[str, Handler]) -> None:
        """Adds a service by its methods' handlers. Those added first are found first."""
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(handlers)),))
        self._names.append(name)

    async def start(self, listen: str) -> int:
        """Listens on HOST:PORT and serves; port 0 takes a free one. The port.

        Raises: ListenError, UsageError.
        """
        try:
            port = self._server.add_insecure_port(check_address(listen))
        except RuntimeError as error:
            raise ListenError(
                f"cannot listen on {listen}: is the port taken (by another master?), "
                "and is the address one of this machine's?"
            ) from error
        await self._add_health_and_reflection()
        await self._server.start()
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Refuses new calls, ends streams at once, gives unary calls the grace. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        self._calls.end_streams()
        await stopping

    @property
    def streams(self) -> int:
        """How many streaming calls are open."""
        return len(self._calls.streams)

    async def _add_health_and_reflection(self) -> None:
        # Imported by servers only: clients need neither and are to stay small.
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection

        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)


class _Calls(grpc.aio.ServerInterceptor):
    """Wraps every method of our own services, once."""

    def __init__(self, translate: Mapping[type[Exception], Callable[[Any], ApiError]]) -> None:
        self._translate = tuple(translate.items())
        self._wrapped: dict[str, Handler] = {}
        self.streams: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/orchestra."):
            return handler
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def end_streams(self) -> None:
        """Cancels every open stream; each tells its caller that the server stops."""
        self._stopping = True
        for task in tuple(self.streams):
            end_call(task)

    def _wrap(self, method: str, handler: Any) -> Handler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": _serializer(handler.response_serializer),
        }
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(method, handler.stream_stream), **codec)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codec)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._upload(method, handler.stream_unary), **codec)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codec)

    def _unary(self, method: str, inner: Unary) -> Any:
        async def behave(request: Any, context: Context) -> Any:
            left = context.time_remaining()
            try:
                # A deadline that the caller named is kept by gRPC itself, which cancels this call.
                if left is not None and left < UNARY_SECONDS_MAX:
                    return await inner(request, context)
                async with asyncio.timeout(UNARY_SECONDS_MAX):
                    return await inner(request, context)
            except Exception as error:  # noqa: BLE001 - the outermost frame of a call answers everything
                await self._fail(method, context, error)

        return behave

    def _upload(self, method: str, inner: Unary) -> Any:
        async def behave(requests: AsyncIterator[Any], context: Context) -> Any:
            with Listed(self.streams):
                try:
                    self._refuse_when_stopping()
                    return await inner(requests, context)
                except asyncio.CancelledError as error:
                    await self._cancelled(context, error)
                except Exception as error:  # noqa: BLE001 - the outermost frame of a call answers everything
                    await self._fail(method, context, error)

        return behave

    def _stream(self, method: str, inner: Stream) -> Any:
        async def behave(request: Any, context: Context) -> None:
            with Listed(self.streams):
                try:
                    self._refuse_when_stopping()
                    async with aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                except asyncio.CancelledError as error:
                    await self._cancelled(context, error)
                except Exception as error:  # noqa: BLE001 - the outermost frame of a call answers everything
                    await self._fail(method, context, error)

        return behave

    def _refuse_when_stopping(self) -> None:
        """A stream that slipped in while the server stops would hold the stop up."""
        if self._stopping:
            raise Unavailable("the master is stopping: dial again", retry_after_ms=100)

    async def _cancelled(self, context: Context, error: asyncio.CancelledError) -> NoReturn:
        """By end_call(): told to the caller. By the caller: nothing is left to be told."""
        if error.args != (_ENDED,):
            raise error
        said = "the master is stopping" if self._stopping else "the master has ended this call"
        await abort(context, Unavailable(f"{said}: dial again", retry_after_ms=100))

    async def _fail(self, method: str, context: Context, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        await abort(context, self._told(method, error))

    def _told(self, method: str, error: Exception) -> ApiError:
        if isinstance(error, ApiError):
            return error
        for cls, told in self._translate:
            if isinstance(error, cls):
                return told(error)
        if isinstance(error, TimeoutError):
            return DeadlineExceeded(
                "the master did not finish in time: whether the request took effect is not known"
            )
        log.error("a call failed by a defect", error, method=method)
        name = method.rpartition("/")[2]
        return InternalError(f"{name} failed by a defect of the master: its log has the cause")


def _serializer(inner: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Takes messages, and bytes that are an encoded message already."""

    def serialize(response: Any) -> bytes:
        return response if type(response) is bytes else inner(response)

    return serialize


class Listed:
    """The running call's task, kept in a set while it runs."""

    __slots__ = ("_task", "_tasks")

    def __init__(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._tasks = tasks
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())

    def __enter__(self) -> None:
        self._tasks.add(self._task)

    def __exit__(self, *_: object) -> None:
        self._tasks.discard(self._task)
