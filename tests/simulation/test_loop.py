"""The virtual loop itself: time that jumps, and the two ways in which nothing goes on."""

import asyncio
import time

import pytest

from tests.simulation import loop
from tests.simulation.loop import Deadlock, Livelock, run


def test_an_hour_takes_no_time_and_timers_fire_in_their_order() -> None:
    async def main() -> list[str]:
        fired: list[str] = []
        for seconds in (3600, 5, 60):
            asyncio.get_running_loop().call_later(seconds, fired.append, str(seconds))
        await asyncio.sleep(3601)
        assert asyncio.get_running_loop().time() == 3601
        return fired

    began = time.monotonic()
    assert run(main) == ["5", "60", "3600"]
    assert time.monotonic() - began < 5


def test_a_deadlock_names_who_waits_and_where() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        waiting = asyncio.create_task(forever(), name="the one who waits")
        await waiting

    with pytest.raises(Deadlock, match=r"the one who waits: test_loop.py:\d+ await asyncio.Event"):
        run(main)


def test_work_that_goes_round_in_circles_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TURNS_AT_ONE_TIME_MAX", 1000)

    async def main() -> None:
        while True:  # noqa: ASYNC110 - the very mistake
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="time stands still"):
        run(main)
