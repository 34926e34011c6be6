"""The way to one peer: a stream that is dialled again as soon as it breaks, and a queue with a bound."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from orchestra.aio.backoff import Backoff
from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.limits import PEER_BYTES_MAX, PEER_KEEPALIVE
from orchestra.aio.rpc.status import from_rpc_error, plain_cause, says_details
from orchestra.base.log import get_logger
from orchestra.cluster.messages import PeerMessage, Propose
from orchestra.cluster.peer_encoding import encode
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import AppendRequest, SnapshotChunk

log = get_logger("peers")

TALK: Final = f"/{pb.DESCRIPTOR.services_by_name['Peers'].full_name}/Talk"
CLUSTER_KEY: Final = "orchestra-cluster"
FROM_KEY: Final = "orchestra-from"
TO_KEY: Final = "orchestra-to"
# Where the caller is reached, with commas between.
ADDRESSES_KEY: Final = "orchestra-addresses"
# In what the peer answers first: it has taken the stream.
TAKEN_KEY: Final = "orchestra-taken"

QUEUED_MAX: Final = 8192
QUEUED_BYTES_MAX: Final = 32 * 1024 * 1024
# What is written as one message; what is larger by itself goes alone.
BATCH_BYTES: Final = 1024 * 1024
REDIAL_MS_MIN: Final = 20
REDIAL_MS_MAX: Final = 1000
# Until the peer has taken the stream.
OPEN_SECONDS: Final = 2.0
_OVERHEAD_BYTES: Final = 64
# How a stream says that it is over; InvalidStateError and UsageError to a write just after its end.
_BROKEN: Final = (
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    OSError,
    TimeoutError,
    EOFError,
)


def size_of(message: PeerMessage) -> int:
    """About how many bytes the message will be."""
    if isinstance(message, AppendRequest):
        return _OVERHEAD_BYTES + sum(len(entry.data) + 32 for entry in message.entries)
    if isinstance(message, SnapshotChunk):
        return _OVERHEAD_BYTES * 4 + len(message.data)
    if isinstance(message, Propose):
        return _OVERHEAD_BYTES + sum(len(command) + 16 for command in message.commands)
    return _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this member is. cluster: the cluster's id, as text; member: its own; addresses: its own too."""

    cluster: str
    member: int
    addresses: Sequence[str] = ()


class PeerLink:
    """What one member says to one other.

    opened and lost are told when the stream stands, and when one that stood has broken.
    Bound: QUEUED_MAX messages and QUEUED_BYTES_MAX; beyond it, and while the peer cannot be reached, what is
    sent is dropped.
    """

    def __init__(
        self,
        own: Identity,
        peer: int,
        addresses: Sequence[str],
        *,
        opened: Callable[[int], None],
        lost: Callable[[int], None],
        rng: random.Random,
    ) -> None:
        self.peer = peer
        self.addresses = tuple(addresses)
        self.dropped = 0
        self._metadata = (
            (CLUSTER_KEY, own.cluster),
            (FROM_KEY, f"{own.member:x}"),
            (TO_KEY, f"{peer:x}"),
            (ADDRESSES_KEY, ",".join(own.addresses)),
        )
        self._opened = opened
        self._lost = lost
        self._backoff = Backoff(REDIAL_MS_MIN, REDIAL_MS_MAX, rng=rng)
        self._queue: deque[tuple[int, PeerMessage]] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._redial = asyncio.Event()
        self._takes = True
        self._stands = False
        self._at = 0
        self._address = ""
        self._call: Any = None
        self._said = ""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"peer/{peer:x}")

    @property
    def stands(self) -> bool:
        """Whether the stream is open."""
        return self._stands

    def send(self, message: PeerMessage) -> None:
        """Sends it after all others; never blocks."""
        size = size_of(message)
        full = len(self._queue) >= QUEUED_MAX or self._queued_bytes + size > QUEUED_BYTES_MAX
        if not self._takes or (full and self._queue):
            self.dropped += 1
            return
        self._queue.append((size, message))
        self._queued_bytes += size
        self._filled.set()

    def move(self, addresses: Sequence[str]) -> None:
        """The peer is reached here from now on; a stream to an address that is still named goes on."""
        self.addresses = tuple(addresses)
        self._at = 0
        if self._address not in self.addresses and self._call is not None:
            self._call.cancel()
        self.wake()

    def wake(self) -> None:
        """The peer is there: dials at once, if it was waiting to."""
        self._redial.set()

    async def close(self) -> None:
        """Ends it; nobody is told."""
        self._takes = self._stands = False
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while True:
            self._redial.clear()
            self._takes = True
            try:
                if self.addresses:
                    self._address = self.addresses[self._at % len(self.addresses)]
                    await self._talk(self._address)
            except _BROKEN as error:
                self._say(error)
            except Exception as error:  # noqa: BLE001 - the link outlives whatever goes wrong on one stream
                log.error("the stream to a peer failed by a defect", error, peer=f"{self.peer:x}")
            self._broke()
            self._at += 1
            try:
                async with asyncio.timeout(self._backoff.next_ms() / 1000):
                    await self._redial.wait()
            except TimeoutError:
                continue

    async def _talk(self, address: str) -> None:
        """One stream, from its first byte to its end. Raises: what ends it."""
        # A channel of its own each time: gRPC's own back-off would make the next one wait.
        channel = open_channel(address, keepalive=PEER_KEEPALIVE, request_bytes_max=PEER_BYTES_MAX)
        try:
            open_stream: Any = channel.stream_unary(TALK)
            self._call = call = open_stream(metadata=self._metadata)
            async with asyncio.timeout(OPEN_SECONDS):
                if TAKEN_KEY not in {key for key, _ in await call.initial_metadata() or ()}:
                    await call
                    raise EOFError("what answers is no member")
            # What waits for something to send hears of the end, too.
            call.add_done_callback(lambda _: self._filled.set())
            self._stands = True
            self._said = ""
            self._backoff.reset()
            log.info("a peer is reached", peer=f"{self.peer:x}", address=address)
            self._opened(self.peer)
            while not call.done():
                batch = self._take()
                if batch:
                    await call.write(encode(batch))
                    continue
                self._filled.clear()
                if not call.done():
                    await self._filled.wait()
            await call
            raise EOFError("the peer closed the stream")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise EOFError("the peer is to be reached elsewhere") from None
        finally:
            self._call = None
            await channel.close()

    def _take(self) -> list[PeerMessage]:
        """What waits, up to one batch."""
        batch: list[PeerMessage] = []
        left = BATCH_BYTES
        while self._queue and (not batch or self._queue[0][0] <= left):
            size, message = self._queue.popleft()
            left -= size
            self._queued_bytes -= size
            batch.append(message)
        return batch

    def _broke(self) -> None:
        """What waits is old news by the time that the peer is back."""
        self._takes = False
        self._queue.clear()
        self._queued_bytes = 0
        if self._stands:
            self._stands = False
            self._lost(self.peer)

    def _say(self, error: BaseException) -> None:
        """Each cause once, until the peer has been reached again."""
        said = cause_of(error)
        if said != self._said:
            self._said = said
            # What matters of a stream that broke is whether there will be another one at once.
            tell = log.info if self._stands else log.warning
            what = "the stream to a peer broke" if self._stands else "a peer is not reached"
            tell(what, peer=f"{self.peer:x}", address=self._address, why=said)


def cause_of(error: BaseException) -> str:
    """Why the peer is not reached, in words for an operator."""
    if isinstance(error, grpc.aio.AioRpcError):
        return from_rpc_error(error).message if says_details(error) else plain_cause(error)
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return str(error) or type(error).__name__
