"""Several masters: what fails at one goes on at another, and costs no other call anything."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from orchestra.aio.rpc.server import RpcServer
from orchestra.base.errors import ApiError, Unavailable
from orchestra.client import Client
from orchestra.objects.kinds import wrap
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.pb import core, meta

SECONDS = 10
NOBODY = "127.0.0.1:1"
NO_LEADER = Unavailable("there is no leader", not_done=True)


class Master(api_grpc.ObjectsServicer):
    """Answers every Get, the one named "slow" when it is let go; a Create by the next of `answers`."""

    def __init__(self, *answers: ApiError | None) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.address = ""

    async def Get(self, request: Any, context: Any) -> Any:
        self.calls.append(request.name)
        self.asked.set()
        if request.name == "slow":
            await self.go.wait()
        return wrap(pod(request.name))

    async def Create(self, request: Any, context: Any) -> Any:
        self.calls.append("create")
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return request.object

    async def Watch(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        self.calls.append("watch")
        yield api.WatchResponse(resource_version="5", initial_events_end=True)
        await self.go.wait()
        event = api.WatchEvent(type=api.WatchEvent.ADDED, object=wrap(pod("web")))
        yield api.WatchResponse(events=[event], resource_version="6")


@contextlib.asynccontextmanager
async def serving(*masters: Master) -> AsyncIterator[str]:
    """Their addresses."""
    servers = []
    for master in masters:
        server = RpcServer()
        server.add(api_grpc.add_ObjectsServicer_to_server, master, "orchestra.api.v1.Objects")
        master.address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        servers.append(server)
    try:
        yield ",".join(master.address for master in masters)
    finally:
        for server in servers:
            await server.stop(0)


def pod(name: str) -> core.Pod:
    return core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"))


async def test_what_one_has_said_outranks_the_silence_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestra.client.connection.ELECTION_SECONDS", 0.3)
    refusing = Master(*[NO_LEADER] * 100)
    async with serving(refusing) as address, Client(f"{address},{NOBODY}", retry_seconds=0.3) as client:
        with pytest.raises(Unavailable, match="there is no leader"):
            await client.create(pod("web"))


async def test_calls_in_flight_outlive_the_failure_of_another() -> None:
    one, two = Master(NO_LEADER), Master()
    async with serving(one, two) as addresses, asyncio.timeout(SECONDS), Client(addresses) as client:
        slow = asyncio.create_task(client.get("pods", "default", "slow"))
        await one.asked.wait()
        watch = client.watch("pods", bookmarks=True)
        await anext(watch)
        await client.create(pod("web"))
        assert (one.calls, two.calls) == (["slow", "watch", "create"], ["create"])
        # Everything that is new goes to the other; what was under way ends where it began.
        await client.get("pods", "default", "quick")
        assert two.calls == ["create", "quick"]
        one.go.set()
        assert (await slow).metadata.name == "slow"
        assert (await anext(watch)).obj.metadata.name == "web"
        watch.close()
        connection = client._connection
        assert len(connection._retired) <= 1
        while connection._retired:  # noqa: ASYNC110 - the last call's end has no event
            await asyncio.sleep(0)


async def test_an_address_that_nobody_answers_costs_no_time() -> None:
    one = Master()
    async with serving(one) as address, Client(f"{NOBODY},{NOBODY},{address}") as client:
        began = asyncio.get_running_loop().time()
        await client.create(pod("web"))
        assert asyncio.get_running_loop().time() - began < 1
    assert one.calls == ["create"]


async def test_a_write_that_was_certainly_not_done_is_made_again() -> None:
    one, two = Master(NO_LEADER, NO_LEADER), Master(NO_LEADER)
    async with serving(one, two) as addresses, Client(addresses, retry_seconds=0.01) as client:
        assert (await client.create(pod("web"))).metadata.name == "web"
    assert len(one.calls) + len(two.calls) == 4


async def test_a_write_whose_outcome_is_not_known_is_not() -> None:
    one, two = Master(Unavailable("whether it is kept is not known")), Master()
    async with serving(one, two) as addresses, Client(addresses) as client:
        with pytest.raises(Unavailable, match="not known"):
            await client.create(pod("web"))
    assert (one.calls, two.calls) == (["create"], [])


async def test_masters_that_are_all_away_are_not_waited_for() -> None:
    async with Client(f"{NOBODY},127.0.0.1:2", retry_seconds=0.1) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="cannot reach"):
            await client.get("pods", "default", "web")
        assert asyncio.get_running_loop().time() - began < 1
