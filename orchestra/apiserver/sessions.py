"""One agent's session, seen from its outgoing side: orders, coalesced and numbered, and single messages."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from typing import Final

from orchestra.aio.rpc.server import end_call
from orchestra.apiserver import wire
from orchestra.base.errors import ApiError, Unavailable
from orchestra.base.log import get_logger
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.pb import agent_v1_pb2 as agent

log = get_logger("agents")

# An Orders message is cut here; one object is never cut.
ORDERS_BYTES: Final = 1024 * 1024
# Messages that are no orders (logs to open, drained pods) waiting for a slow agent.
SINGLES_MAX: Final = 4096
# Flushes of orders that an agent has not said to have applied, remembered apart.
SENT_MAX: Final = 1024
# An agent that takes nothing off the wire for so long is disconnected.
STALL_SECONDS: Final = 10.0

_REMOVED: Final = b"\x08\x01"  # Order.removed: true
_SYNCED: Final = b"\x18\x01"  # Orders.synced: true
_SECOND: Final = b"\x12"  # Order.object, Orders.orders, MasterMessage.orders


def order(obj: ApiObject, *, removed: bool = False) -> bytes:
    """One entry of agent.Orders.orders, encoded; of a removed object only what names it."""
    if removed:
        named = kind_of(obj).new()
        for field in ("name", "namespace", "uid"):
            setattr(named.metadata, field, getattr(obj.metadata, field))
        obj = named
    inside = wire.envelope_of(obj)
    body = b"".join((_REMOVED if removed else b"", _SECOND, wire.varint(len(inside)), inside))
    return b"".join((_SECOND, wire.varint(len(body)), body))


class AgentSession:
    """What is to be sent to one agent. Orders for one object replace each other until they are sent.

    in_force: whether the agent has said that it acts on the first full picture.
    version: counts what the orders come from; applied() says which version the agent has in force.
    Bound: one encoded order for each object of the cluster that the agent has to know; SINGLES_MAX messages;
    STALL_SECONDS for a message to leave.
    """

    def __init__(self, node: str, instance: str, version: Callable[[], int]) -> None:
        self.node = node
        self.instance = instance
        self.restarting_seconds: int | None = None
        self.in_force = False
        self.ended = asyncio.Event()
        self._version = version
        self._pending: dict[Hashable, bytes] = {}
        self._singles: deque[agent.MasterMessage] = deque()
        self._wake = asyncio.Event()
        self._sequence = 0
        self._sent: deque[tuple[int, int]] = deque()
        self._synced = False
        self._closed = False
        self._reason: ApiError | None = None
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    @property
    def closing(self) -> bool:
        """Whether the session is on its way out."""
        return self._closed

    def begin(self, picture: Mapping[Hashable, bytes]) -> None:
        """The first full picture. Increments may have come before; they are newer and win."""
        self._pending = {**picture, **self._pending}
        self._wake.set()

    def push(self, key: Hashable, entry: bytes) -> None:
        """Sends an order, soon, with whatever else has come by then."""
        self._pending[key] = entry
        self._wake.set()

    def send(self, message: agent.MasterMessage) -> None:
        """Sends a message after all orders given so far."""
        if len(self._singles) >= SINGLES_MAX:
            self.close(Unavailable("the agent takes no messages: session ended, dial again"))
            return
        self._singles.append(message)
        self._wake.set()

    def close(self, reason: ApiError | None) -> None:
        """Ends the session; the agent is told the reason, if there is one and it still listens.

        Safe to call twice; the first reason counts.
        """
        if not self._closed:
            self._closed, self._reason = True, reason
            self._wake.set()

    def applied(self, sequence: int) -> int | None:
        """The version that the agent has in force by saying Applied; None if that says nothing new."""
        version = None
        while self._sent and self._sent[0][0] <= sequence:
            version = self._sent.popleft()[1]
        return version

    async def outgoing(self) -> AsyncGenerator[bytes | agent.MasterMessage, None]:
        """What to write, until the session is closed. Raises: the reason of close()."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._closed:
                if self._reason is not None:
                    raise self._reason
                return
            if self._pending or not self._synced:
                for message in self._orders():
                    with self._watched():
                        yield message
            while self._singles:
                with self._watched():
                    yield self._singles.popleft()

    def _orders(self) -> list[bytes]:
        pending, self._pending = self._pending, {}
        version, first, messages = self._version(), not self._synced, []
        self._synced = True
        entries: list[bytes] = []
        size, left = 0, len(pending)
        for entry in pending.values():
            entries.append(entry)
            size += len(entry)
            left -= 1
            if size >= ORDERS_BYTES and left:
                messages.append(self._message(entries, synced=False))
                entries, size = [], 0
        messages.append(self._message(entries, synced=first))
        if len(self._sent) >= SENT_MAX:
            # Of an agent that is this far behind only its way to the newest matters.
            self._sent.pop()
        self._sent.append((self._sequence, version))
        return messages

    def _message(self, entries: list[bytes], synced: bool) -> bytes:
        self._sequence += 1
        number = b"\x08" + wire.varint(self._sequence)
        body = b"".join((number, *entries, _SYNCED if synced else b""))
        return b"".join((_SECOND, wire.varint(len(body)), body))

    def _watched(self) -> "_StallWatch":
        return _StallWatch(self._loop, self._stalled)

    def _stalled(self) -> None:
        log.warning("an agent takes nothing off its stream: session ended", node=self.node)
        self.close(None)
        if self._task is not None:
            end_call(self._task)


class _StallWatch:
    """Calls back when the body takes too long."""

    __slots__ = ("_handle",)

    def __init__(self, loop: asyncio.AbstractEventLoop, stalled: Callable[[], None]) -> None:
        self._handle = loop.call_later(STALL_SECONDS, stalled)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._handle.cancel()
