"""Actors: one mailbox with a bound, one owner of its state."""

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from orchestra.aio.mailbox import Mailbox, MailboxClosed

T = TypeVar("T")


class Actor(ABC, Generic[T]):
    """State that only `run()` touches, changed only by messages.

    Give `run` to a Supervisor. A crash in receive() ends the run; the mailbox outlives it, so that a
    restarted actor goes on with the message after the one that broke it, once started() has rebuilt its
    state.
    """

    def __init__(self, bound: int = 1024) -> None:
        self.mailbox: Mailbox[T] = Mailbox(bound)

    async def started(self) -> None:
        """Builds the state; called at each start of run()."""

    @abstractmethod
    async def receive(self, message: T) -> None:
        """Handles one message."""

    async def stopped(self) -> None:
        """Lets go of what is held; called at each end of run(), also after a crash."""

    async def tell(self, message: T) -> None:
        """Sends a message, waiting for room in the mailbox. Raises: MailboxClosed."""
        await self.mailbox.put(message)

    def offer(self, message: T) -> bool:
        """Sends a message if there is room; False if there is none. Raises: MailboxClosed."""
        return self.mailbox.offer(message)

    async def run(self) -> None:
        """Handles messages one after another until the mailbox is closed."""
        try:
            await self.started()
            while True:
                try:
                    message = await self.mailbox.get()
                except MailboxClosed:
                    return
                await self.receive(message)
        finally:
            await asyncio.shield(self.stopped())
