"""The node-port proxy over real sockets."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agents.balancing import Route
from agents.proxy import NodePortProxy
from agents.routes import SERVICE_NAME_LABEL, Address, RoutePlan, routes_of
from orchestra.pb import core, discovery

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def until(holds: Callable[[], bool]) -> None:
    """For what happens on the loop and is told to nobody."""
    while not holds():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


def service(node_port: int, **spec: str) -> core.Service:
    found = core.Service()
    found.metadata.namespace, found.metadata.name = "default", "web"
    found.spec.type = "NodePort"
    found.spec.ports.add(name="http", port=80, nodePort=node_port)
    for field, value in spec.items():
        setattr(found.spec, field, value)
    return found


def slice_of(
    name: str, port: int, *, ready: bool | None = True, terminating: bool = False
) -> discovery.EndpointSlice:
    found = discovery.EndpointSlice()
    found.metadata.namespace, found.metadata.name = "default", name
    found.metadata.labels[SERVICE_NAME_LABEL] = "web"
    found.ports.add(name="http", port=port, protocol="TCP")
    endpoint = found.endpoints.add(addresses=[HOST], nodeName=f"node-of-{name}")
    if ready is not None:
        endpoint.conditions.ready = ready
    endpoint.conditions.terminating = terminating
    return found


class Backends:
    """Servers that say who they are."""

    def __init__(self) -> None:
        self.servers: dict[str, asyncio.Server] = {}

    async def add(self, name: str, handler: Handler | None = None) -> int:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = await reader.readline()
            writer.write(name.encode() + b":" + line)
            await writer.drain()
            writer.close()

        self.servers[name] = await asyncio.start_server(handler or greet, HOST, 0)
        return int(self.servers[name].sockets[0].getsockname()[1])

    async def close(self) -> None:
        for server in self.servers.values():
            server.close()


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    found = Backends()
    yield found
    await found.close()


@pytest.fixture
async def proxy() -> AsyncIterator[NodePortProxy]:
    found = NodePortProxy("n1", HOST, random.Random(7))
    yield found
    await found.close()


async def ask(port: int, line: bytes = b"hi\n") -> str:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(line)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def test_connections_are_spread_over_the_ready_endpoints(
    proxy: NodePortProxy, backends: Backends
) -> None:
    port = free_port()
    proxy.set_service(service(port))
    for name in ("a", "b"):
        proxy.set_slice(slice_of(name, await backends.add(name)))
    proxy.set_slice(slice_of("c", await backends.add("c"), ready=False))
    proxy.set_slice(slice_of("d", await backends.add("d"), terminating=True))
    await proxy.settle()
    assert proxy.ports() == [port]
    answers = {await ask(port) for _ in range(40)}
    assert answers == {"a:hi\n", "b:hi\n"}


async def test_settling_waits_for_the_first_answer_of_an_endpoint_that_leaves(
    proxy: NodePortProxy, backends: Backends
) -> None:
    """It may not even have accepted the connection: told to stop now, it would lose a request."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        asked.set()
        await answer.wait()
        writer.write(b"a:" + line)
        writer.close()

    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a", slow)))
    assert await proxy.settle() is None
    asking = asyncio.ensure_future(ask(port))
    async with asyncio.timeout(5):
        await asked.wait()
        proxy.set_slice(slice_of("b", await backends.add("b")))
        proxy.remove_slice("default", "a")
        settling = await proxy.settle()
        assert settling is not None
        assert await ask(port) == "b:hi\n", "the new route is in force at once"
        assert not settling.done()
        answer.set()
        await settling
        assert await asking == "a:hi\n"
    proxy.set_slice(slice_of("b", free_port()))
    assert await proxy.settle() is None, "every connection of b was answered long ago"


async def test_a_server_that_speaks_first_is_heard_whole(proxy: NodePortProxy, backends: Backends) -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\n")
        writer.write_eof()
        writer.close()

    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a", banner)))
    await proxy.settle()
    async with asyncio.timeout(10):
        for _ in range(50):
            reader, writer = await asyncio.open_connection(HOST, port)
            assert await reader.read() == b"220 ready\n"
            writer.close()
        await until(lambda: not proxy.in_flight()[port])


async def test_a_dead_endpoint_costs_no_request(proxy: NodePortProxy, backends: Backends) -> None:
    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a")))
    proxy.set_slice(slice_of("dead", free_port()))
    await proxy.settle()
    assert {await ask(port) for _ in range(30)} == {"a:hi\n"}


