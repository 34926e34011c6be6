"""Calls that only the leading master can answer, passed on to it by any other: bytes in, bytes out."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.keys import FORWARDED_BY
from orchestra.aio.rpc.limits import UNARY_SECONDS_DEFAULT
from orchestra.aio.rpc.server import Context
from orchestra.aio.rpc.status import from_rpc_error, never_sent, says_details
from orchestra.base.errors import Unavailable
from orchestra.store.leadership import Leader

RETRY_MS: Final = 100


class Forwarding:
    """The way to the leading master. Errors, deadline and cancellation pass through as they are.

    name: this master's. leader: who leads now.
    """

    def __init__(self, name: str, leader: Callable[[], Leader | None]) -> None:
        self._name = name
        self._leader = leader
        self._address = ""
        self._channel: grpc.aio.Channel | None = None
        self._open: dict[grpc.aio.Channel, int] = {}
        self._closed = False

    async def unary(self, method: str, request: bytes, context: Context) -> bytes:
        """One answer, encoded.

        Raises: Unavailable when nobody leads, this master is about to, or the leader cannot be reached.
        """
        channel = await self._way(context)
        left = context.time_remaining()
        try:
            method_of: Any = channel.unary_unary(method)
            answer: bytes = await method_of(
                request,
                timeout=UNARY_SECONDS_DEFAULT if left is None else left,
                metadata=self._mark(),
            )
            return answer
        except grpc.aio.AioRpcError as error:
            await self._pass_on(error, context)
            raise
        finally:
            await self._left(channel)

    async def stream(self, method: str, request: bytes, context: Context) -> AsyncGenerator[bytes, None]:
        """The answers, encoded, one after another as the caller takes them. Raises: as unary()."""
        channel = await self._way(context)
        call: Any = None
        try:
            method_of: Any = channel.unary_stream(method)
            call = method_of(request, timeout=context.time_remaining(), metadata=self._mark())
            while True:
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                yield answer
        except grpc.aio.AioRpcError as error:
            await self._pass_on(error, context)
        finally:
            if call is not None:
                call.cancel()
            await self._left(channel)

    async def close(self) -> None:
        """Ends every call that is being passed on."""
        self._closed = True
        channels = {*self._open, *((self._channel,) if self._channel is not None else ())}
        self._channel, self._address = None, ""
        self._open.clear()
        for channel in channels:
            await channel.close()

    def _mark(self) -> tuple[tuple[str, str], ...]:
        return ((FORWARDED_BY, self._name),)

    async def _way(self, context: Context) -> grpc.aio.Channel:
        """The channel to whoever leads; give it back with _left()."""
        passed_on_by = {str(key): value for key, value in context.invocation_metadata() or ()}.get(
            FORWARDED_BY
        )
        leader = self._leader()
        if passed_on_by is not None:
            raise _unavailable(f"this master does not lead, though {str(passed_on_by)!r} held that it does")
        if leader is None or not leader.address or self._closed:
            raise _unavailable("no master leads now, see that most of them run")
        if leader.name == self._name:
            raise _unavailable("this master has just become the leader and is not ready yet")
        if self._channel is None or leader.address != self._address:
            before = self._channel
            self._address, self._channel = leader.address, open_channel(leader.address, session=True)
            if before is not None and before not in self._open:
                await before.close()
        channel = self._channel
        self._open[channel] = self._open.get(channel, 0) + 1
        return channel

    async def _left(self, channel: grpc.aio.Channel) -> None:
        """A channel to a master that leads no more ends with the last call on it."""
        left = self._open.get(channel, 0) - 1
        if left > 0:
            self._open[channel] = left
            return
        if self._open.pop(channel, None) is not None and channel is not self._channel:
            await channel.close()

    async def _pass_on(self, error: grpc.aio.AioRpcError, context: Context) -> None:
        """Ends this call as the leader ended its own. Raises: AbortError, ApiError."""
        if says_details(error):
            await context.abort(
                error.code(), error.details() or "", trailing_metadata=tuple(error.trailing_metadata() or ())
            )
        told = from_rpc_error(error, self._address)
        if isinstance(told, Unavailable):
            raise _unavailable(
                f"the leading master cannot be reached: {told.message}", not_done=never_sent(error)
            ) from None
        raise told from None


def _unavailable(why: str, *, not_done: bool = True) -> Unavailable:
    return Unavailable(f"{why}: retry", retry_after_ms=RETRY_MS, not_done=not_done)
