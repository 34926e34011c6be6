"""What a leader knows of one other member, and what is under way to it."""

from collections import deque
from collections.abc import Iterator
from enum import Enum

from orchestra.raft.model import SnapshotMark


class Pace(Enum):
    """How a leader sends. PROBE: one message at a time, until it is known where the logs meet. REPLICATE: one
    after the other, without waiting. SNAPSHOT: what it needs is forgotten; it gets a snapshot first.
    """

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Sending:
    """A snapshot on its way. window: pieces that are not confirmed yet."""

    __slots__ = (
        "ahead",
        "attempts",
        "confirmed",
        "done",
        "mark",
        "pieces",
        "quiet_ticks",
        "sequence",
        "stream",
        "window",
    )

    def __init__(self, mark: SnapshotMark, pieces: Iterator[bytes], stream: int) -> None:
        """Begins at its first piece."""
        self.mark = mark
        self.pieces = pieces
        self.stream = stream
        self.sequence = 0
        self.confirmed = 0
        self.ahead: bytes | None = None
        self.done = False
        self.window: deque[tuple[int, bytes, bool]] = deque()
        self.quiet_ticks = 0
        self.attempts = 0


class Progress:
    """One member, as its leader sees it. It is known to have everything up to `match`; `next` is sent next.

    active: it was heard of since the leader last counted who is there (thesis §6.2). was_active: it was when
    the leader counted.
    """

    __slots__ = (
        "_bytes",
        "_under_way",
        "active",
        "commit_sent",
        "match",
        "next",
        "pace",
        "paused",
        "poked",
        "refusals",
        "sending",
        "snapshot_after_tick",
        "was_active",
    )

    def __init__(self, next_index: int) -> None:
        """Nothing is known yet but where to try (paper §5.3)."""
        self.match = 0
        self.next = next_index
        self.pace = Pace.PROBE
        self.active = True
        self.was_active = False
        self.paused = False
        self.poked = False
        self.commit_sent = 0
        self.sending: Sending | None = None
        self.snapshot_after_tick = 0
        self.refusals = 0
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes = 0

    @property
    def heard_lately(self) -> bool:
        """Whether it was heard of, also while the leader has only just begun to count anew."""
        return self.active or self.was_active

    def probe(self) -> None:
        """Sends one message and waits, from what is known to match."""
        self._become(Pace.PROBE)
        self.next = self.match + 1

    def replicate(self) -> None:
        """The logs meet at `match`: sends without waiting."""
        self._become(Pace.REPLICATE)
        self.next = self.match + 1

    def want_snapshot(self) -> None:
        """Waits until a snapshot has been brought over."""
        self._become(Pace.SNAPSHOT)

    def _become(self, pace: Pace) -> None:
        self.pace = pace
        self.paused = self.poked = False
        self.sending = None
        self._under_way.clear()
        self._bytes = 0

    def matched(self, index: int) -> bool:
        """It has everything up to `index`. Whether that is news."""
        self.next = max(self.next, index + 1)
        if index <= self.match:
            return False
        self.match = index
        return True

    # Bounds on what is under way: thesis §10.2.1 (pipelining).

    def sent(self, last: int, size: int) -> None:
        """A message that ends with entry `last` is under way."""
        self._under_way.append((last, size))
        self._bytes += size

    def arrived(self, index: int) -> None:
        """What ends at or before `index` is not under way any more."""
        while self._under_way and self._under_way[0][0] <= index:
            self._bytes -= self._under_way.popleft()[1]

    def forget_oldest(self) -> None:
        """Makes room for one message: what is under way may be lost."""
        if self._under_way:
            self._bytes -= self._under_way.popleft()[1]

    def is_full(self, messages_max: int, bytes_max: int) -> bool:
        """Whether nothing more may be under way."""
        return len(self._under_way) >= messages_max or self._bytes >= bytes_max
