"""A master's API over a store in memory, on a free port: what the tests of the API and of sessions stand on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestra.aio.rpc.limits import SESSION_KEEPALIVE, Keepalive
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.cluster_info import MasterInfo
from orchestra.apiserver.server import ApiServer
from orchestra.base.clock import SystemClock
from orchestra.client import Client
from orchestra.controllers.liveness import Liveness
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


@dataclass(slots=True)
class Master:
    """The parts, for tests that look inside."""

    store: MemoryStore
    objects: ObjectStore
    informers: Informers
    liveness: Liveness
    recorder: EventRecorder
    server: ApiServer
    port: int
    client: Client

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(
    store: MemoryStore | None = None, port: int = 0, keepalive: Keepalive = SESSION_KEEPALIVE
) -> AsyncIterator[Master]:
    """Runs it until the block ends; everything it started has ended then."""
    store = store or MemoryStore()
    objects = ObjectStore(store, clock=SystemClock())
    await objects.ensure_namespaces()
    informers, liveness = Informers(objects), Liveness()
    recorder = EventRecorder(objects, "agent")
    server = ApiServer(objects, MasterInfo("m1"), keepalive=keepalive)
    server.serve_agents(AgentHub(objects, informers, liveness, recorder, master="m1"))
    port = await server.start(f"127.0.0.1:{port}")
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(recorder.run())]
    try:
        async with Client(f"127.0.0.1:{port}") as client:
            yield Master(store, objects, informers, liveness, recorder, server, port, client)
    finally:
        await server.stop(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
