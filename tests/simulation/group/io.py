"""Disk operations in a process's own time: one after the other, each after a while."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from tests.simulation.group.disk import PowerLoss
from tests.simulation.processes import Process

T = TypeVar("T")

# Of most operations, and of one in fifty.
USUAL_SECONDS = 0.0008
SLOW_SECONDS = 0.05


class Io:
    """An IoThread of one process. A loss of power within an operation is the end of the process."""

    def __init__(
        self, process: Process, rng: random.Random, on_power_loss: Callable[[], None], slowness: float
    ) -> None:
        self._slowness = slowness
        self._process = process
        self._rng = rng
        self._on_power_loss = on_power_loss
        self._free_at = 0.0

    async def run(self, operation: Callable[[], T]) -> T:
        loop = self._process.loop
        done: asyncio.Future[T] = loop.create_future()
        most = SLOW_SECONDS if self._rng.random() < 0.02 else USUAL_SECONDS
        self._free_at = max(self._free_at, loop.time()) + self._rng.random() * most * self._slowness
        loop.call_at(self._free_at, self._do, operation, done)
        return await asyncio.shield(done)

    def _do(self, operation: Callable[[], T], done: asyncio.Future[T]) -> None:
        if not self._process.alive:
            return
        try:
            result = operation()
        except PowerLoss:
            self._on_power_loss()
        except BaseException as error:  # noqa: BLE001 - the operation's, for whoever asked for it
            if not done.done():
                done.set_exception(error)
                # Whoever asked may have stopped waiting.
                done.exception()
        else:
            if not done.done():
                done.set_result(result)

    def close(self) -> None: ...
