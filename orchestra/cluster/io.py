"""Where blocking disk operations run: off the event loop, one after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class IoThread(Protocol):
    """Runs operations in the order given, one at a time. A simulation runs them in its own time."""

    async def run(self, operation: Callable[[], T]) -> T:
        """The operation's result. It ends even if the caller stops waiting."""
        ...

    def close(self) -> None:
        """Returns when what was begun has ended."""
        ...


class SystemIoThread:
    """A real thread."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, operation: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, operation)

    def close(self) -> None:
        self._executor.shutdown()
