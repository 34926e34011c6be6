"""The way to the masters: one channel at a time, the next address when one cannot be reached."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from orchestra.aio.backoff import Backoff
from orchestra.aio.rpc.channel import check_address, open_channel
from orchestra.aio.rpc.limits import FAILOVER_KEEPALIVE, UNARY_SECONDS_DEFAULT
from orchestra.aio.rpc.status import from_rpc_error, never_sent
from orchestra.base.errors import ApiError, Unavailable, UsageError
from orchestra.pb import api_v1_pb2_grpc as api_grpc

if TYPE_CHECKING:
    from orchestra.pb.api_v1_pb2_grpc import ClusterAsyncStub, LogsAsyncStub, ObjectsAsyncStub

Req = TypeVar("Req")
Res = TypeVar("Res")

RETRY_SECONDS_DEFAULT = 1.0
# While some master answers, if only that nobody leads: an election takes its time.
ELECTION_SECONDS = 5.0
BACKOFF_MS_MIN = 50
BACKOFF_MS_MAX = 400
CLOSE_SECONDS = 2.0


class Peer:
    """One master, its channel and stubs. Once given up it is closed when the last call on it has ended."""

    def __init__(self, address: str, *, several: bool = False) -> None:
        self.address = address
        self.channel = open_channel(address, keepalive=FAILOVER_KEEPALIVE if several else None)
        self.objects: ObjectsAsyncStub = api_grpc.ObjectsStub(self.channel)
        self.logs: LogsAsyncStub = api_grpc.LogsStub(self.channel)
        self.cluster: ClusterAsyncStub = api_grpc.ClusterStub(self.channel)
        self._calls = 0
        self._idle: Callable[[Peer], None] | None = None

    def began(self) -> None:
        """A call uses the channel."""
        self._calls += 1

    def ended(self, _: object = None) -> None:
        """It does no more."""
        self._calls -= 1
        self._tell_idle()

    def retire(self, idle: "Callable[[Peer], None]") -> None:
        """No more calls will begin; `idle` is told when none is left."""
        self._idle = idle
        self._tell_idle()

    def forget(self) -> None:
        """Nobody needs to be told any more."""
        self._idle = None

    def _tell_idle(self) -> None:
        if self._calls == 0 and self._idle is not None:
            idle, self._idle = self._idle, None
            idle(self)


class Connection:
    """Calls one of several masters.

    A call that never left this process, or whose master answers that nothing of it was done, goes to the next
    address, after a jittered back-off once all were tried; a read also when the connection broke under it. A
    write that may have been seen is never sent twice. All of it within the call's deadline and
    `retry_seconds` (with several masters, ELECTION_SECONDS as long as any of them answers).
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
        self._retired: set[Peer] = set()
        self._closing: set[asyncio.Task[None]] = set()
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
            self._peer = Peer(self._addresses[self._at], several=len(self._addresses) > 1)
        return self._peer

    def leave(self, peer: Peer) -> None:
        """Uses the next address from now on, with a channel that has no back-off behind it.

        Other calls on the channel left go on: what failed for one need not have failed for them.
        """
        if peer is not self._peer:
            return
        self._peer = None
        self._at = (self._at + 1) % len(self._addresses)
        self._retired.add(peer)
        peer.retire(self._close_retired)

    def _close_retired(self, peer: Peer) -> None:
        self._retired.discard(peer)
        peer.forget()
        task = asyncio.ensure_future(peer.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

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
        said: ApiError | None = None
        while True:
            peer = self.peer()
            peer.began()
            try:
                return await choose(peer)(request, timeout=attempts.seconds_left())
            except grpc.aio.AioRpcError as error:
                meant, unsent = self.meant(error), never_sent(error)
                if not (unsent or meant.not_done or (not write and isinstance(meant, Unavailable))):
                    raise meant from None
            finally:
                peer.ended()
            # What a master has said tells more than that others could not be reached.
            said = meant if said is None or not unsent else said
            self.leave(peer)
            if not await attempts.again(answered=not unsent):
                raise said from None

    def meant(self, error: grpc.aio.AioRpcError) -> ApiError:
        """The failed call's ApiError."""
        return from_rpc_error(error, self.target)

    async def close(self) -> None:
        """Ends all calls."""
        self._closed = True
        peer, self._peer = self._peer, None
        for each in (*self._retired, *((peer,) if peer is not None else ())):
            self._close_retired(each)
        if self._closing:
            await asyncio.wait(tuple(self._closing), timeout=CLOSE_SECONDS)


class Attempts:
    """How often and how long to try: every address once without waiting, then with growing waits."""

    def __init__(self, addresses: int, seconds: float | None, retry_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._deadline = None if seconds is None else now + seconds
        self._give_up = None if retry_seconds is None else now + retry_seconds
        self._give_up_answered = self._give_up
        if retry_seconds is not None and addresses > 1:
            self._give_up_answered = now + max(retry_seconds, ELECTION_SECONDS)
        self._answered = False
        self._addresses = addresses
        self._tried = 0
        self._backoff: Backoff | None = None

    def seconds_left(self) -> float | None:
        """Until the deadline; None if there is none."""
        return None if self._deadline is None else max(0.001, self._deadline - self._loop.time())

    async def again(self, *, answered: bool = False) -> bool:
        """Waits as is due and answers True, or False if there is no time for another attempt.

        answered: a master was reached, if only to fail.
        """
        self._tried += 1
        self._answered = self._answered or answered
        if self._backoff is None:
            self._backoff = Backoff(BACKOFF_MS_MIN, BACKOFF_MS_MAX)
        wait = 0.0 if self._tried % self._addresses else self._backoff.next_ms() / 1000
        at = self._loop.time() + wait
        give_up = self._give_up_answered if self._answered else self._give_up
        if any(bound is not None and at >= bound for bound in (self._deadline, give_up)):
            return False
        await asyncio.sleep(wait)
        return True


def cancelled_from_inside(error: BaseException) -> bool:
    """Whether a CancelledError means that the call was cancelled (its channel closed), not the caller."""
    task: asyncio.Task[Any] | None = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


__all__ = ("RETRY_SECONDS_DEFAULT", "UNARY_SECONDS_DEFAULT", "Attempts", "Connection", "Peer")
