"""A bounded queue that can be closed."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from orchestra.base.errors import OrchestraError

T = TypeVar("T")


class MailboxClosed(OrchestraError):
    """The mailbox is closed and, for a reader, empty."""


class Mailbox(Generic[T]):
    """First in, first out, at most `bound` items, any number of writers and readers on one event loop."""

    __slots__ = ("_bound", "_closed", "_items", "_readers", "_writers")

    def __init__(self, bound: int) -> None:
        if bound < 1:
            raise ValueError(f"a mailbox holds at least one item, not {bound}")
        self._bound = bound
        self._items: deque[T] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """True once close() was called; what is inside can still be read."""
        return self._closed

    def offer(self, item: T) -> bool:
        """Adds the item if there is room; False if there is none.

        Raises: MailboxClosed.
        """
        if self._closed:
            raise MailboxClosed("the mailbox is closed")
        if len(self._items) >= self._bound:
            return False
        self._items.append(item)
        _wake(self._readers)
        return True

    async def put(self, item: T) -> None:
        """Adds the item, waiting for room.

        Raises: MailboxClosed.
        """
        while not self.offer(item):
            await _wait(self._writers)

    async def get(self) -> T:
        """The oldest item, waiting for one.

        Raises: MailboxClosed once closed and empty.
        """
        return (await self.take(1))[0]

    async def take(self, limit: int) -> list[T]:
        """All that is there now, at least one and at most `limit`, oldest first.

        Raises: MailboxClosed once closed and empty.
        """
        while not self._items:
            if self._closed:
                raise MailboxClosed("the mailbox is closed")
            await _wait(self._readers)
        taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
        for _ in taken:
            _wake(self._writers)
        if self._items:
            _wake(self._readers)
        return taken

    def close(self) -> None:
        """Refuses further items; waiting writers and readers are woken. Safe to call twice."""
        self._closed = True
        while self._readers:
            _wake(self._readers)
        while self._writers:
            _wake(self._writers)


async def _wait(queue: deque[asyncio.Future[None]]) -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    queue.append(waiter)
    try:
        await waiter
    except asyncio.CancelledError:
        if waiter in queue:
            queue.remove(waiter)
        elif waiter.done() and not waiter.cancelled():
            # Woken and cancelled at once: the wake-up belongs to the next in line.
            _wake(queue)
        raise


def _wake(queue: deque[asyncio.Future[None]]) -> None:
    while queue:
        waiter = queue.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return
