"""What waits to be written: commands and who waits for their results."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.mvcc.commands import Command
from orchestra.mvcc.machine import CommandResult
from orchestra.store.contract import StoreUnavailable

MAX_WAITING = 8192
MAX_WAITING_BYTES = 64 * 1024 * 1024
# A batch is applied without a pause: a few milliseconds.
BATCH_COMMANDS = 128
BATCH_BYTES = 512 * 1024


@dataclass(slots=True)
class Proposal:
    """A command on its way into the log. The caller may stop waiting; the command goes on.

    decoded: what `command` says, if the caller had it at hand.
    """

    command: bytes
    answer: asyncio.Future[CommandResult]
    decoded: Command | None = None

    def done(self, result: CommandResult) -> None:
        """It is durable and applied."""
        if not self.answer.done():
            self.answer.set_result(result)

    def failed(self, error: BaseException) -> None:
        """It was refused, or cannot be done."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Proposals:
    """A queue with one reader. Bound: MAX_WAITING proposals, MAX_WAITING_BYTES in all."""

    def __init__(self) -> None:
        self._waiting: deque[Proposal] = deque()
        self._bytes = 0
        self._closed: str | None = None
        self._reader: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, command: bytes, decoded: Command | None = None) -> asyncio.Future[CommandResult]:
        """Queues a command; its result to come. Raises: StoreUnavailable when too many wait, or closed."""
        self.check_open()
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(command) > MAX_WAITING_BYTES:
            raise StoreUnavailable(
                f"too many requests wait to be written ({len(self._waiting)}): retry in a moment"
            )
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(Proposal(command, answer, decoded))
        self._bytes += len(command)
        self._wake()
        return answer

    def check_open(self) -> None:
        """Raises: StoreUnavailable, with the reason, when it takes no more."""
        if self._closed is not None:
            raise StoreUnavailable(self._closed)

    async def take(self) -> Sequence[Proposal]:
        """All that wait, up to a batch's bound, waiting for the first; none when closed and empty."""
        while True:
            batch: list[Proposal] = []
            size = 0
            while self._waiting and len(batch) < BATCH_COMMANDS and size < BATCH_BYTES:
                proposal = self._waiting.popleft()
                self._bytes -= len(proposal.command)
                if not proposal.answer.done():
                    batch.append(proposal)
                    size += len(proposal.command)
            if batch:
                return batch
            if self._closed is not None:
                return ()
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    def close(self, reason: str) -> None:
        """Takes no more; what waits is still handed out."""
        if self._closed is None:
            self._closed = reason
            self._wake()

    def fail(self, reason: str) -> None:
        """Takes no more, and answers all that wait with StoreUnavailable."""
        self.close(reason)
        for proposal in self._waiting:
            proposal.failed(StoreUnavailable(reason))
        self._waiting.clear()
        self._bytes = 0

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
