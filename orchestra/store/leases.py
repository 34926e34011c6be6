"""The owner of the leases' time: tells the log when one is over.

One owner at a time (the one member, or the leader). Between writes it sleeps until the next deadline; it
writes when a lease ends, never because time passed. What is left of long leases goes along with writes that
happen anyway (an expiry, an orderly stop), so that a restart gives them little more than they had.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from orchestra.aio.backoff import Backoff
from orchestra.base.clock import NS_PER_SECOND, Clock
from orchestra.mvcc.commands import LeaseCheckpoint, LeaseExpire, encode
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.mvcc.leases import Lease, LeaseBook
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.store.contract import StoreUnavailable

EXPIRE_LEASES = 512
CHECKPOINT_SECONDS = 60
_RETRY_MS = 100
_RETRY_MS_MAX = 5000

Propose = Callable[[bytes], Awaitable[CommandResult]]


class LeaseOwner:
    """Keeps the time of a machine's leases from its making on; each starts with what its record has left."""

    def __init__(
        self, machine: Machine, clock: Clock, propose: Propose, rng: random.Random | None = None
    ) -> None:
        self._rng = rng
        self._machine = machine
        self._clock = clock
        self._propose = propose
        self._book = LeaseBook()
        self._changed = asyncio.Event()
        # Leases whose checkpoint may be in the log and is not known to be applied.
        self._noted: set[int] = set()
        now_ns = clock.monotonic_ns()
        for lease in machine.leases.values():
            self._book.start(lease.lease, lease.remaining_seconds, now_ns)

    def granted(self, lease: Lease) -> None:
        """A lease was granted: its time starts."""
        self._book.start(lease.lease, lease.ttl_seconds, self._clock.monotonic_ns())
        self._changed.set()

    def revoked(self, lease: int) -> None:
        """A lease is gone."""
        self._book.forget(lease)

    def knows(self, lease: int) -> bool:
        """Whether there is such a lease, as far as is applied."""
        return lease in self._machine.leases

    async def keep_alive(self, lease: int) -> int:
        """Starts a lease's time anew; its time to live in seconds. Raises: LeaseNotFound."""
        record = self._machine.leases.get(lease)
        if record is None:
            raise LeaseNotFound(lease)
        self._book.renew(lease, record.ttl_seconds, self._clock.monotonic_ns())
        self._changed.set()
        if record.remaining_seconds < record.ttl_seconds or lease in self._noted:
            # A checkpoint said less, or is about to; a restart must not go by that any more.
            await self._propose(encode(LeaseCheckpoint(((lease, record.ttl_seconds),))))
            # What was noted before it is in the log before it, or nowhere.
            self._noted.discard(lease)
        return record.ttl_seconds

    def remaining_seconds(self, lease: int) -> int:
        """What is left of a lease. Raises: LeaseNotFound."""
        return self._book.remaining_seconds(lease, self._clock.monotonic_ns())

    async def expire_due(self) -> int:
        """Proposes the end of every lease that is over by now; how many there were.

        Bound: EXPIRE_LEASES an entry. Raises: StoreUnavailable; they are due again then.
        """
        ended = 0
        while taken := self._book.take_due(self._clock.monotonic_ns(), EXPIRE_LEASES):
            due = [lease for lease in taken if lease in self._machine.leases]
            for lease in set(taken).difference(due):
                self._book.forget(lease)
            if not due:
                continue
            try:
                await self._propose(encode(LeaseExpire(due)))
            except BaseException:
                self._book.give_back(due)
                raise
            for lease in due:
                self._book.forget(lease)
            ended += len(due)
        if ended:
            await self.checkpoint()
        return ended

    async def checkpoint(self) -> None:
        """Writes down what is left of the leases whose record is far off, if there are any."""
        leases = self._book.leases()
        for at in range(0, len(leases), EXPIRE_LEASES):
            # Looked up only now: while the one before was written, leases may have been renewed.
            remaining = self._far_off(leases[at : at + EXPIRE_LEASES])
            if not remaining:
                continue
            noted = {lease for lease, _ in remaining} - self._noted
            self._noted |= noted
            # If this fails, they stay noted: it may come true later.
            await self._propose(encode(LeaseCheckpoint(remaining)))
            self._noted -= noted

    def _far_off(self, leases: Sequence[int]) -> list[tuple[int, int]]:
        """Of these, those of which much less is left than the record says; and how much."""
        now_ns = self._clock.monotonic_ns()
        found = []
        for lease in leases:
            record = self._machine.leases.get(lease)
            if record is None:
                continue
            left = self._book.remaining_seconds(lease, now_ns)
            if record.remaining_seconds - left >= CHECKPOINT_SECONDS:
                found.append((lease, left))
        return found

    async def run(self) -> None:
        """Ends leases as they become due, for ever."""
        backoff = Backoff(_RETRY_MS, _RETRY_MS_MAX, rng=self._rng)
        while True:
            self._changed.clear()
            deadline_ns = self._book.next_deadline_ns()
            wait = None
            if deadline_ns is not None:
                wait = max(deadline_ns - self._clock.monotonic_ns(), 0) / NS_PER_SECOND
            if wait != 0:
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            try:
                await self.expire_due()
                backoff.reset()
            except StoreUnavailable:
                await asyncio.sleep(backoff.next_ms() / 1000)
