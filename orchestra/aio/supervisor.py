"""Owners of background tasks: every one of them has its death heard, logged, counted and answered."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from orchestra.aio.backoff import Backoff
from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger

log = get_logger("supervisor")

RESTART_INITIAL_MS = 100
RESTART_LIMIT_MS = 30_000
# A run this long was healthy: the next crash starts from a short wait again.
HEALTHY_SECONDS = 60.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """How one supervised task fares."""

    name: str
    running: bool
    restarts: int
    last_error: str
    queue_length: int


class SupervisedFailure(OrchestraError):
    """A task that must not die has died; the cause is chained."""


class _Child:
    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        restart: bool,
        queue_length: Callable[[], int] | None,
    ) -> None:
        self.name = name
        self.run = run
        self.restart = restart
        self.queue_length = queue_length
        self.running = False
        self.restarts = 0
        self.last_error = ""
        self.forget_when_done = False
        self.task: asyncio.Task[None] | None = None

    def status(self) -> ActorStatus:
        length = self.queue_length() if self.queue_length else 0
        return ActorStatus(self.name, self.running, self.restarts, self.last_error, length)


class Supervisor:
    """Runs named tasks, each on its own: one's crash is logged with its cause, counted and answered by a
    restart after a back-off (100 ms to 30 s), and does not touch the others.

    A task started with restart=False is one the owner cannot do without: its crash makes failed() raise.
    """

    def __init__(self, name: str, *, rng: random.Random | None = None) -> None:
        self._name = name
        self._rng = rng
        self._children: dict[str, _Child] = {}
        self._failure: asyncio.Future[None] | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        restart: bool = True,
        queue_length: Callable[[], int] | None = None,
    ) -> None:
        """Runs `run()` until it returns, or until stop() cancels it."""
        if self._stopping:
            raise OrchestraError(f"{self._name} is stopping: {name} cannot be started")
        if name in self._children and self._children[name].running:
            raise OrchestraError(f"{self._name} already runs {name}")
        child = _Child(name, run, restart, queue_length)
        child.running = True
        self._children[name] = child
        child.task = asyncio.get_running_loop().create_task(self._keep(child), name=f"{self._name}/{name}")

    async def _keep(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(RESTART_INITIAL_MS, RESTART_LIMIT_MS, rng=self._rng)
        while True:
            began = loop.time()
            try:
                await child.run()
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    child.running = False
                    raise
                # A cancellation that nobody asked this task for, as of a call that it awaits, is a crash too.
                child.last_error = f"{type(error).__name__}: {error}"
                child.restarts += 1
                if not child.restart:
                    child.running = False
                    self._fail(child, error)
                    return
                if loop.time() - began > HEALTHY_SECONDS:
                    backoff.reset()
                wait_ms = backoff.next_ms()
                log.error(
                    "crashed, will be restarted",
                    error,
                    actor=child.name,
                    restarts=child.restarts,
                    wait_ms=wait_ms,
                )
                await asyncio.sleep(wait_ms / 1000)
            else:
                child.running = False
                if child.forget_when_done:
                    self._children.pop(child.name, None)
                return

    def _fail(self, child: _Child, error: BaseException) -> None:
        log.error("crashed, cannot go on without it", error, actor=child.name)
        failure = SupervisedFailure(f"{child.name} has failed: {error}")
        failure.__cause__ = error
        waiter = self._failed_future()
        if not waiter.done():
            waiter.set_exception(failure)
            waiter.exception()  # Heard here already; failed() raises it for whoever waits.

    def _failed_future(self) -> asyncio.Future[None]:
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        return self._failure

    async def failed(self) -> None:
        """Waits for the death of a task started with restart=False.

        Raises: SupervisedFailure, with the cause chained.
        """
        await asyncio.shield(self._failed_future())

    def forget(self, name: str) -> None:
        """Drops a task that comes and goes (a pod's worker) from the status, once it has ended."""
        child = self._children.pop(name, None)
        if child is not None and child.running:
            child.forget_when_done = True
            self._children[name] = child

    def status(self) -> list[ActorStatus]:
        """How every task fares, in the order of their start."""
        return [child.status() for child in self._children.values()]

    async def stop(self) -> None:
        """Cancels every task, newest first, and waits for them.

        Who is cancelled while it waits leaves no task running either, and hears of it at the end.
        Bound: a task that does not end within 10 s of its cancellation is named in the log and left.
        """
        self._stopping = True
        cancelled: asyncio.CancelledError | None = None
        for child in reversed(list(self._children.values())):
            if child.task is None or child.task.done():
                continue
            child.task.cancel()
            try:
                done, _ = await asyncio.wait([child.task], timeout=STOP_SECONDS)
            except asyncio.CancelledError as cancellation:
                cancelled = cancellation
                done, _ = await asyncio.wait([child.task], timeout=STOP_SECONDS)
            if not done:
                log.error("did not stop when cancelled", actor=child.name, seconds=STOP_SECONDS)
            elif not child.task.cancelled() and (error := child.task.exception()) is not None:
                log.error("crashed while stopping", error, actor=child.name)
        if cancelled is not None:
            raise cancelled
