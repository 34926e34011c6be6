"""Agents find the leading master, and calls that are its own find it from any other."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest

from agents.session import Session
from agents.simulated import SimulatedAgent
from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.keys import FORWARDED_BY
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.cluster_info import MasterInfo
from orchestra.apiserver.gate import HOLD_SECONDS
from orchestra.apiserver.server import ApiServer
from orchestra.base.clock import SystemClock
from orchestra.base.errors import NotFound, Unavailable
from orchestra.client import Client
from orchestra.controllers.liveness import Liveness
from orchestra.objects.kinds import NODE
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.leadership import Leader
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore

SECONDS = 10


@dataclass(slots=True)
class Contest:
    """Who leads, as all masters see it at once."""

    leader: Leader | None = None
    turned: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, leader: Leader | None) -> None:
        self.leader = leader
        self.turned.set()
        self.turned = asyncio.Event()

    async def changed(self) -> None:
        await self.turned.wait()


class Master:
    """One of several masters over one store."""

    def __init__(self, name: str, objects: ObjectStore, contest: Contest) -> None:
        self.name, self.objects, self.contest = name, objects, contest
        self.liveness = Liveness()
        self.address = ""
        self.told: list[str] = []
        self.server = ApiServer(
            objects, MasterInfo(name), leader=lambda: contest.leader, leader_changed=contest.changed
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.address = f"127.0.0.1:{await self.server.start('127.0.0.1:0')}"

    def lead(self, masters: list["Master"]) -> None:
        informers, self.liveness = Informers(self.objects), Liveness()
        recorder = EventRecorder(self.objects, "agent")
        self._tasks = [asyncio.create_task(informers.run()), asyncio.create_task(recorder.run())]
        hub = AgentHub(
            self.objects,
            informers,
            self.liveness,
            recorder,
            master=self.name,
            masters=lambda: [master.address for master in masters],
        )
        self.server.serve_agents(hub)
        self.contest.set(Leader(self.name, self.address))

    async def yield_(self) -> None:
        self.server.stop_agents()
        self.contest.set(None)
        await self._end_tasks()

    async def stop(self) -> None:
        await self.server.stop(0)
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


@contextlib.asynccontextmanager
async def masters(count: int = 3) -> AsyncIterator[list[Master]]:
    store = MemoryStore()
    objects = ObjectStore(store, clock=SystemClock())
    await objects.ensure_namespaces()
    contest = Contest()
    made = [Master(f"m{number + 1}", objects, contest) for number in range(count)]
    for master in made:
        await master.start()
    try:
        yield made
    finally:
        for master in made:
            await master.stop()


async def connected(master: Master, node: str = "n1", yes: bool = True) -> None:
    changed = asyncio.Event()
    unsubscribe = master.liveness.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(SECONDS):
            while (state := master.liveness.state(node)) is None or state.connected is not yes:
                changed.clear()
                await changed.wait()
    finally:
        unsubscribe()


@contextlib.asynccontextmanager
async def agent_of(*addresses: str) -> AsyncIterator[Session]:
    """A session that dials for as long as the block lasts."""
    made = SimulatedAgent("n1", "127.0.0.1", addresses[0])
    made.session = session = Session(addresses, made)
    task = asyncio.create_task(session.run())
    try:
        yield session
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_agent_is_sent_on_to_the_leader_and_learns_of_all() -> None:
    async with masters() as (one, two, three):
        three.lead([one, two, three])
        async with agent_of(one.address) as session:
            await connected(three)
            assert session.connected
            # What it was told it can use: the leader it was told of is gone, and so is the one it was given.
            await one.stop()
            await three.stop()
            two.lead([two])
            await connected(two)


async def test_an_agent_waits_at_a_master_for_the_election_and_is_let_in_by_its_end() -> None:
    async with masters() as (one, two, three), agent_of(two.address):
        loop = asyncio.get_running_loop()
        await until(lambda: two.server._gate._held == 1)
        began = loop.time()
        two.lead([one, two, three])
        await connected(two)
        assert loop.time() - began < HOLD_SECONDS


async def test_when_the_mandate_is_over_sessions_end_and_find_the_next_leader() -> None:
    async with masters() as every:
        one, two, _ = every
        one.lead(every)
        async with agent_of(*(master.address for master in every)):
            await connected(one)
            await one.yield_()
            assert one.server.hub is None
            loop = asyncio.get_running_loop()
            began = loop.time()
            two.lead(every)
            await connected(two)
            assert loop.time() - began < HOLD_SECONDS
            assert one.liveness.state("n1") is not None
            assert one.liveness.state("n1").connected, "a mandate's end says nothing about agents' lives"  # type: ignore[union-attr]
            # And back: the first master's new hub knows nothing of the old one's sessions.
            await two.yield_()
            one.lead(every)
            await connected(one)


async def test_without_a_leader_an_agent_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestra.apiserver.gate.HOLD_SECONDS", 0.01)
    async with masters(1) as (one,), open_channel(one.address) as channel:
        from orchestra.pb import agent_v1_pb2_grpc as agent_grpc

        stub: Any = agent_grpc.AgentsStub(channel)
        call = stub.Session()
        await call.write(agent.AgentMessage(register=agent.Register(name="n1", instance="a")))
        refused = (await call.read()).refused
        assert (refused.leader_address, refused.retry_after_ms) == ("", 100)
        one.contest.set(Leader("m9", "127.0.0.1:1"))
        call = stub.Session()
        refused = (await call.read()).refused
        assert (refused.leader_address, refused.retry_after_ms) == ("127.0.0.1:1", 0)


async def test_the_status_is_the_leaders_wherever_it_is_asked_for() -> None:
    async with masters() as every:
        one, two, _ = every
        async with Client(two.address, retry_seconds=0.05) as client:
            with pytest.raises(Unavailable, match="no master leads now") as caught:
                await client.status()
            assert caught.value.retry_after_ms == 100
            one.lead(every)
            status = await client.status()
            assert (status.master, status.leader, status.leader_address) == ("m1", "m1", one.address)
            await one.yield_()
            two.lead(every)
            assert (await client.status()).master == "m2"


async def test_a_call_is_passed_on_once_and_never_in_a_circle() -> None:
    async with masters(2) as (one, two):
        # Each holds that the other leads.
        one.contest.set(Leader("m2", two.address))
        two.server._forwarding._leader = lambda: Leader("m1", one.address)
        async with Client(one.address, retry_seconds=0.05) as client:
            with pytest.raises(Unavailable, match="though 'm1' held that it does"):
                await client.status()
        async with open_channel(one.address) as channel:
            stub: Any = api_grpc.ClusterStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Status(api.ClusterStatusRequest(), metadata=((FORWARDED_BY, "m2"),))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_leader_that_cannot_be_reached_is_said_to_be_away() -> None:
    async with masters(1) as (one,):
        one.contest.set(Leader("m2", "127.0.0.1:1"))
        async with Client(one.address, retry_seconds=0.05) as client:
            with pytest.raises(Unavailable, match="the leading master cannot be reached") as caught:
                await client.status()
            assert caught.value.retry_after_ms == 100


class ScriptedLogs(api_grpc.LogsServicer):
    """A leading master's logs: two pieces, then silence until the caller leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.seconds_left: list[float | None] = []

    async def Read(self, request: api.LogRequest, context: Any) -> AsyncGenerator[Any, None]:
        self.seconds_left.append(context.time_remaining())
        if request.pod == "none":
            raise NotFound('pods "none" not found', kind="pods", name="none")
        try:
            yield api.LogChunk(data=b"one\n")
            yield api.LogChunk(data=b"two\n")
            await asyncio.Event().wait()
        finally:
            self.left.set()


