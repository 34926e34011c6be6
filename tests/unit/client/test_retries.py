"""What the client sends again, and what never; how a watch goes on after its stream broke."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestra.aio.rpc.server import RpcServer
from orchestra.base.errors import ApiError, Conflict, Expired, Unavailable, UsageError
from orchestra.client import Client
from orchestra.objects.kinds import wrap
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.pb import core, meta

SECONDS = 10
BUSY = Unavailable("the store cannot answer now", retry_after_ms=10)
Answer = Callable[[Any], AsyncGenerator[Any, None]]


class Scripted(api_grpc.ObjectsServicer):
    """Answers each call with the next of a list: an error, or what to send."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []

    def _next(self, request: Any) -> Any:
        copy = type(request)()
        copy.CopyFrom(request)
        self.requests.append(copy)
        return self.answers.pop(0)

    async def _one(self, request: Any) -> Any:
        answer = self._next(request)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def Get(self, request: Any, context: Any) -> Any:
        return await self._one(request)

    async def Create(self, request: Any, context: Any) -> Any:
        return await self._one(request)

    async def List(self, request: Any, context: Any) -> Any:
        return await self._one(request)

    async def Watch(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for answer in self._next(request):
            if isinstance(answer, ApiError):
                raise answer
            yield answer
        await asyncio.Event().wait()


@asynccontextmanager
async def client_of(scripted: Scripted) -> AsyncIterator[Client]:
    server = RpcServer()
    server.add(api_grpc.add_ObjectsServicer_to_server, scripted, "orchestra.api.v1.Objects")
    port = await server.start("127.0.0.1:0")
    try:
        async with Client(f"127.0.0.1:{port}", retry_seconds=5) as client:
            yield client
    finally:
        await server.stop(0)


def pod(name: str) -> core.Pod:
    return core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"))


def added(*names: str, revision: str = "", end: bool = False) -> api.WatchResponse:
    events = [api.WatchEvent(type=api.WatchEvent.ADDED, object=wrap(pod(name))) for name in names]
    return api.WatchResponse(events=events, resource_version=revision, initial_events_end=end)


async def told(client: Client, count: int, **how: Any) -> list[tuple[str, str]]:
    async with asyncio.timeout(SECONDS), client.watch("pods", **how) as watch:
        events = [await anext(watch) for _ in range(count)]
    return [(event.type, event.obj.metadata.name) for event in events]


async def test_a_read_is_sent_again() -> None:
    scripted = Scripted(BUSY, BUSY, wrap(pod("web")))
    async with client_of(scripted) as client:
        assert (await client.get("pods", "default", "web")).metadata.name == "web"
    assert len(scripted.requests) == 3


async def test_a_write_that_may_have_been_seen_is_not() -> None:
    scripted = Scripted(BUSY)
    async with client_of(scripted) as client:
        with pytest.raises(Unavailable, match="the store cannot answer now") as caught:
            await client.create(pod("web"))
    assert caught.value.retry_after_ms == 10
    assert len(scripted.requests) == 1


async def test_other_errors_are_told_at_once() -> None:
    scripted = Scripted(Conflict("changed"))
    async with client_of(scripted) as client:
        with pytest.raises(Conflict):
            await client.get("pods", "default", "web")


async def test_a_list_whose_token_expired_is_begun_again() -> None:
    first = api.ListResponse(items=[wrap(pod("a"))], metadata=meta.ListMeta(resourceVersion="5"))
    setattr(first.metadata, "continue", "token")
    last = api.ListResponse(items=[wrap(pod("b"))], metadata=meta.ListMeta(resourceVersion="9"))
    scripted = Scripted(first, Expired("too old"), last)
    async with client_of(scripted) as client:
        found = await client.list("pods")
    assert ([each.metadata.name for each in found], found.revision) == (["b"], 9)
    assert [getattr(request, "continue") for request in scripted.requests] == ["", "token", ""]


async def test_a_watch_resumes_where_it_was() -> None:
    scripted = Scripted(
        [added("a", revision="5", end=True), added("b", revision="7"), BUSY], [added("c", revision="9")]
    )
    async with client_of(scripted) as client:
        assert await told(client, 3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
    assert [request.resource_version for request in scripted.requests] == ["", "7"]


async def test_an_initial_state_that_broke_off_is_completed_by_what_is_gone() -> None:
    scripted = Scripted([added("a", "b"), BUSY], [added("a"), added("c", revision="8", end=True)])
    async with client_of(scripted) as client:
        assert await told(client, 5) == [
            ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "a"), ("ADDED", "c"), ("DELETED", "b"),
        ]  # fmt: skip
    assert [request.resource_version for request in scripted.requests] == ["", ""]


async def test_a_watch_that_may_not_resume_says_so_and_ends() -> None:
    scripted = Scripted([added("a", revision="5", end=True), BUSY], [Expired("too old")])
    async with client_of(scripted) as client:
        watch = client.watch("pods")
        async with asyncio.timeout(SECONDS):
            await anext(watch)
            with pytest.raises(Expired):
                await anext(watch)
            assert [event async for event in watch] == []


async def test_events_before_the_last_of_a_batch_are_no_place_to_resume_from() -> None:
    scripted = Scripted([added(revision="5", end=True), added("a", "b", revision="7")])
    async with client_of(scripted) as client, asyncio.timeout(SECONDS), client.watch("pods") as watch:
        assert [(await anext(watch)).revision for _ in range(2)] == [5, 7]


@pytest.mark.parametrize("target", ["", ",", "nonsense", "a:1,b"])
def test_wrong_addresses(target: str) -> None:
    with pytest.raises(UsageError):
        Client(target)


async def test_a_closed_client_says_so() -> None:
    async with client_of(Scripted()) as client:
        await client.close()
        with pytest.raises(UsageError, match="closed"):
            await client.get("pods", "default", "web")