async def test_an_endpoint_that_leaves_gets_no_new_connection_and_keeps_its_old_ones(
    proxy: NodePortProxy, backends: Backends
) -> None:
    begun = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(5)
        begun.set()
        writer.write(b"a:" + first + await reader.readline())
        await writer.drain()
        writer.close()

    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a", slow)))
    await proxy.settle()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"begun")
    await begun.wait()
    proxy.set_slice(slice_of("b", await backends.add("b")))
    proxy.remove_slice("default", "a")
    await proxy.settle()
    assert {await ask(port) for _ in range(10)} == {"b:hi\n"}
    writer.write(b" before\n")
    assert await reader.read() == b"a:begun before\n"
    writer.close()


async def test_a_connection_waits_for_the_first_endpoint(proxy: NodePortProxy, backends: Backends) -> None:
    port = free_port()
    proxy.set_service(service(port))
    await proxy.settle()
    waiting = asyncio.create_task(ask(port))
    await until(lambda: proxy.waiting() == 1)
    proxy.set_slice(slice_of("a", await backends.add("a")))
    await proxy.settle()
    assert await waiting == "a:hi\n"


async def test_half_closed_connections_still_answer(proxy: NodePortProxy, backends: Backends) -> None:
    async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(str(len(data)).encode())
        await writer.drain()
        writer.close()

    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a", until_end)))
    await proxy.settle()
    for size in (0, 10, 3_000_000):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x" * size)
        writer.write_eof()
        assert await reader.read() == str(size).encode()
        writer.close()


async def test_a_slow_reader_stops_the_sender(proxy: NodePortProxy, backends: Backends) -> None:
    sent = 0
    blocked = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        block = b"x" * 65_536
        try:
            while sent < 512 << 20:
                writer.write(block)
                sent += len(block)
                drain = asyncio.ensure_future(writer.drain())
                done, _ = await asyncio.wait([drain], timeout=0.5)
                if not done:
                    blocked.set()
                await drain
        except OSError:
            pass
        finally:
            writer.close()

    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a", pour)))
    await proxy.settle()
    reader, writer = await asyncio.open_connection(HOST, port, limit=1024)
    await blocked.wait()
    assert sent < 64 << 20
    writer.transport.abort()
    assert reader is not None
    await until(lambda: not proxy.in_flight()[port])


async def test_a_taken_node_port_is_listened_on_once_it_is_free(
    proxy: NodePortProxy, backends: Backends
) -> None:
    blocker = socket.socket()
    blocker.bind((HOST, 0))
    blocker.listen()
    port = int(blocker.getsockname()[1])
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a")))
    await proxy.settle()
    assert proxy.ports() == []
    blocker.close()
    await until(lambda: proxy.ports() == [port])
    assert await ask(port) == "a:hi\n"


async def test_a_service_that_goes_is_not_listened_for(proxy: NodePortProxy, backends: Backends) -> None:
    port = free_port()
    proxy.set_service(service(port))
    proxy.set_slice(slice_of("a", await backends.add("a")))
    await proxy.settle()
    proxy.keep_only(set(), set())
    await proxy.settle()
    assert proxy.ports() == []
    with pytest.raises(OSError):
        await asyncio.open_connection(HOST, port)


def test_a_client_stays_with_its_endpoint_under_affinity_while_it_is_there() -> None:
    a, b, c = (Address(HOST, n) for n in (1, 2, 3))
    route = Route(RoutePlan(30000, "s", frozenset({a, b, c}), 10), random.Random(1))
    first = route.choose("client", set(), 0.0)
    assert all(route.choose("client", set(), t) == first for t in (1.0, 5.0, 14.0))
    assert len({route.choose(f"other-{i}", set(), 0.0) for i in range(20)}) > 1
    assert first is not None
    route.change(RoutePlan(30000, "s", frozenset({a, b, c} - {first}), 10))
    second = route.choose("client", set(), 15.0)
    assert second != first
    assert route.choose("client", set(), 16.0) == second


def test_the_less_busy_of_two_is_chosen() -> None:
    a, b = Address(HOST, 1), Address(HOST, 2)
    route = Route(RoutePlan(30000, "s", frozenset({a, b})), random.Random(1))
    for _ in range(10):
        chosen = route.choose("x", set(), 0.0)
        assert chosen is not None
        route.took(chosen)
    assert route.active == {a: 5, b: 5}
    for address in (a, b):
        for _ in range(5):
            route.gave_back(address)
    assert route.active == {}
    assert route.choose("x", {a, b}, 0.0) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {1, 2}),
        ({"type": "ClusterIP"}, None),
        ({"externalTrafficPolicy": "Local"}, {1}),
    ],
)
def test_routes_follow_the_services_policies(spec: dict[str, str], expected: set[int] | None) -> None:
    slices = [slice_of("a", 1), slice_of("b", 2, ready=None), slice_of("c", 3, ready=False)]
    plans = routes_of(service(30000, **spec), slices, "node-of-a")
    found = None if not plans else {address.port for address in plans[0].addresses}
    assert found == expected
