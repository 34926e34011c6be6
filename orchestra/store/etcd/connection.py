"""The way to the members of an etcd cluster: one channel each, the next one when one does not answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import grpc.aio

from orchestra.aio.backoff import Backoff
from orchestra.aio.rpc.channel import check_address, open_channel
from orchestra.aio.rpc.limits import Keepalive
from orchestra.base.errors import UsageError
from orchestra.base.log import get_logger
from orchestra.mvcc.model import Range, Txn
from orchestra.pb import etcd_rpc_pb2_grpc as rpc_grpc
from orchestra.store.contract import StoreUnavailable
from orchestra.store.etcd.failures import is_away, not_done, store_error

if TYPE_CHECKING:
    from orchestra.pb.etcd_rpc_pb2_grpc import KVAsyncStub, LeaseAsyncStub, WatchAsyncStub

log = get_logger("store.etcd")

SCHEME: Final = "etcd://"
# etcd ends connections that ping more often than every 5 s, or without a call.
ETCD_KEEPALIVE: Final = Keepalive(interval_ms=6000, timeout_ms=3000, without_calls=False)
# What is asked of one member before the next one is asked, where asking twice does no harm.
ATTEMPT_SECONDS: Final = 2.0
RETRY_MS: Final = 20
RETRY_MS_MAX: Final = 1000
# A member that has lost its leader ends the call instead of staying silent.
NEEDS_LEADER: Final = (("hasleader", "true"),)

Answer = TypeVar("Answer")


def addresses_of(target: str) -> tuple[str, ...]:
    """The members' addresses in etcd://HOST:PORT,HOST:PORT. Raises: UsageError."""
    if not target.startswith(SCHEME):
        raise UsageError(f'"{target}" is no etcd cluster: give etcd://HOST:PORT,HOST:PORT')
    return tuple(check_address(address.strip()) for address in target.removeprefix(SCHEME).split(","))


class Endpoint:
    """One member."""

    __slots__ = ("address", "channel", "kv", "lease", "watch")

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = open_channel(address, keepalive=ETCD_KEEPALIVE)
        self.kv: KVAsyncStub = rpc_grpc.KVStub(self.channel)
        self.lease: LeaseAsyncStub = rpc_grpc.LeaseStub(self.channel)
        self.watch: WatchAsyncStub = rpc_grpc.WatchStub(self.channel)


class Connection:
    """All members; calls go to one of them until it fails.

    Must be made where an event loop runs. Raises: UsageError for an address that is none.
    """

    def __init__(
        self, addresses: Sequence[str], *, timeout_seconds: float, rng: random.Random | None = None
    ) -> None:
        if not addresses:
            raise UsageError("no address of an etcd member: give etcd://HOST:PORT")
        self.timeout_seconds = timeout_seconds
        self.rng = rng or random.Random()
        self.closed = False
        self._endpoints = [Endpoint(address) for address in addresses]
        # Masters spread over the members.
        self._at = self.rng.randrange(len(addresses))

    @property
    def endpoint(self) -> Endpoint:
        """The member to ask now."""
        return self._endpoints[self._at]

    def failed(self, endpoint: Endpoint) -> None:
        """Asks another member from now on, unless that has happened already."""
        if self.endpoint is endpoint:
            self._at = (self._at + 1) % len(self._endpoints)

    def check_open(self) -> None:
        """Raises: StoreUnavailable once closed."""
        if self.closed:
            raise StoreUnavailable("the store is closed")

    def backoff(self) -> Backoff:
        """The waits between tries."""
        return Backoff(RETRY_MS, RETRY_MS_MAX, rng=self.rng)

    async def call(
        self,
        send: Callable[[Endpoint, float], Awaitable[Answer]],
        *,
        repeatable: bool,
        asked: Txn | Range | None = None,
    ) -> Answer:
        """Sends a request with a deadline; again, jittered, to the next member, where that does no harm.

        send: given a member and a deadline in seconds. repeatable: whether doing it twice does no harm; if
        not it is sent again only when it certainly was not done.
        Raises: Refused, NoSpace, StoreUnavailable; grpc's error for a message too large to be received.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_seconds
        backoff = self.backoff()
        tried = 0
        while True:
            self.check_open()
            endpoint = self.endpoint
            left = deadline - loop.time()
            try:
                return await send(endpoint, min(left, ATTEMPT_SECONDS) if repeatable else left)
            except grpc.aio.AioRpcError as error:
                self.check_open()
                if not is_away(error):
                    raise store_error(error, endpoint.address, asked) from error
                self.failed(endpoint)
                tried += 1
                # Every member once without a pause, then ever more slowly.
                wait = 0.0 if tried < len(self._endpoints) else backoff.next_ms() / 1000
                hopeless = loop.time() + wait >= deadline
                if hopeless or not (repeatable or not_done(error)):
                    raise store_error(error, endpoint.address, asked) from error
                log.debug("another try", etcd=endpoint.address, why=error.details(), wait_seconds=wait)
            except asyncio.CancelledError:
                # grpc.aio says so too when the channel is closed under a call.
                task = asyncio.current_task()
                if self.closed and task is not None and not task.cancelling():
                    raise StoreUnavailable("the store is closed") from None
                raise
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Ends every call and connection."""
        self.closed = True
        for endpoint in self._endpoints:
            await endpoint.channel.close()
