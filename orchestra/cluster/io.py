"""Where blocking disk operations run: off the event loop, one after the other."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

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
    """A real thread. Every write of the log passes through it: the futures, locks and counting of an executor
    would cost as much as the write.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._closed = False
        # Whoever does not close it does not wait for it at the program's end either.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[], T]) -> T:
        if self._closed:
            raise RuntimeError("the thread has been closed")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((operation, done))
        return await done

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            operation, done = work
            result: Any = None
            failure: BaseException | None = None
            try:
                result = operation()
            except BaseException as error:  # noqa: BLE001 - the caller's to handle, whatever it is
                failure = error
            try:
                done.get_loop().call_soon_threadsafe(_settle, done, result, failure)
            except RuntimeError:
                # The loop has been closed: nobody waits any more.
                pass
            # Nothing is kept alive until the next operation comes.
            del work, operation, done, result, failure


def _settle(done: "asyncio.Future[Any]", result: object, failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(result)
    else:
        done.set_exception(failure)
