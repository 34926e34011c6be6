"""A master leads from a mandate to its end, each time anew, and what it writes is refused when it is over."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from orchestra.apiserver.agents import AgentHub
from orchestra.base.clock import SystemClock
from orchestra.base.errors import Unavailable
from orchestra.cli.masters.mandate import Mandates
from orchestra.mvcc.model import Compare, Put, Result, Target, Txn
from orchestra.objects.kinds import NAMESPACE
from orchestra.pb import core
from orchestra.store.leadership import LEADER_KEY, Leader
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


class Term:
    """A Mandate, ended by hand."""

    def __init__(self, revision: int) -> None:
        self.guards: Sequence[Compare] = (Compare(LEADER_KEY, Target.MOD, Result.EQUAL, revision),)
        self.ended = asyncio.Event()

    async def over(self) -> None:
        await self.ended.wait()


class Contest:
    """A Leadership in which one master is given the lead by hand."""

    def __init__(self, store: MemoryStore) -> None:
        self.leader: Leader | None = None
        self._store = store
        self._terms: asyncio.Queue[Term] = asyncio.Queue()

    async def win(self) -> Term:
        term = Term(await self.write("m1"))
        self._terms.put_nowait(term)
        return term

    async def write(self, name: str) -> int:
        return (await self._store.txn(Txn((), (Put(LEADER_KEY, name.encode()),)))).revision

    async def won(self) -> Term:
        return await self._terms.get()

    async def changed(self) -> None:
        await asyncio.get_running_loop().create_future()


class Door:
    """Where agents come in."""

    def __init__(self) -> None:
        self.hub: AgentHub | None = None
        self.turned = asyncio.Condition()

    def serve_agents(self, hub: AgentHub) -> None:
        self.hub = hub
        self._tell()

    def stop_agents(self) -> None:
        self.hub = None
        self._tell()

    def _tell(self) -> None:
        async def tell() -> None:
            async with self.turned:
                self.turned.notify_all()

        self.telling = asyncio.ensure_future(tell())

    async def opened(self, is_open: bool = True) -> None:
        async with asyncio.timeout(5), self.turned:
            await self.turned.wait_for(lambda: (self.hub is not None) == is_open)


class Scene:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.objects = ObjectStore(self.store, clock=SystemClock(), rng=random.Random(1))
        self.contest, self.door = Contest(self.store), Door()
        self.mandates = Mandates(self.contest, self.objects, self.door, "m1", SystemClock())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    task = asyncio.create_task(made.mandates.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert made.mandates.reign is None
    assert made.door.hub is None


async def test_agents_are_let_in_while_it_leads_and_each_time_anew(scene: Scene) -> None:
    assert (scene.mandates.reign, tuple(scene.mandates.actors())) == (None, ())
    first = await scene.contest.win()
    await scene.door.opened()
    reign = scene.mandates.reign
    assert reign is not None
    assert scene.door.hub is reign.hub
    assert {"scheduler", "informers", "controller/deployment"} <= {a.name for a in scene.mandates.actors()}
    assert (await scene.objects.get(NAMESPACE, "", "default")).metadata.name == "default"

    first.ended.set()
    await scene.door.opened(False)
    await scene.contest.win()
    await scene.door.opened()
    again = scene.mandates.reign
    assert again is not None
    assert again.liveness is not reign.liveness
    assert again.hub is not reign.hub


async def test_a_deposed_leaders_write_is_refused_by_the_store(scene: Scene) -> None:
    await scene.contest.win()
    await scene.door.opened()
    reign = scene.mandates.reign
    assert reign is not None
    made = core.Namespace()
    made.metadata.name = "early"
    await reign.objects.create(made)
    await scene.contest.write("m2")
    made.metadata.name = "late"
    with pytest.raises(Unavailable):
        await reign.objects.create(made)
    # A client's write has no such guard.
    await scene.objects.create(made)
