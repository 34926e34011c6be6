"""The node-port proxy: connections to a Service's node port, spread over its ready endpoints.

Works on transports, not streams: a byte goes from one socket's callback into the other's buffer, and a full
buffer stops the reading on the other side. An endpoint that is no longer ready gets no new connection from
the moment `settle` returns; connections it has go on until they end. What settle() returns says when it has
begun to answer all of them: until then it may not even have accepted one, and must not be told to stop.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from agents.balancing import Route
from agents.routes import SERVICE_NAME_LABEL, Address, RoutePlan, routes_of
from orchestra.aio.backoff import Backoff
from orchestra.base.log import get_logger
from orchestra.pb import core, discovery

log = get_logger("agent.proxy")

CONNECTIONS_MAX = 4096
_WAIT_FOR_ENDPOINT_S = 1.0
_CONNECT_TIMEOUT_S = 2.0
# How long a connection that an endpoint has not answered when it left is waited for.
LAST_ANSWER_S = 1.0
_BACKLOG = 1024
Key = tuple[str, str]


class _Side(asyncio.Protocol):
    """One end of a proxied connection; `peer` is the other."""

    def __init__(self, pair: "_Connection") -> None:
        self.pair = pair
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.ended = False
        self._early = b""
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        with contextlib.suppress(OSError, AttributeError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            # Said before the other end was there. It is kept, and nothing more is read meanwhile.
            self._early += data
            if self.transport is not None and not self._paused:
                self._paused = True
                self.transport.pause_reading()
        elif self.peer.transport is not None:
            self.peer.transport.write(data)

    def join(self, peer: "_Side") -> None:
        """From now on everything goes to the other end, what was kept first."""
        self.peer = peer
        if peer.transport is None:
            return
        if self._early:
            peer.transport.write(self._early)
            self._early = b""
        if self.ended:
            peer.transport.write_eof()
        elif self._paused and self.transport is not None:
            self.transport.resume_reading()
        self._paused = False

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ended = True
        peer = self.peer
        if peer is None or peer.transport is None:
            return True
        if peer.ended:
            peer.transport.close()
            return False
        if peer.transport.can_write_eof() and not peer.transport.is_closing():
            peer.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        peer = self.peer
        if peer is not None and peer.transport is not None:
            if error is not None:
                peer.transport.abort()
            else:
                peer.transport.close()
        self.pair.lost(self)


class _Client(_Side):
    """The client's end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pair.accepted()


class _Backend(_Side):
    """The endpoint's end."""

    def data_received(self, data: bytes) -> None:
        self.pair.answered()
        super().data_received(data)


def _same(side: _Side) -> _Side:
    return side


