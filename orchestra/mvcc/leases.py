"""Leases: the machine's record of them, and the book in which their owner keeps time.

The record is part of the state: which leases there are, what holds them, and what was left of each at the
last checkpoint. The book is not: only the owner has one, by its own monotonic clock, and says through the
log what it concludes. Renewals stay in the book, so keeping a lease alive writes nothing; a new owner starts
each lease from what the record has, and so never ends one early.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from orchestra.mvcc.errors import LeaseNotFound

NS_PER_SECOND = 1_000_000_000


@dataclass(slots=True)
class Lease:
    """One lease of the machine. remaining_seconds: what a new owner gives it."""

    lease: int
    ttl_seconds: int
    remaining_seconds: int
    keys: set[bytes] = field(default_factory=set)


class LeaseBook:
    """Deadlines by the owner's clock. Times are readings of one monotonic clock, in nanoseconds."""

    def __init__(self) -> None:
        self._deadlines: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._expiring: set[int] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self, lease: int, seconds: int, now_ns: int) -> None:
        """Starts a lease's time, anew if it was running."""
        deadline = now_ns + seconds * NS_PER_SECOND
        self._deadlines[lease] = deadline
        self._expiring.discard(lease)
        heappush(self._heap, (deadline, lease))
        if len(self._heap) > 64 + 4 * len(self._deadlines):
            self._heap = [(until, each) for each, until in self._deadlines.items()]
            heapify(self._heap)

    def renew(self, lease: int, seconds: int, now_ns: int) -> None:
        """Starts a lease's time anew. Raises: LeaseNotFound, also when its end has been proposed already."""
        if lease not in self._deadlines or lease in self._expiring:
            raise LeaseNotFound(lease)
        self.start(lease, seconds, now_ns)

    def forget(self, lease: int) -> None:
        """The lease is gone."""
        self._deadlines.pop(lease, None)
        self._expiring.discard(lease)

    def take_due(self, now_ns: int, limit: int) -> Sequence[int]:
        """Leases that are over and not yet proposed as such, at most `limit`: their end will be proposed."""
        due: list[int] = []
        while self._heap and len(due) < limit and self._heap[0][0] <= now_ns:
            deadline, lease = heappop(self._heap)
            if self._deadlines.get(lease) == deadline and lease not in self._expiring:
                self._expiring.add(lease)
                due.append(lease)
        return due

    def give_back(self, leases: Iterable[int]) -> None:
        """The proposal of their end came to nothing: they are due again."""
        for lease in leases:
            if lease in self._expiring:
                self._expiring.discard(lease)
                heappush(self._heap, (self._deadlines[lease], lease))

    def next_deadline_ns(self) -> int | None:
        """When the next lease is over; None without any."""
        while self._heap:
            deadline, lease = self._heap[0]
            if self._deadlines.get(lease) == deadline and lease not in self._expiring:
                return deadline
            heappop(self._heap)
        return None

    def remaining_seconds(self, lease: int, now_ns: int) -> int:
        """What is left of a lease, rounded up. Raises: LeaseNotFound."""
        deadline = self._deadlines.get(lease)
        if deadline is None:
            raise LeaseNotFound(lease)
        return max(-((now_ns - deadline) // NS_PER_SECOND), 0)

    def leases(self) -> Sequence[int]:
        """Every lease with a deadline."""
        return list(self._deadlines)
