"""What `master`, `agent` and `up` share as processes: signals that ask for an end, a parent to live with."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import uvloop


def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[int]], *, with_parent: bool = False) -> int:
    """Runs `main(stop)` on an event loop of its own; SIGINT and SIGTERM set `stop`.

    with_parent: so does the end of standard input, which whoever started the process holds open.
    """

    async def run() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if with_parent:
            os.set_blocking(0, False)
            loop.add_reader(0, _read_lifeline, loop, stop)
        return await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def _read_lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        if os.read(0, 64):
            return
    except BlockingIOError:
        return
    loop.remove_reader(0)
    stop.set()


async def first_of(*waits: Awaitable[object]) -> None:
    """Waits for the first of several to end and cancels the others; raises what the first raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
