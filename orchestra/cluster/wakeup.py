"""A loop's sleep, ended from outside."""

import asyncio


class Wakeup:
    """`wake` ends the `wait` under way, or the next one. For one waiter."""

    __slots__ = ("_due", "_waiter")

    def __init__(self) -> None:
        self._due = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """There is something to do."""
        self._due = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Returns when there has been a `wake` since the last return."""
        if not self._due:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._due = False
