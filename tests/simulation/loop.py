"""An event loop on virtual time: when nothing is ready its clock jumps to the next timer.

No sockets, no threads, no real time. The same program with the same chance runs the same way every time, in
every process: callbacks run in the order they were put in line, and tasks hash by their number, so that a set
of them has one order.
"""

import asyncio
import contextvars
import itertools
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from orchestra.base.clock import NS_PER_SECOND

T = TypeVar("T")

WALL_START_NS = 1_700_000_000 * NS_PER_SECOND
# So many turns of the loop without a step of the clock: something goes round in circles.
TURNS_AT_ONE_TIME_MAX = 200_000
_RESOLUTION_SECONDS = 1e-9


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set: whoever still waits, waits for ever."""


class Livelock(AssertionError):
    """Time stands still though work goes on."""


class _Task(asyncio.Task[Any]):
    """A task that hashes by its number."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class _Selector:
    """Where a real loop would wait for sockets: here time passes."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.pass_time(timeout)
        return []

    def close(self) -> None: ...


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` is seconds since the start of the world."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._numbers = itertools.count(1)
        self._selector = _Selector(self)
        self._clock_resolution = _RESOLUTION_SECONDS
        self.set_task_factory(self._make_task)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        context: contextvars.Context | None = None,
        **more: Any,
    ) -> _Task:
        return _Task(next(self._numbers), coro, loop=loop, context=context, **more)

    def time(self) -> float:
        return self._now

    def pass_time(self, timeout: float | None) -> None:
        """Jumps to the next timer, unless something is ready now. Raises: Deadlock, Livelock."""
        if timeout is None:
            raise Deadlock(f"nothing will ever happen again at {self._now:.3f} s\n{self.waiting()}")
        if timeout > 0:
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
            self._turns = 0
            return
        self._turns += 1
        if self._turns > TURNS_AT_ONE_TIME_MAX:
            raise Livelock(f"time stands still at {self._now:.6f} s\n{self.waiting()}")

    def waiting(self, limit: int = 60) -> str:
        """Every task and the line it waits at, for a person to read."""
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        lines = []
        for task in tasks[:limit]:
            frames = task.get_stack(limit=1)
            place = traceback.extract_stack(frames[0], limit=1)[0] if frames else None
            at = f"{place.filename.rpartition('/')[2]}:{place.lineno} {place.line}" if place else "nowhere"
            lines.append(f"  {task.get_name()}: {at}")
        if len(tasks) > limit:
            lines.append(f"  … and {len(tasks) - limit} more")
        return "\n".join(lines)

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs main() on a new virtual loop to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