@contextlib.asynccontextmanager
async def scripted_leader() -> AsyncIterator[tuple[ScriptedLogs, str]]:
    from orchestra.aio.rpc.server import RpcServer

    logs, server = ScriptedLogs(), RpcServer()
    server.add(api_grpc.add_LogsServicer_to_server, logs, "orchestra.api.v1.Logs")
    port = await server.start("127.0.0.1:0")
    try:
        yield logs, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_stream_is_passed_on_with_its_errors_its_deadline_and_its_end() -> None:
    async with (
        masters(1) as (one,),
        scripted_leader() as (logs, address),
        open_channel(one.address) as channel,
    ):
        one.contest.set(Leader("m2", address))
        stub: Any = api_grpc.LogsStub(channel)
        call = stub.Read(api.LogRequest(pod="web"), timeout=7)
        assert [(await call.read()).data for _ in range(2)] == [b"one\n", b"two\n"]
        assert 6 < (logs.seconds_left[0] or 0) < 7.5
        call.cancel()
        async with asyncio.timeout(SECONDS):
            await logs.left.wait()
        async with Client(one.address) as client:
            with pytest.raises(NotFound) as caught:
                await anext(client.logs("default", "none"))
            assert (caught.value.kind, caught.value.name) == ("pods", "none")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - what is counted here has no event
            await asyncio.sleep(0)


async def test_a_channel_to_a_former_leader_ends_with_its_last_call() -> None:
    async with (
        masters() as every,
        scripted_leader() as (_, address),
        open_channel(every[0].address) as channel,
    ):
        one, two, _ = every
        one.contest.set(Leader("m9", address))
        forwarding = one.server._forwarding
        stub: Any = api_grpc.LogsStub(channel)
        call = stub.Read(api.LogRequest(pod="web"))
        await call.read()
        two.lead(every)
        async with Client(one.address) as client:
            assert (await client.status()).master == "m2"
        assert len(forwarding._open) == 1
        call.cancel()
        await until(lambda: not forwarding._open)


async def test_a_node_registers_with_whoever_leads() -> None:
    async with masters() as every:
        every[1].lead(every)
        async with agent_of(every[0].address):
            await connected(every[1])
        assert (await every[0].objects.get(NODE, "", "n1")).metadata.name == "n1"
