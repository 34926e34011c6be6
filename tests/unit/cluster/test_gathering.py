"""Who is held for whom, and for how long."""

import asyncio

from orchestra.cluster.gathering import Gathering


class Woken:
    """Counts what would wake the driver."""

    def __init__(self) -> None:
        self.times = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._event.set()

    async def again(self) -> None:
        """Waits for the next time."""
        async with asyncio.timeout(5):
            await self._event.wait()
        self._event.clear()


async def test_a_few_callers_never_wait() -> None:
    gathering = Gathering(Woken())
    for callers in (1, 2, 3):
        gathering.seen(callers)
        assert not gathering.holds(1, 1, 100)
        assert gathering.wanted == 0


async def test_most_of_those_seen_at_once_are_waited_for() -> None:
    woken = Woken()
    gathering = Gathering(woken)
    gathering.seen(10)
    assert gathering.holds(1, 1, 100)
    # Whoever comes before need not wake anybody.
    assert gathering.wanted == 9
    assert not gathering.holds(9, 9, 900)
    assert gathering.wanted == 0
    await asyncio.sleep(0.01)
    assert woken.times == 0


async def test_of_many_one_half_is_read_while_the_other_is_written() -> None:
    gathering = Gathering(Woken())
    gathering.seen(64)
    assert gathering.holds(1, 33, 3300)
    assert gathering.wanted == 32
    assert not gathering.holds(32, 64, 6400)


async def test_after_a_pause_that_many_are_expected() -> None:
    woken = Woken()
    gathering = Gathering(woken)
    gathering.seen(20)
    assert gathering.holds(5, 5, 500)
    await woken.again()
    # Nobody may be left asleep: whoever comes now wakes.
    assert gathering.wanted == 0
    assert not gathering.holds(5, 5, 500)
    assert gathering.holds(3, 3, 300)
    assert gathering.wanted == 4
    assert not gathering.holds(4, 4, 400)


async def test_nobody_is_held_for_ever_by_those_who_trickle_in() -> None:
    woken = Woken()
    gathering = Gathering(woken)
    gathering.seen(10_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    came = 1
    while gathering.holds(came, came, 100):
        await woken.again()
        came += 1
    assert 1 < came < 10
    assert loop.time() - began < 5


async def test_a_large_write_is_worth_it_by_itself() -> None:
    gathering = Gathering(Woken())
    gathering.seen(20)
    assert gathering.holds(1, 1, 1000)
    assert not gathering.holds(2, 2, 1_000_000)


async def test_those_that_have_gone_meanwhile_do_not_keep_the_next_one_asleep() -> None:
    woken = Woken()
    gathering = Gathering(woken)
    gathering.seen(20)
    assert gathering.holds(5, 5, 500)
    await woken.again()
    # All of them have given up: nobody asks. The next one comes, and wakes.
    assert gathering.wanted == 0
    assert not gathering.holds(1, 1, 100)


async def test_the_end_leaves_no_timer() -> None:
    woken = Woken()
    gathering = Gathering(woken)
    gathering.seen(20)
    assert gathering.holds(5, 5, 500)
    gathering.end()
    await asyncio.sleep(0.01)
    assert woken.times == 0
