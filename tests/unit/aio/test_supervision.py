"""Actors, supervision, queues and back-off on a real event loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from orchestra.aio.actor import Actor
from orchestra.aio.backoff import Backoff
from orchestra.aio.mailbox import Mailbox, MailboxClosed
from orchestra.aio.supervisor import SupervisedFailure, Supervisor
from orchestra.aio.workqueue import WorkQueue


def within(seconds: float = 5.0) -> asyncio.Timeout:
    return asyncio.timeout(seconds)


async def test_a_crash_is_counted_and_restarted_and_others_go_on() -> None:
    runs = 0
    again = asyncio.Event()
    beat = asyncio.Event()

    async def crashes() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("boom")
        again.set()
        await asyncio.Event().wait()

    async def steady() -> None:
        await again.wait()
        beat.set()
        await asyncio.Event().wait()

    async with within(), Supervisor("test") as supervisor:
        supervisor.start("crashes", crashes)
        supervisor.start("steady", steady)
        await beat.wait()
        by_name = {status.name: status for status in supervisor.status()}
    assert by_name["crashes"].restarts == 1
    assert by_name["crashes"].last_error == "RuntimeError: boom"
    assert by_name["crashes"].running
    assert by_name["steady"].restarts == 0


async def test_somebody_elses_cancellation_is_a_crash_and_no_quiet_end() -> None:
    runs = 0
    again = asyncio.Event()

    async def waits_for_what_is_cancelled() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            call = asyncio.get_running_loop().create_future()
            call.cancel()
            await call
        again.set()
        await asyncio.Event().wait()

    async with within(), Supervisor("test") as supervisor:
        supervisor.start("caller", waits_for_what_is_cancelled)
        await again.wait()
        assert supervisor.status()[0].restarts == 1


async def test_the_death_of_what_must_not_die_is_heard() -> None:
    async def crashes() -> None:
        raise RuntimeError("the disk is gone")

    async with within(), Supervisor("test") as supervisor:
        supervisor.start("store", crashes, restart=False)
        with pytest.raises(SupervisedFailure, match="store has failed: the disk is gone"):
            await supervisor.failed()


async def test_stop_cancels_newest_first() -> None:
    order: list[str] = []

    def task(name: str, ready: asyncio.Event) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                order.append(name)

        return run

    ready = [asyncio.Event(), asyncio.Event()]
    async with within():
        supervisor = Supervisor("test")
        supervisor.start("a", task("a", ready[0]))
        supervisor.start("b", task("b", ready[1]))
        await asyncio.gather(*(event.wait() for event in ready))
        await supervisor.stop()
    assert order == ["b", "a"]


class Adder(Actor[int]):
    def __init__(self) -> None:
        super().__init__(bound=2)
        self.total = 0
        self.starts = 0
        self.ended = asyncio.Event()

    async def stopped(self) -> None:
        if self.mailbox.closed and not len(self.mailbox):
            self.ended.set()

    async def started(self) -> None:
        self.starts += 1

    async def receive(self, message: int) -> None:
        if message < 0:
            raise ValueError("only upwards")
        self.total += message


async def test_a_stop_that_is_cancelled_leaves_nothing_running() -> None:
    supervisor, cleaning, ended = Supervisor("test"), asyncio.Event(), []

    def slow(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                await asyncio.sleep(0)
                ended.append(name)

        return run

    async with within():
        for name in ("one", "two", "three"):
            supervisor.start(name, slow(name))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(supervisor.stop())
        await cleaning.wait()
        stopping.cancel()
        await asyncio.wait((stopping,))
    assert stopping.cancelled()
    assert ended == ["three", "two", "one"]


async def test_an_actor_survives_the_message_that_broke_it() -> None:
    adder = Adder()
    async with within(), Supervisor("test") as supervisor:
        supervisor.start("adder", adder.run, queue_length=lambda: len(adder.mailbox))
        for message in (1, -1, 2, 3):
            await adder.tell(message)
        adder.mailbox.close()
        await adder.ended.wait()
    assert (adder.total, adder.starts) == (6, 2)


async def test_a_full_mailbox_refuses_an_offer_and_holds_a_put() -> None:
    box: Mailbox[int] = Mailbox(1)
    assert box.offer(1)
    assert not box.offer(2)
    waiting = asyncio.ensure_future(box.put(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    async with within():
        assert await box.get() == 1
        await waiting
        assert await box.take(10) == [2]
    box.close()
    with pytest.raises(MailboxClosed):
        box.offer(3)
    with pytest.raises(MailboxClosed):
        await box.get()


async def test_a_cancelled_reader_passes_its_wake_up_on() -> None:
    box: Mailbox[int] = Mailbox(4)
    first = asyncio.ensure_future(box.get())
    second = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.offer(7)
    first.cancel()
    async with within():
        assert await second == 7


async def test_a_key_is_queued_once_and_worked_once_at_a_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    async with within():
        assert await queue.get() == "a"
        queue.add("a")
        assert len(queue) == 0, "in work: not handed out a second time"
        queue.done("a")
        assert await queue.get() == "a"
    queue.close()


async def test_retries_back_off_and_forget_resets() -> None:
    queue: WorkQueue[str] = WorkQueue(retry_initial_ms=2, retry_limit_ms=8, rng=random.Random(1))
    waits = [queue.retry("a") for _ in range(5)]
    assert waits[0] <= 0.002
    assert max(waits) <= 0.008
    assert queue.retries("a") == 5
    queue.forget("a")
    assert queue.retries("a") == 0
    async with within():
        assert await queue.get() == "a"
    queue.close()
    with pytest.raises(MailboxClosed):
        await queue.get()


async def test_the_earliest_of_several_delays_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    async with within():
        assert await queue.get() == "a"
    queue.close()


@pytest.mark.parametrize("seed", range(5))
def test_back_off_grows_within_its_bounds(seed: int) -> None:
    backoff = Backoff(100, 1000, rng=random.Random(seed))
    waits = [backoff.next_ms() for _ in range(8)]
    for wait, ceiling in zip(waits, (100, 200, 400, 800, 1000, 1000, 1000, 1000), strict=True):
        assert ceiling // 2 <= wait <= ceiling
    backoff.reset()
    assert backoff.next_ms() <= 100