class _Connection:
    """A client's connection, and the endpoint's once one is found."""

    def __init__(self, proxy: "NodePortProxy", route: Route) -> None:
        self._proxy = proxy
        self._route = route
        self.client = _Client(self)
        self._backend: _Backend | None = None
        self._address: Address | None = None
        self._unanswered: Address | None = None
        self._task: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        transport = self.client.transport
        if transport is None:
            return
        if not self._proxy.admit(self):
            transport.abort()
            return
        self._task = asyncio.get_running_loop().create_task(self._connect(transport))

    async def _connect(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _WAIT_FOR_ENDPOINT_S
        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if peer else ""
        tried: set[Address] = set()
        while not transport.is_closing():
            address = self._route.choose(client, tried, loop.time())
            if address is None:
                if not await self._route.wait_for_change(give_up - loop.time()):
                    transport.abort()
                    return
                tried.clear()
                continue
            tried.add(address)
            backend = _Backend(self)
            # Counted before it is there: many at once must not all choose the same one.
            self._route.took(address)
            self._unanswered = address
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await loop.create_connection(partial(_same, backend), address.host, address.port)
            except (OSError, TimeoutError, ValueError, OverflowError):
                # The last two: what somebody wrote into an EndpointSlice is no address.
                self._give_back(address)
                continue
            except asyncio.CancelledError:
                self._give_back(address)
                raise
            if address not in self._route.plan.addresses and backend.transport is not None:
                # It left while it was being dialled: it may be told to stop any moment now.
                self._give_back(address)
                backend.transport.abort()
                continue
            self._join(backend, address, transport)
            return

    def answered(self) -> None:
        """The endpoint speaks, or never will."""
        if self._unanswered is not None:
            self._route.answered(self._unanswered)
            self._unanswered = None

    def _give_back(self, address: Address) -> None:
        self.answered()
        self._route.gave_back(address)

    def _join(self, backend: _Backend, address: Address, transport: asyncio.Transport) -> None:
        self._backend, self._address = backend, address
        if backend.transport is None:
            # It has ended already; what it said, if anything, is still the client's.
            self._give_back(address)
            self._address = None
            backend.join(self.client)
            transport.close()
            return
        backend.join(self.client)
        self.client.join(backend)
        if self.client.transport is None:
            backend.transport.abort()
        elif self.client.ended and backend.ended:
            backend.transport.close()

    def lost(self, side: _Side) -> None:
        if side is self.client:
            if self._task is not None:
                self._task.cancel()
            self._proxy.dismiss(self)
        elif side is self._backend and self._address is not None:
            self._give_back(self._address)
            self._address = None

    def abort(self) -> None:
        """Ends both sides now."""
        for side in (self.client, self._backend):
            if side is not None and side.transport is not None:
                side.transport.abort()


class NodePortProxy:
    """All node ports of one node. Feed it Services and EndpointSlices, then settle()."""

    def __init__(self, node: str, address: str, rng: random.Random | None = None) -> None:
        self._node = node
        self._address = address
        self._rng = rng or random.Random()
        self._services: dict[Key, core.Service] = {}
        self._slices: dict[Key, dict[str, discovery.EndpointSlice]] = {}
        self._dirty: set[Key] = set()
        self._ports_of: dict[Key, set[int]] = {}
        self._routes: dict[int, Route] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._retry_task: asyncio.Task[None] | None = None
        self._backoff = Backoff(200, 10_000, rng=self._rng)
        self._connections: set[_Connection] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._closed = False
        # A retry and a change at once would each take the port that the other has just taken.
        self._listening = asyncio.Lock()

    def set_service(self, service: core.Service) -> None:
        """A Service is new or has changed."""
        key = (service.metadata.namespace, service.metadata.name)
        self._services[key] = service
        self._dirty.add(key)

    def remove_service(self, namespace: str, name: str) -> None:
        """A Service is gone."""
        self._services.pop((namespace, name), None)
        self._dirty.add((namespace, name))

    def set_slice(self, found: discovery.EndpointSlice) -> None:
        """An EndpointSlice is new or has changed."""
        key = (found.metadata.namespace, found.metadata.labels.get(SERVICE_NAME_LABEL, ""))
        self._slices.setdefault(key, {})[found.metadata.name] = found
        self._dirty.add(key)

    def remove_slice(self, namespace: str, name: str) -> None:
        """An EndpointSlice is gone."""
        for key, slices in list(self._slices.items()):
            if key[0] == namespace and slices.pop(name, None) is not None:
                self._dirty.add(key)
                if not slices:
                    del self._slices[key]

    def keep_only(self, services: set[Key], slices: set[Key]) -> None:
        """Forgets everything else: after the first full picture."""
        for key in [k for k in self._services if k not in services]:
            self.remove_service(*key)
        for key, found in list(self._slices.items()):
            for name in [n for n in found if (key[0], n) not in slices]:
                self.remove_slice(key[0], name)

    async def settle(self) -> "asyncio.Task[None] | None":
        """Brings everything that was told into force: endpoints at once, then listening sockets.

        Returns what is done when the endpoints that left have begun to answer every connection they were
        given; None: they have. Bound: LAST_ANSWER_S.
        """
        dirty, self._dirty = self._dirty, set()
        answers: list[asyncio.Future[None]] = []
        for key in dirty:
            service = self._services.get(key)
            plans = routes_of(service, self._slices.get(key, {}).values(), self._node) if service else []
            answers += self._put(key, plans)
        await self._listen()
        if not answers:
            return None
        waiting = asyncio.get_running_loop().create_task(_wait_for(answers))
        self._answers.add(waiting)
        waiting.add_done_callback(self._answers.discard)
        return waiting

    def _put(self, key: Key, plans: list[RoutePlan]) -> list[asyncio.Future[None]]:
        """Changes a Service's routes; what has to be answered yet by endpoints that left them."""
        answers: list[asyncio.Future[None]] = []
        wanted = {plan.node_port: plan for plan in plans}
        for port in self._ports_of.get(key, set()) - set(wanted):
            gone = self._routes.pop(port, None)
            if gone is not None:
                answers += gone.all_answered(gone.plan.addresses)
        for port, plan in wanted.items():
            route = self._routes.get(port)
            if route is None:
                self._routes[port] = Route(plan, self._rng)
            else:
                left = set(route.plan.addresses) - set(plan.addresses)
                route.change(plan)
                answers += route.all_answered(left)
        if wanted:
            self._ports_of[key] = set(wanted)
        else:
            self._ports_of.pop(key, None)
        return answers

    async def _listen(self) -> None:
        async with self._listening:
            await self._listen_alone()

    async def _listen_alone(self) -> None:
        for port in set(self._servers) - set(self._routes):
            self._servers.pop(port).close()
        failed = False
        for port in sorted(set(self._routes) - set(self._servers)):
            try:
                self._servers[port] = await asyncio.get_running_loop().create_server(
                    self._acceptor(port), self._address, port, backlog=_BACKLOG, reuse_address=True
                )
            except OSError as error:
                failed = True
                log.warning("cannot listen on a node port", address=self._address, port=port, why=error)
        if failed and self._retry is None and not self._closed:
            wait_s = self._backoff.next_ms() / 1000
            self._retry = asyncio.get_running_loop().call_later(wait_s, self._listen_again)
        elif not failed:
            self._backoff.reset()

    def _listen_again(self) -> None:
        self._retry = None
        self._retry_task = asyncio.get_running_loop().create_task(self._listen())

    def _acceptor(self, port: int) -> Callable[[], asyncio.Protocol]:
        def accept() -> asyncio.Protocol:
            return _Connection(self, self._routes[port]).client if port in self._routes else _Refuser()

        return accept

    def admit(self, connection: Any) -> bool:
        """Whether there is room for one more connection."""
        if self._closed or len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def dismiss(self, connection: Any) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def ports(self) -> list[int]:
        """The node ports that are listened on."""
        return sorted(self._servers)

    def waiting(self) -> int:
        """Connections that wait for an endpoint."""
        return sum(route.waiting for route in self._routes.values())

    def in_flight(self) -> dict[int, dict[Address, int]]:
        """Open connections by node port and endpoint."""
        return {port: dict(route.active) for port, route in self._routes.items()}

    async def close(self) -> None:
        """Stops listening and ends every connection."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for task in (self._retry_task, *self._answers):
            if task is not None:
                task.cancel()
        for server in self._servers.values():
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for server in self._servers.values():
            await server.wait_closed()
        self._servers.clear()


async def _wait_for(answers: list[asyncio.Future[None]]) -> None:
    # Not cancelled when the time is over: others may wait for the same.
    await asyncio.wait(answers, timeout=LAST_ANSWER_S)


class _Refuser(asyncio.Protocol):
    """For a connection accepted just as its route went away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
