"""A followed log goes on where it was: nothing twice, nothing left out, whatever breaks in between."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.aio.rpc.server import RpcServer
from orchestra.base.errors import BadRequest, Unavailable
from orchestra.client import Client
from orchestra.client.streams import LogStream
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc

SECONDS = 10
GONE = Unavailable("the agent was lost")


class Log(api_grpc.LogsServicer):
    """A log of bytes; position N is after N bytes. Each call: sends pieces of it, then fails or ends."""

    def __init__(self, text: bytes, *calls: Any) -> None:
        self.text, self.calls = text, list(calls)
        self.options: list[api.LogOptions] = []

    async def Read(self, request: api.LogRequest, context: Any) -> AsyncGenerator[Any, None]:
        options = api.LogOptions()
        options.CopyFrom(request.options)
        self.options.append(options)
        pieces, end = self.calls.pop(0)
        if pieces is not None:
            at = int(options.position or 0)
            yield api.LogChunk(position=str(at))
            for size, positioned in pieces:
                data = self.text[at : at + size]
                at += len(data)
                yield api.LogChunk(data=data, position=str(at) if positioned else "")
        if end is not None:
            raise end


@asynccontextmanager
async def client_of(log: Log) -> AsyncIterator[Client]:
    server = RpcServer()
    server.add(api_grpc.add_LogsServicer_to_server, log, "orchestra.api.v1.Logs")
    port = await server.start("127.0.0.1:0")
    try:
        async with Client(f"127.0.0.1:{port}", retry_seconds=5) as client:
            yield client
    finally:
        await server.stop(0)


async def read(log: Log, **options: Any) -> bytes:
    async with client_of(log) as client, asyncio.timeout(SECONDS):
        return b"".join([data async for data in client.logs("default", "web", follow=True, **options)])


async def test_it_resumes_behind_what_was_given_out() -> None:
    log = Log(b"0123456789", ([(3, True), (2, False)], GONE), (None, GONE), ([(4, False), (3, True)], None))
    assert await read(log, since_seconds=5, tail_lines=10) == b"0123456789"
    assert [options.position for options in log.options] == ["", "3", "3"]
    assert log.options[0].since_seconds == 5
    assert not log.options[1].HasField("since_seconds")
    assert not log.options[1].HasField("tail_lines")


async def test_a_bound_of_bytes_is_kept() -> None:
    log = Log(b"0123456789", ([(3, True), (2, False)], GONE), ([(4, True)], None))
    assert await read(log, limit_bytes=7) == b"0123456"
    assert [options.limit_bytes for options in log.options] == [7, 4]


async def test_other_errors_are_told() -> None:
    with pytest.raises(BadRequest):
        await read(Log(b"0123", ([(3, True)], GONE), (None, BadRequest("the pod is gone"))))


async def test_a_log_without_positions_is_not_resumed() -> None:
    log = Log(b"0123456789", ([(3, False)], GONE))
    async with client_of(log) as client:
        with pytest.raises(Unavailable):
            _ = [data async for data in client.logs("default", "web")]


class Connected:
    closed = True


@given(st.lists(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=6), max_size=6))
@settings(max_examples=200, deadline=None)
def test_wherever_it_breaks_all_is_given_out_once(calls: list[list[tuple[int, bool]]]) -> None:
    text = bytes(range(256))
    stream = LogStream(Connected(), api.LogRequest())  # type: ignore[arg-type]
    given_out = b""
    for pieces in calls:
        stream._received = 0
        at = int(stream._request.options.position or 0)
        given_out += stream._take(api.LogChunk(position=str(at)))
        for size, positioned in pieces:
            data = text[at : at + size]
            at += len(data)
            given_out += stream._take(api.LogChunk(data=data, position=str(at) if positioned else ""))
        assert text.startswith(given_out)
        assert len(given_out) >= at
