"""Processes on one timeline: each has an event loop of its own, so that it can be killed, stopped and run fast.

A killed process runs not one line more: no `finally`, no last words. A stopped one finds when it goes on that
time has passed. Each process's monotonic clock has a rate of its own, its wall clock may jump.
"""

import asyncio
import heapq
import math
import threading
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

from orchestra.base.clock import NS_PER_SECOND
from tests.simulation.loop import TURNS_AT_ONE_TIME_MAX, WALL_START_NS, Deadlock, Livelock, VirtualLoop

AFTERLIFE_TURNS = 400


class ProcessLoop(VirtualLoop):
    """The event loop of one process: its time is the timeline's, at the process's own rate."""

    def __init__(self, timeline: "Timeline", rate: float) -> None:
        super().__init__()
        self._timeline = timeline
        self._born = timeline.now
        self.rate = rate
        # No later than the next moment at which there is something to do.
        self.due = timeline.now

    def time(self) -> float:
        return (self._timeline.now - self._born) * self.rate

    def pass_time(self, timeout: float | None) -> None:
        """Time passes when the timeline says so."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.due = min(self.due, self._born + when / self.rate)
        return super().call_at(when, callback, *args, context=context)

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        self.due = self._timeline.now
        return super()._call_soon(callback, args, context)  # type: ignore[misc, no-any-return]

    def call_at_moment(self, moment: float, callback: Callable[..., None], *args: Any) -> None:
        """Calls at a moment of the timeline."""
        self.call_at((moment - self._born) * self.rate, callback, *args)

    def next_moment(self) -> float:
        """When there is something to do; infinity: never."""
        if self._ready:  # type: ignore[attr-defined]
            return self._timeline.now
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            return math.inf
        return max(self._timeline.now, self._born + scheduled[0].when() / self.rate)

    def turn(self) -> None:
        """Does what is to be done now."""
        self._thread_id = threading.get_ident()
        events._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
            self.due = self.next_moment()
        finally:
            self._thread_id = None
            events._set_running_loop(None)


class ProcessClock:
    """The clocks of one process."""

    def __init__(self, loop: ProcessLoop) -> None:
        self._loop = loop
        self.wall_jump_ns = 0

    def monotonic_ns(self) -> int:
        return round(self._loop.time() * NS_PER_SECOND)

    def wall_ns(self) -> int:
        return WALL_START_NS + self.monotonic_ns() + self.wall_jump_ns


class Process:
    """One life of a process."""

    def __init__(self, timeline: "Timeline", name: str, rate: float = 1.0) -> None:
        self.name = name
        self.loop = ProcessLoop(timeline, rate)
        self.clock = ProcessClock(self.loop)
        self.alive = True
        self.stopped = False
        self._timeline = timeline
        self._tasks: list[asyncio.Task[Any]] = []
        self.loop.set_exception_handler(self._unheard)

    def start(self, main: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts a task in it. Its failure is the world's, unless someone else looks at it."""
        task = self.loop.create_task(main, name=f"{self.name}/{name}")
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        """SIGKILL."""
        self.alive = False
        self._timeline.bury(self)

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.alive:
            error = context.get("exception")
            self._timeline.unheard.append((self.name, str(context.get("message")), error))


class Timeline:
    """All processes and one time. Whose turn it is depends on times and the order of making only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.processes: list[Process] = []
        self.unheard: list[tuple[str, str, BaseException | None]] = []
        # Called after each turn of a process.
        self.after_turn: Callable[[Process], None] | None = None
        self._dead: list[Process] = []
        self._turns = 0

    def process(self, name: str, rate: float = 1.0) -> Process:
        """A new process."""
        made = Process(self, name, rate)
        self.processes.append(made)
        return made

    def bury(self, process: Process) -> None:
        """For `Process.kill`."""
        self.processes.remove(process)
        self._dead.append(process)

    def step(self) -> Process:
        """One turn of the process that is next. Raises: Deadlock, Livelock."""
        chosen: Process | None = None
        at = math.inf
        for process in self.processes:
            loop = process.loop
            if process.stopped or loop.due >= at:
                continue
            # What was due may have been cancelled.
            loop.due = moment = loop.next_moment()
            if moment < at:
                chosen, at = process, moment
        if chosen is None:
            raise Deadlock(f"nothing will ever happen again at {self.now:.3f} s")
        if at > self.now:
            self.now = at
            self._turns = 0
        self._turns += 1
        if self._turns > TURNS_AT_ONE_TIME_MAX:
            raise Livelock(f"time stands still at {self.now:.6f} s\n{chosen.loop.waiting()}")
        chosen.loop.turn()
        if self.after_turn is not None:
            self.after_turn(chosen)
        return chosen

    def run(self, main: asyncio.Task[Any]) -> Any:
        """Goes on until a task is done; its result."""
        while not main.done():
            self.step()
        return main.result()

    def close(self) -> None:
        """Ends all processes; what the dead left standing is cleared away without a sound."""
        for process in list(self.processes):
            process.kill()
        for process in self._dead:
            self._clear(process)
        self._dead.clear()

    def _clear(self, process: Process) -> None:
        loop = process.loop
        for _ in range(AFTERLIFE_TURNS):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in sorted(tasks, key=hash):
                task.cancel()
            for _ in range(AFTERLIFE_TURNS):
                if loop.next_moment() > self.now:
                    break
                loop.turn()
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
