"""When what waits to be written is worth a write.

A write costs much the same for one command as for fifty, and callers that are answered together come back
together, which makes them cheaper on the wire as well. So while several callers are at work a write waits
until most of those that were seen at once have come again; what one or two want is written at once. Nobody
waits long for whom does not come: after a moment without anybody new, or when it has taken too long, there is
a write, and only that many are expected from then on.
"""

import asyncio
from collections.abc import Callable

# Fewer callers than that never wait for each other.
_SEVERAL = 4
# Of those seen at once, how many are waited for; for all of them would be waiting for the slowest.
_SHARE = 0.9
# Of more than so many, half: they are read while the other half is written.
_MANY = 16
# Without anybody new; and in all.
_PAUSE_SECONDS = 0.003
_LONGEST_SECONDS = 0.010
# So much is worth a write by itself.
_ENOUGH_BYTES = 64 * 1024


class Gathering:
    """Bound: nobody is held longer than _LONGEST_SECONDS and one pause.

    wanted: until so many wait, whoever adds one need not `wake` who asks `holds`.
    """

    __slots__ = ("_callers", "_came", "_due", "_loop", "_since", "_timer", "_wake", "wanted")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wanted = 0
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._callers = 0
        self._since = 0.0
        self._came = 0
        self._due = False
        self._timer: asyncio.TimerHandle | None = None

    def seen(self, callers: int) -> None:
        """So many were waiting at once."""
        if callers > self._callers:
            self._callers = callers

    def holds(self, unsent: int, waiting: int, waiting_bytes: int) -> bool:
        """Whether what is unsent is to wait for more. waiting: with what is on its way."""
        self.seen(waiting)
        wanted = min(int(self._callers * _SHARE), max(_MANY, self._callers // 2))
        if self._callers < _SEVERAL or unsent >= wanted or waiting_bytes >= _ENOUGH_BYTES:
            self.end()
            return False
        now = self._loop.time()
        if self._timer is None:
            self._since = now
        elif not self._due:
            return True
        elif unsent <= self._came or now - self._since >= _LONGEST_SECONDS:
            self._callers = waiting
            self.end()
            return False
        self.wanted, self._came, self._due = wanted, unsent, False
        self._timer = self._loop.call_at(now + _PAUSE_SECONDS, self._look)
        return True

    def end(self) -> None:
        """Waits for nobody."""
        self.wanted = 0
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.wanted = 0
        self._due = True
        self._wake()
