"""The wire between agents and the master's hub: one stream each way, in order, late, and breakable.

The hub's own Session generator and the agent's own Session class talk over it; gRPC alone is left out.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from orchestra.apiserver.agents import AgentHub
from orchestra.base.errors import ApiError
from orchestra.pb import agent_v1_pb2 as wire

T = TypeVar("T")

# When a peer that says nothing any more is given up: what HTTP/2 keep-alive is set to find.
SILENCE_SECONDS = 3.0


class HalfClosed(Exception):
    """The other side says no more."""


class Broken(EOFError):
    """The stream is no more; an agent's Session dials again."""


class Pipe(Generic[T]):
    """One direction of a stream."""

    def __init__(self, delay_seconds: Any) -> None:
        self._delay_seconds = delay_seconds
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._last = 0.0
        self.silent = False
        self.ended: Exception | None = None

    def put(self, item: T) -> None:
        """Sends; it arrives after all that was sent before."""
        loop = asyncio.get_running_loop()
        self._last = max(loop.time() + self._delay_seconds(), self._last + 1e-6)
        loop.call_at(self._last, self._arrive, item)

    def _arrive(self, item: T) -> None:
        if not self.silent and self.ended is None:
            self._items.append(item)
            self._wake()

    def end(self, error: Exception, *, after_all: bool = False) -> None:
        """No more comes out: at once, or after what was sent before."""
        if after_all:
            loop = asyncio.get_running_loop()
            self._last = max(loop.time() + self._delay_seconds(), self._last + 1e-6)
            loop.call_at(self._last, self._end, error)
        else:
            self._end(error)

    def _end(self, error: Exception) -> None:
        if self.ended is None and not self.silent:
            self.ended = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> T:
        """The next item. Raises: what the stream ended with."""
        while not self._items:
            if self.ended is not None:
                raise self.ended
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()


class Link:
    """One session's two streams, and the call that serves it in the master."""

    def __init__(self, network: "Network", node: str) -> None:
        self.node = node
        self._network = network
        self.up: Pipe[wire.AgentMessage] = Pipe(lambda: network.delay_seconds(node))
        self.down: Pipe[wire.MasterMessage] = Pipe(lambda: network.delay_seconds(node))
        self.serving: asyncio.Task[None] | None = None

    # What the agent's Session calls, as on a gRPC stream.

    async def write(self, message: wire.AgentMessage) -> None:
        if self.down.ended is not None:
            raise Broken("the stream is broken")
        copy = wire.AgentMessage()
        copy.CopyFrom(message)
        self.up.put(copy)

    async def read(self) -> wire.MasterMessage | Any:
        try:
            return await self.down.get()
        except HalfClosed:
            return grpc.aio.EOF

    async def done_writing(self) -> None:
        self.up.end(HalfClosed(), after_all=True)

    def cancel(self) -> None:
        """The agent lets go: the master hears of it, unless the wire is silent."""
        self.down.end(Broken("cancelled"))
        if not self.up.silent:
            asyncio.get_running_loop().call_later(self._network.delay_seconds(self.node), self._hang_up)

    def _hang_up(self) -> None:
        if self.serving is not None:
            self.serving.cancel()

    # What becomes of it.

    def cut(self) -> None:
        """Both ends hear at once that it is broken (the peer's kernel answers with a reset)."""
        self.down.end(Broken("connection reset"))
        self._hang_up()

    def silence(self) -> None:
        """Nothing passes any more and nobody is told, until keep-alive finds out."""
        self.up.silent = self.down.silent = True
        asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._found_silent)

    def _found_silent(self) -> None:
        self.down.silent = False
        self.cut()

    async def serve(self, hub: AgentHub) -> None:
        """The master's side: what gRPC does around the hub's generator."""
        answers = hub.Session(self._requests(), None)  # type: ignore[arg-type]
        error: Exception = HalfClosed()
        try:
            async with contextlib.aclosing(answers):
                async for message in answers:
                    if isinstance(message, bytes):
                        message = wire.MasterMessage.FromString(message)
                    self.down.put(message)
        except ApiError as refused:
            error = Broken(str(refused))
        except asyncio.CancelledError:
            error = Broken("cancelled")
        finally:
            self.down.end(error, after_all=True)
            self._network.forget(self)

    async def _requests(self) -> AsyncIterator[wire.AgentMessage]:
        while True:
            try:
                message = await self.up.get()
            except HalfClosed:
                return
            yield message


class _Stub:
    """Stands where gRPC's stub does."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def Session(self, metadata: Any = None) -> Link:
        return self._link


class Network:
    """All links. partitioned: nodes whose packets get lost both ways. slow: how many times slower than usual."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.hub: AgentHub | None = None
        self.partitioned: set[str] = set()
        self.slow: dict[str, float] = {}
        self._links: dict[Link, None] = {}

    def delay_seconds(self, node: str) -> float:
        """How long a message takes now."""
        return (0.1 + self._rng.random() ** 3 * 5.0) * self.slow.get(node, 1.0) / 1000

    def forget(self, link: Link) -> None:
        """The link's call is over."""
        self._links.pop(link, None)

    def links(self, node: str = "") -> list[Link]:
        """Open links, of one node or of all."""
        return [link for link in self._links if not node or link.node == node]

    @contextlib.asynccontextmanager
    async def dial(self, node: str) -> AsyncIterator[Any]:
        """A stream from a node to whichever master answers. Raises: OSError."""
        await asyncio.sleep(self.delay_seconds(node))
        if node in self.partitioned:
            await asyncio.sleep(SILENCE_SECONDS)
            raise OSError("no route to the master")
        if self.hub is None:
            raise ConnectionRefusedError("no master listens")
        link = Link(self, node)
        self._links[link] = None
        link.serving = asyncio.get_running_loop().create_task(link.serve(self.hub), name=f"call/{node}")
        try:
            yield _Stub(link)
        finally:
            link.cancel()

    def partition(self, node: str) -> None:
        """The node's cable is out."""
        self.partitioned.add(node)
        for link in self.links(node):
            link.silence()

    def join(self, node: str) -> None:
        """The cable is in again; streams that have not been given up are lost all the same."""
        self.partitioned.discard(node)

    async def hang_up(self) -> None:
        """The master's process is gone: all its calls end where they are, and every agent is told by its kernel."""
        self.hub = None
        tasks = []
        for link in self.links():
            if link.serving is not None:
                link.serving.cancel()
                tasks.append(link.serving)
        await asyncio.gather(*tasks, return_exceptions=True)
