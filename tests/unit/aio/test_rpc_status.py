"""Errors over a real connection: what a handler raises is what the caller gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from google.rpc import error_details_pb2

from orchestra.aio.rpc.channel import check_address, open_channel
from orchestra.aio.rpc.limits import REQUEST_BYTES_MAX
from orchestra.aio.rpc.server import ListenError, RpcServer
from orchestra.aio.rpc.status import from_rpc_error, never_sent, plain_cause, to_status
from orchestra.base.errors import (
    API_ERRORS,
    ApiError,
    BadRequest,
    DeadlineExceeded,
    InternalError,
    Invalid,
    NotSupported,
    OrchestraError,
    TooManyRequests,
    Unavailable,
    UsageError,
    Violation,
    invalid,
)

VIOLATIONS = (
    Violation("spec.replicas", "must be at least 0, not -1"),
    Violation("spec.selector", "is required", "FieldValueRequired"),
    Violation("", "größer als erlaubt", "FieldValueTooLong"),
)


class StoreTrouble(OrchestraError):
    """Stands for an error of a floor that the wire does not know."""


class Service:
    """Two methods that do what a test tells them."""

    def __init__(self, behave: Callable[[], Any]) -> None:
        self.behave = behave
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    async def call(self, request: StringValue, context: Any) -> StringValue:
        return StringValue(value=await self.behave())

    async def stream(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield StringValue(value="first")
            self.opened.set()
            yield StringValue(value=await self.behave())
        finally:
            self.closed.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        codec = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        handlers = {
            "Call": grpc.unary_unary_rpc_method_handler(self.call, **codec),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream, **codec),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("orchestra.test.T", handlers),))


class Caller:
    """The service's client, answering with ApiErrors."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        codec = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        self.call_raw = channel.unary_unary("/orchestra.test.T/Call", **codec)
        self.stream_raw = channel.unary_stream("/orchestra.test.T/Stream", **codec)
        self.missing_raw = channel.unary_unary("/orchestra.test.T/Missing", **codec)
        self.target = target

    async def error(self, raw: Any, request: Any = None, timeout: float = 10) -> ApiError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(request or StringValue(), timeout=timeout)
        return from_rpc_error(caught.value, self.target)


@asynccontextmanager
async def serving(behave: Callable[[], Any]) -> AsyncIterator[tuple[Service, Caller, RpcServer]]:
    server, service = (
        RpcServer(translate={StoreTrouble: lambda error: Unavailable(str(error))}),
        Service(behave),
    )
    server.add(lambda it, to: it.add_to(to), service, "orchestra.test.T")
    port = await server.start("127.0.0.1:0")
    target = f"127.0.0.1:{port}"
    try:
        async with open_channel(target) as channel:
            yield service, Caller(channel, target), server
    finally:
        await server.stop(0)


def raising(error: BaseException) -> Callable[[], Any]:
    async def behave() -> str:
        raise error

    return behave


async def waiting() -> str:
    await asyncio.Event().wait()
    return ""


@pytest.mark.parametrize("cls", API_ERRORS, ids=lambda cls: cls.reason)
async def test_every_error_comes_back_as_it_was(cls: type[ApiError]) -> None:
    sent = cls("pods “web” 100 % broken", kind="pods", name="web", violations=VIOLATIONS, retry_after_ms=1500)
    async with serving(raising(sent)) as (_, caller, _):
        got = await caller.error(caller.call_raw)
    assert type(got) is cls
    assert (got.message, got.kind, got.name, got.violations, got.retry_after_ms) == (
        sent.message, sent.kind, sent.name, sent.violations, sent.retry_after_ms,
    )  # fmt: skip


async def test_an_error_after_the_first_message_of_a_stream() -> None:
    async with serving(raising(invalid("Pod", "web", VIOLATIONS[:1]))) as (service, caller, _):
        call = caller.stream_raw(StringValue())
        assert (await call.read()).value == "first"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert isinstance(from_rpc_error(caught.value), Invalid)
        await asyncio.wait_for(service.closed.wait(), 5)


def test_the_details_are_those_other_tools_know() -> None:
    status = to_status(Invalid("bad", kind="Pod", name="web", violations=VIOLATIONS, retry_after_ms=2500))
    info, bad, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for packed in status.details:
        for part in (info, bad, retry):
            packed.Unpack(part)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "Invalid",
        "orchestra",
        {"kind": "Pod", "name": "web"},
    )
    assert [(v.field, v.description, v.reason) for v in bad.field_violations] == [
        (v.path, v.message, v.reason) for v in VIOLATIONS
    ]
    assert retry.retry_delay.ToMilliseconds() == 2500


async def test_hundreds_of_violations_all_arrive() -> None:
    many = [
        Violation(f"spec.containers[{n}].comand", 'unknown field, did you mean "command"?')
        for n in range(700)
    ]
    sent = invalid("Pod", "web", many)
    async with serving(raising(sent)) as (_, caller, _):
        got = await caller.error(caller.call_raw)
    assert got.violations == tuple(many)
    assert got.message == sent.message


async def test_violations_beyond_the_bound_are_left_out_not_the_error() -> None:
    many = [Violation(f"field{n}", "x" * 1000) for n in range(2000)]
    async with serving(raising(invalid("Pod", "web", many))) as (_, caller, _):
        got = await caller.error(caller.call_raw)
    assert isinstance(got, Invalid)
    assert 50 < len(got.violations) < 2000


