"""The way to the masters: one channel at a time, the next address when one cannot be reached."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from orchestra.aio.backoff import Backoff
from orchestra.aio.rpc.channel import check_address, open_channel
from orchestra.aio.rpc.limits import RECONNECT_MS_MAX, UNARY_SECONDS_DEFAULT
from orchestra.aio.rpc.status import from_rpc_error, never_sent
from orchestra.base.errors import ApiError, Unavailable, UsageError
from orchestra.pb import api_v1_pb2_grpc as api_grpc

if TYPE_CHECKING:
    from orchestra.pb.api_v1_pb2_grpc import ClusterAsyncStub, LogsAsyncStub, ObjectsAsyncStub

Req = TypeVar("Req")
Res = TypeVar("Res")

RETRY_SECONDS_DEFAULT = 1.0
BACKOFF_MS_MIN = 50
# Calls still running on a channel that was given up may end by themselves.
RETIRE_SECONDS = 1.0


class Peer:
    """One master, its channel and stubs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = open_channel(address)
        self.objects: ObjectsAsyncStub = api_grpc.ObjectsStub(self.channel)
        self.logs: LogsAsyncStub = api_grpc.LogsStub(self.channel)
        self.cluster: ClusterAsyncStub = api_grpc.ClusterStub(self.channel)


class Connection:
    """Calls one of several masters.

    A call that never left this process goes to the next address, after a jittered back-off once all were
    tried; a read also when the connection broke under it. A write that may have been seen is never sent
    twice. All of it within the call's deadline and `retry_seconds`.
    """

    def __init__(self, target: str, *, deadline_seconds: float, retry_seconds: float) -> None:
        self._addresses = [check_address(part.strip()) for part in target.split(",") if part.strip()]
        if not self._addresses:
            raise UsageError("no address of a master is given: name HOST:PORT")
        self.target = ",".join(self._addresses)
        self._deadline_seconds = deadline_seconds
        self._retry_seconds = retry_seconds
        self._at = 0
        self._peer: Peer | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def peer(self) -> Peer:
        """The master in use now."""
        if self._closed:
            raise UsageError("the client is closed")
        if self._peer is None:
            self._peer = Peer(self._addresses[self._at])
        return self._peer

    def leave(self, peer: Peer) -> None:
        """Uses the next address from now on, with a channel that has no back-off behind it."""
        if peer is not self._peer:
            return
        self._peer = None
        self._at = (self._at + 1) % len(self._addresses)
        task = asyncio.ensure_future(peer.channel.close(RETIRE_SECONDS))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def attempts(self, seconds: float | None = None, limited: bool = True) -> "Attempts":
        """A new count of attempts; not `limited` by retry_seconds for what goes on for ever."""
        return Attempts(len(self._addresses), seconds, self._retry_seconds if limited else None)

    async def unary(
        self,
        choose: Callable[[Peer], "grpc.aio.UnaryUnaryMultiCallable[Req, Res]"],
        request: Req,
        *,
        write: bool,
        timeout: float | None = None,
    ) -> Res:
        """One call, answered.

        Raises: ApiError.
        """
        attempts = self.attempts(self._deadline_seconds if timeout is None else timeout)
        while True:
            peer = self.peer()
            try:
                return await choose(peer)(request, timeout=attempts.seconds_left())
            except grpc.aio.AioRpcError as error:
                meant = self.meant(error)
                if not (never_sent(error) or (not write and isinstance(meant, Unavailable))):
                    raise meant from None
            self.leave(peer)
            if not await attempts.again():
                raise meant from None

    def meant(self, error: grpc.aio.AioRpcError) -> ApiError:
        """The failed call's ApiError."""
        return from_rpc_error(error, self.target)

    async def close(self) -> None:
        """Ends all calls."""
        self._closed = True
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.channel.close()
        if self._retiring:
            await asyncio.wait(tuple(self._retiring), timeout=RETIRE_SECONDS * 2)


class Attempts:
    """How often and how long to try: every address once without waiting, then with growing waits."""

    def __init__(self, addresses: int, seconds: float | None, retry_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._deadline = None if seconds is None else now + seconds
        self._give_up = None if retry_seconds is None else now + retry_seconds
        self._addresses = addresses
        self._tried = 0
        self._backoff: Backoff | None = None

    def seconds_left(self) -> float | None:
        """Until the deadline; None if there is none."""
        return None if self._deadline is None else max(0.001, self._deadline - self._loop.time())

    async def again(self) -> bool:
        """Waits as is due and answers True, or False if there is no time for another attempt."""
        self._tried += 1
        if self._backoff is None:
            self._backoff = Backoff(BACKOFF_MS_MIN, RECONNECT_MS_MAX)
        wait = 0.0 if self._tried % self._addresses else self._backoff.next_ms() / 1000
        at = self._loop.time() + wait
        if any(bound is not None and at >= bound for bound in (self._deadline, self._give_up)):
            return False
        await asyncio.sleep(wait)
        return True


def cancelled_from_inside(error: BaseException) -> bool:
    """Whether a CancelledError means that the call was cancelled (its channel closed), not the caller."""
    task: asyncio.Task[Any] | None = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


__all__ = ("RETRY_SECONDS_DEFAULT", "UNARY_SECONDS_DEFAULT", "Attempts", "Connection", "Peer")
