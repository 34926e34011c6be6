"""Keys that need work: each at most once in the queue and at most once at a time in work.

The shape is client-go's: level-based controllers get a name, never an event, so a thousand changes to one
object while it waits are one piece of work, and a change during the work makes one more.
"""

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from orchestra.aio.mailbox import MailboxClosed

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """A queue of distinct keys with delays and per-key exponential back-off.

    Bound: memory is one entry a distinct key; the keys are names of objects that exist or existed, so no
    further bound is put on them: dropping one would lose work.
    """

    def __init__(
        self, *, retry_initial_ms: int = 5, retry_limit_ms: int = 60_000, rng: random.Random | None = None
    ) -> None:
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._retry_initial_ms = retry_initial_ms
        self._retry_limit_ms = retry_limit_ms
        self._rng = rng or random.Random()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Puts the key in line, unless it is; if it is in work now, once more when that is done."""
        if self._closed or key in self._queued:
            return
        if key in self._working:
            self._again.add(key)
            return
        self._queued.add(key)
        self._ready.append(key)
        self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Puts the key in line after a while. A key waits for the earliest of its times only."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def retry(self, key: K) -> float:
        """Puts the key in line after its back-off, longer with each retry since forget().

        Returns the wait. Units: seconds.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait_ms = min(self._retry_initial_ms << min(failures, 30), self._retry_limit_ms)
        seconds = wait_ms * (0.5 + self._rng.random() / 2) / 1000
        self.add_after(key, seconds)
        return seconds

    def retries(self, key: K) -> int:
        """How often the key was retried since forget()."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts from the shortest wait."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; done() must follow. Raises: MailboxClosed when the queue is closed."""
        while not self._ready:
            if self._closed:
                raise MailboxClosed("the work queue is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
        key = self._ready.popleft()
        self._queued.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Ends the work on a key that get() gave."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Drops what waits and ends every get(). Safe to call twice."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._queued.clear()
        while self._waiters:
            self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