async def test_a_defect_is_told_without_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(raising(KeyError("secret"))) as (_, caller, _):
        got = await caller.error(caller.call_raw)
    assert isinstance(got, InternalError)
    assert "secret" not in got.message
    assert "its log has the cause" in got.message
    assert any(record.exc_info for record in caplog.records)


async def test_errors_of_lower_floors_are_translated() -> None:
    async with serving(raising(StoreTrouble("the store is starting"))) as (_, caller, _):
        got = await caller.error(caller.call_raw)
    assert isinstance(got, Unavailable)
    assert got.message == "the store is starting"


async def test_the_callers_deadline_is_kept() -> None:
    async with serving(waiting) as (_, caller, _):
        got = await caller.error(caller.call_raw, timeout=0.05)
    assert isinstance(got, DeadlineExceeded)
    assert "not known" in got.message


async def test_a_cancelled_stream_is_closed_on_the_server() -> None:
    async with serving(waiting) as (service, caller, _):
        call = caller.stream_raw(StringValue())
        await call.read()
        await asyncio.wait_for(service.opened.wait(), 5)
        call.cancel()
        await asyncio.wait_for(service.closed.wait(), 5)


async def test_stopping_ends_streams_at_once_with_a_sentence() -> None:
    async with serving(waiting) as (service, caller, server):
        call = caller.stream_raw(StringValue())
        await call.read()
        await asyncio.wait_for(service.opened.wait(), 5)
        await asyncio.wait_for(server.stop(grace_seconds=30), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        got = from_rpc_error(caught.value)
        assert isinstance(got, Unavailable)
        assert "stopping" in got.message
        assert service.closed.is_set()


async def test_nobody_listens() -> None:
    target = "127.0.0.1:1"
    async with open_channel(target) as channel:
        caller = Caller(channel, target)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call_raw(StringValue(), timeout=5)
    assert never_sent(caught.value)
    got = from_rpc_error(caught.value, target)
    assert isinstance(got, Unavailable)
    assert got.message == "cannot reach the master at 127.0.0.1:1: is it running? (orchestra up starts one)"


async def test_of_several_nobody_listens() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Caller(channel, "127.0.0.1:1").call_raw(StringValue(), timeout=5)
    got = from_rpc_error(caught.value, "127.0.0.1:1,127.0.0.1:2")
    assert got.message == "cannot reach any master at 127.0.0.1:1,127.0.0.1:2: do they run?"
    assert plain_cause(caught.value) == "nothing listens there"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Stream removed (Socket closed)", "it has gone"),
        ("Stream removed (recvmsg:Connection reset by peer (104))", "it has gone"),
        ("ping timeout", "it does not answer any more"),
        ("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: No route to host",
         "there is no way to that address"),
        ("something else", "something else"),
        ("", "unavailable"),
    ],
)  # fmt: skip
def test_causes_are_told_in_words(said: str, words: str) -> None:
    nothing = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details=said)
    assert plain_cause(error) == words


async def test_a_lost_connection_may_have_been_a_sent_call() -> None:
    async with serving(raising(Unavailable("the store is full"))) as (_, caller, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call_raw(StringValue())
    assert not never_sent(caught.value)


async def test_an_unknown_call() -> None:
    async with serving(waiting) as (_, caller, _):
        got = await caller.error(caller.missing_raw)
    assert isinstance(got, NotSupported)


async def test_an_oversize_request_is_refused_clearly() -> None:
    async with serving(waiting) as (_, caller, _):
        got = await caller.error(caller.call_raw, StringValue(value="x" * (REQUEST_BYTES_MAX + 1)))
    assert isinstance(got, BadRequest)
    assert "larger than the wire takes" in got.message


async def test_an_oversize_request_of_a_careless_client_is_refused_by_the_server() -> None:
    async with serving(waiting) as (_, caller, _), grpc.aio.insecure_channel(caller.target) as careless:
        raw = careless.unary_unary(
            "/orchestra.test.T/Call",
            request_serializer=BytesValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(BytesValue(value=b"x" * (REQUEST_BYTES_MAX + 1)), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_beyond_the_bound_are_refused() -> None:
    server, service = RpcServer(calls_max=1), Service(waiting)
    server.add(lambda it, to: it.add_to(to), service, "orchestra.test.T")
    port = await server.start("127.0.0.1:0")
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            caller = Caller(channel, f"127.0.0.1:{port}")
            call = caller.stream_raw(StringValue())
            await call.read()
            assert isinstance(await caller.error(caller.call_raw), TooManyRequests)
    finally:
        await server.stop(0)


async def test_a_taken_port_is_said_clearly() -> None:
    async with serving(waiting) as (_, caller, _):
        with pytest.raises(ListenError, match=f"cannot listen on {caller.target}"):
            await RpcServer().start(caller.target)


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:port", "host:70000", "http://host:1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("address", ["host:1", "127.0.0.1:7600", "[::1]:7600", "unix:/tmp/x"])
def test_what_is_an_address(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("not_done", [True, False])
async def test_that_nothing_was_done_is_told(not_done: bool) -> None:
    async with serving(raising(Unavailable("no leader", not_done=not_done))) as (_, caller, _):
        assert (await caller.error(caller.call_raw)).not_done is not_done
