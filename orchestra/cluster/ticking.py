"""Raft's time, from the event loop's."""

import asyncio
from collections.abc import Callable


class Ticking:
    """Says when a tick is due. One tick, however long it took; and after a pause none at once, so that what
    has come in meanwhile is read first.
    """

    def __init__(self, seconds: float, wake: Callable[[], None]) -> None:
        self.due = False
        self._seconds = seconds
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._skipped = False
        self._stopped = False

    def run(self, wanted: bool) -> None:
        """Whether ticks are wanted at all: who is alone needs none."""
        if self._stopped or wanted == (self._timer is not None):
            return
        if wanted:
            self._arm()
        else:
            self.stop_timer()

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._loop.time() + self._seconds, self._fire)

    def _fire(self) -> None:
        assert self._timer is not None
        late = self._loop.time() - self._timer.when() > self._seconds
        self._skipped = late and not self._skipped
        if not self._skipped:
            self.due = True
            self._wake()
        self._arm()

    def stop_timer(self) -> None:
        """No ticks for now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """No ticks any more."""
        self._stopped = True
        self.stop_timer()
