"""The one place that answers every outcome."""

import asyncio

import pytest

from orchestra.aio.supervisor import Supervisor
from orchestra.aio.workqueue import WorkQueue
from orchestra.base.errors import Conflict, InternalError
from orchestra.controllers.runner import DONE, Controller, Outcome, all_of


class Scripted:
    """Raises or returns what the script says, one line a call, then is done."""

    def __init__(self, *script: Exception | Outcome) -> None:
        self.script = list(script)
        self.calls: list[str] = []
        self.begun = asyncio.Event()
        self.finished = asyncio.Event()

    async def reconcile(self, key: str) -> Outcome:
        self.calls.append(key)
        self.begun.set()
        if not self.script:
            self.finished.set()
            return DONE
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (Conflict("changed"), 0), (InternalError("broken"), 1), (ValueError("a defect"), 1),
        (Outcome(1_000_000), 0),
    ],
)  # fmt: skip
async def test_every_outcome_is_answered(answer: Exception | Outcome, errors: int) -> None:
    reconciler = Scripted(answer)
    controller = Controller("test", reconciler, WorkQueue[str](), all_keys=lambda: ["a"])
    async with asyncio.timeout(5), Supervisor("test") as supervisor:
        supervisor.start("controller", controller.run)
        await reconciler.finished.wait()
    assert reconciler.calls == ["a", "a"]
    assert controller.errors == errors


async def test_one_key_is_never_worked_on_twice_at_a_time() -> None:
    busy: set[str] = set()
    done = 0
    finished = asyncio.Event()

    class Slow:
        async def reconcile(self, key: str) -> Outcome:
            nonlocal done
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            busy.discard(key)
            done += 1
            if done < 50:
                queue.add(key)
            else:
                finished.set()
            return DONE

    queue: WorkQueue[str] = WorkQueue()
    controller = Controller("test", Slow(), queue, workers=4, all_keys=lambda: ["a", "b", "c"])
    async with asyncio.timeout(5), Supervisor("test") as supervisor:
        supervisor.start("controller", controller.run)
        await finished.wait()
    assert not controller.errors


async def test_a_controller_that_always_finds_work_leaves_the_others_their_turn() -> None:
    class Restless:
        async def reconcile(self, key: str) -> Outcome:
            queue.add(key)
            return DONE

    queue: WorkQueue[str] = WorkQueue()
    controller = Controller("test", Restless(), queue, workers=1, all_keys=lambda: ["a", "b"])
    async with Supervisor("test") as supervisor:
        supervisor.start("controller", controller.run)
        for _ in range(100):
            await asyncio.sleep(0)
    assert not controller.errors


async def test_all_of_stops_after_a_failure() -> None:
    begun: list[int] = []

    def act(number: int) -> "asyncio.Future[int] | object":
        async def run() -> int:
            begun.append(number)
            if number == 1:
                raise Conflict("no")
            return number

        return run

    with pytest.raises(Conflict):
        await all_of([act(n) for n in range(10)], limit=3)  # type: ignore[misc]
    assert begun == [0, 1, 2]
    assert await all_of([act(n) for n in (5, 6)]) == [5, 6]  # type: ignore[misc]


async def test_a_crash_of_one_controller_does_not_stop_another() -> None:
    """Its queue outlives it, and after the restart it goes on."""
    crashes = 0

    def all_keys() -> list[str]:
        nonlocal crashes
        if crashes < 1:
            crashes += 1
            raise ValueError("a defect")
        return ["a"]

    broken, well = Scripted(), Scripted()
    async with asyncio.timeout(5), Supervisor("test") as supervisor:
        supervisor.start("broken", Controller("broken", broken, WorkQueue[str](), all_keys=all_keys).run)
        supervisor.start("well", Controller("well", well, WorkQueue[str](), all_keys=lambda: ["b"]).run)
        await well.finished.wait()
        await broken.finished.wait()
        assert [(s.name, s.restarts) for s in supervisor.status()] == [("broken", 1), ("well", 0)]


async def test_a_key_rests() -> None:
    """Changes while it rests are one more look, not one each."""
    reconciler = Scripted(Outcome(rest_ns=50_000_000))
    queue: WorkQueue[str] = WorkQueue()
    controller = Controller("test", reconciler, queue, all_keys=lambda: ["a"])
    async with asyncio.timeout(5), Supervisor("test") as supervisor:
        supervisor.start("controller", controller.run)
        await reconciler.begun.wait()
        for _ in range(20):
            queue.add("a")
            await asyncio.sleep(0)
        assert len(reconciler.calls) == 1
        await reconciler.finished.wait()
        await asyncio.sleep(0)
    assert len(reconciler.calls) == 2
