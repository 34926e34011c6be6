"""Time as something handed in, so that a simulation can hand in its own.

Durations are awaited on the event loop (its time() is what a simulation makes virtual); this protocol is
for reading clocks.
"""

import time
from typing import Protocol

NS_PER_SECOND = 1_000_000_000


class Clock(Protocol):
    """Two readings: wall time for what is shown and stored, monotonic time for everything decided."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may jump. Never decide by it."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when told: for tests and simulations."""

    def __init__(self, wall_ns: int = 1_700_000_000 * NS_PER_SECOND, monotonic_ns: int = 0) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Moves both readings forward."""
        step = int(seconds * NS_PER_SECOND)
        self._wall_ns += step
        self._monotonic_ns += step
