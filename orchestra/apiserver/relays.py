"""Bridges between a reader of a log and the agent that pushes it.

The reader's side opens a relay and orders the agent to dial; the agent's stream is matched by the relay's id.
A small bounded mailbox between the two is the back-pressure: what the reader does not take, the agent does
not get rid of.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from orchestra.aio.mailbox import Mailbox, MailboxClosed
from orchestra.base.errors import ApiError, BadRequest, NotFound, TooManyRequests, Unavailable
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import api_v1_pb2 as api

DIAL_SECONDS: Final = 5.0
PIECE_BYTES_MAX: Final = 64 * 1024
PIECES_MAX: Final = 16
RELAYS_MAX: Final = 1024


class LogRelay:
    """One log on its way."""

    def __init__(self, id_: str, node: str) -> None:
        self.id = id_
        self.node = node
        self.dialled = asyncio.Event()
        self.ended = asyncio.Event()
        self._pieces: Mailbox[api.LogChunk] = Mailbox(PIECES_MAX)
        self._failed: ApiError | None = None

    async def pieces(self) -> AsyncGenerator[api.LogChunk, None]:
        """What the agent pushes, to the end.

        Raises: Unavailable when it does not dial in time or is lost; what the agent says is wrong.
        """
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await self.dialled.wait()
        except TimeoutError:
            raise Unavailable(
                f'the agent of node "{self.node}" did not send the log within {DIAL_SECONDS:g} s'
            ) from None
        while True:
            try:
                yield await self._pieces.get()
            except MailboxClosed:
                break
        if self._failed is not None:
            raise self._failed

    async def push(self, data: bytes, position: str) -> None:
        """Takes a piece, waiting for the reader. Raises: MailboxClosed when the reader has gone."""
        for start in range(0, max(len(data), bool(position)), PIECE_BYTES_MAX):
            last = start + PIECE_BYTES_MAX >= len(data)
            await self._pieces.put(
                api.LogChunk(data=data[start : start + PIECE_BYTES_MAX], position=position if last else "")
            )

    def end(self, failed: ApiError | None = None) -> None:
        """Ends it for both sides; the first end counts."""
        if not self._pieces.closed:
            self._failed = failed
            self._pieces.close()
        self.dialled.set()
        self.ended.set()


class LogRelays:
    """All open relays. Bound: RELAYS_MAX."""

    def __init__(self) -> None:
        self._relays: dict[str, LogRelay] = {}

    def __len__(self) -> int:
        return len(self._relays)

    def open(self, node: str) -> LogRelay:
        """A relay that waits for the node's agent. Close it with close()."""
        if len(self._relays) >= RELAYS_MAX:
            raise TooManyRequests(
                f"this master already reads {RELAYS_MAX} logs: close some", retry_after_ms=1000
            )
        relay = LogRelay(secrets.token_hex(16), node)
        self._relays[relay.id] = relay
        return relay

    def close(self, relay: LogRelay) -> None:
        """The reader has gone."""
        relay.end()
        self._relays.pop(relay.id, None)

    def fail_node(self, node: str) -> None:
        """The node's agent is lost: whoever waits for it to dial need not."""
        for relay in tuple(self._relays.values()):
            if relay.node == node and not relay.dialled.is_set():
                relay.end(Unavailable(f'the agent of node "{node}" is gone'))

    async def accept(self, requests: AsyncIterator[agent.PushLogMessage]) -> None:
        """An agent's stream: returns when the log has ended or nobody reads it any more.

        Raises: NotFound for an id that nobody waits for.
        """
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                first = await anext(requests, None)
        except TimeoutError:
            first = None
        if first is None:
            raise BadRequest("the stream ended before it named an order")
        relay = self._relays.get(first.id)
        if relay is None or relay.dialled.is_set():
            raise NotFound("nobody waits for this log any more")
        relay.dialled.set()
        copying = asyncio.ensure_future(_copy(relay, first, requests))
        # The reader may leave while the agent has nothing to say.
        left = asyncio.ensure_future(relay.ended.wait())
        try:
            await asyncio.wait((copying, left), return_when=asyncio.FIRST_COMPLETED)
            # A stream that broke looks at first like one that ended: its cancellation is on its way by now.
            await asyncio.sleep(0)
            if copying.done():
                error = copying.result()
                relay.end(BadRequest(error) if error else None)
        finally:
            relay.end(Unavailable(f'the agent of node "{relay.node}" was lost while it sent the log'))
            copying.cancel()
            left.cancel()
            await asyncio.gather(copying, left, return_exceptions=True)


async def _copy(
    relay: LogRelay, message: agent.PushLogMessage, requests: AsyncIterator[agent.PushLogMessage]
) -> str:
    """To the end of the agent's stream; what the agent says is wrong, "" for nothing."""
    try:
        while not message.error:
            await relay.push(message.data, message.position)
            following = await anext(requests, None)
            if following is None:
                break
            message = following
    except MailboxClosed:
        return ""
    return message.error
