"""The thread that blocks so that the loop need not."""

import asyncio
import threading

import pytest

from orchestra.cluster.io import SystemIoThread


async def test_operations_run_elsewhere_in_the_order_given() -> None:
    io = SystemIoThread("io")
    order: list[int] = []
    threads: set[str] = set()

    def operation(number: int) -> int:
        order.append(number)
        threads.add(threading.current_thread().name)
        return number

    waits = [asyncio.ensure_future(io.run(lambda each=each: operation(each))) for each in range(50)]  # type: ignore[misc]
    assert await asyncio.gather(*waits) == list(range(50)) == order
    assert threads == {"io"}
    io.close()


async def test_what_goes_wrong_is_the_callers() -> None:
    io = SystemIoThread("io")

    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await io.run(fail)
    assert await io.run(lambda: 1) == 1
    io.close()


async def test_it_ends_even_if_nobody_waits_any_more() -> None:
    io = SystemIoThread("io")
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)
        ended.set()

    waiting = asyncio.ensure_future(io.run(slow))
    assert await asyncio.to_thread(begun.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    io.close()
    assert ended.is_set()
    await asyncio.sleep(0)


async def test_a_closed_one_says_so() -> None:
    io = SystemIoThread("io")
    io.close()
    io.close()
    with pytest.raises(RuntimeError, match="closed"):
        await io.run(lambda: None)
