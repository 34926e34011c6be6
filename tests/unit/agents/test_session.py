"""The agent's link to the masters, as far as it needs none: what it says while there is none."""

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import pytest

from agents.session import House, Session

DIALS = 6


async def test_masters_that_do_not_answer_are_complained_of_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dialled: list[str] = []
    enough = asyncio.Event()

    def dial(master: str) -> AbstractAsyncContextManager[Any]:
        dialled.append(master)
        if len(dialled) >= DIALS:
            enough.set()
        raise ConnectionRefusedError(f"nobody listens at {master}")

    session = Session(["one:1", "two:2"], cast(House, None), dial=dial)
    running = asyncio.create_task(session.run())
    async with asyncio.timeout(30):
        await enough.wait()
    running.cancel()
    await asyncio.wait((running,))
    assert min(Counter(dialled).values()) > 1
    assert [record.getMessage() for record in caplog.records] == ["no master"] * 2
