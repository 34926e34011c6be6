"""The wire between agents and masters: one stream each way, in order, late, and breakable.

The gate's and the hub's own Session generators and the agent's own Session class talk over it; gRPC alone is
left out. Each end lives in a process of its own, which may die or stand still.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio

from orchestra.apiserver.gate import AgentsGate
from orchestra.base.errors import ApiError
from orchestra.pb import agent_v1_pb2 as wire
from tests.simulation.processes import Process, Timeline

if TYPE_CHECKING:
    from tests.simulation.cluster.masters import Master

T = TypeVar("T")

# When a peer that says nothing any more is given up: what HTTP/2 keep-alive is set to find.
SILENCE_SECONDS = 3.0
_LOOK_SECONDS = 0.05


class HalfClosed(Exception):
    """The other side says no more."""


class Broken(EOFError):
    """The stream is no more; an agent's Session dials again."""


class Pipe(Generic[T]):
    """One direction of a stream, into a process."""

    def __init__(self, reader: Process, timeline: Timeline, delay_seconds: Callable[[], float]) -> None:
        self._reader = reader
        self._timeline = timeline
        self._delay_seconds = delay_seconds
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._last = 0.0
        self.silent = False
        self.ended: Exception | None = None

    def put(self, item: T) -> None:
        """Sends; it arrives after all that was sent before."""
        self._in_line(self._arrive, item)

    def _in_line(self, callback: Callable[[Any], None], item: Any) -> None:
        self._last = max(self._timeline.now + self._delay_seconds(), self._last + 1e-6)
        self._reader.loop.call_at_moment(self._last, callback, item)

    def _arrive(self, item: T) -> None:
        if not self.silent and self.ended is None:
            self._items.append(item)
            self._wake()

    def end(self, error: Exception, *, after_all: bool = False) -> None:
        """No more comes out: at once, or after what was sent before."""
        if after_all:
            self._in_line(self._end, error)
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


class _Context:
    """What the gate asks of gRPC's."""

    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Any:
        return self._metadata


class Link:
    """One session's two streams, and the call that serves it in the master."""

    def __init__(self, network: "Wire", node: str, agent: Process, master: "Master") -> None:
        assert master.process is not None
        self.node = node
        self.master = master.name
        self.agent = agent
        self.server = master.process
        self.metadata: Any = None
        # Since when one end stands still.
        self.frozen_at: float | None = None
        self.over = False
        self._network = network
        delay = network.delay_seconds
        self.up: Pipe[wire.AgentMessage] = Pipe(self.server, network.timeline, lambda: delay(node))
        self.down: Pipe[wire.MasterMessage] = Pipe(agent, network.timeline, lambda: delay(node))
        self._serving: asyncio.Task[None] | None = None

    # What the agent's Session calls, as on a gRPC stream.

    def Session(self, metadata: Any = None) -> "Link":
        self.metadata = metadata
        return self

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
            self.hang_up()

    # What becomes of it.

    def hang_up(self) -> None:
        """The master's kernel hears that the stream is over."""
        self._soon(self.server, self._end_call)

    def _end_call(self) -> None:
        if self._serving is not None:
            self._serving.cancel()

    def reset(self) -> None:
        """The agent's kernel hears that the stream is over."""
        self._soon(self.agent, self.down.end, Broken("connection reset"))

    def _soon(self, process: Process, callback: Callable[..., None], *args: Any) -> None:
        moment = self._network.timeline.now + self._network.delay_seconds(self.node)
        process.loop.call_at_moment(moment, callback, *args)

    def cut(self) -> None:
        """Both ends hear that it is broken."""
        self.reset()
        self.hang_up()

    def silence(self) -> None:
        """Nothing passes any more and nobody is told, until keep-alive finds out."""
        self.up.silent = self.down.silent = True
        moment = self._network.timeline.now + SILENCE_SECONDS
        self.agent.loop.call_at_moment(moment, self._found_silent)
        self.server.loop.call_at_moment(moment, self._end_call)

    def _found_silent(self) -> None:
        self.down.silent = False
        self.down.end(Broken("keep-alive had no answer"))

    def begin(self, gate: AgentsGate) -> None:
        """The master's kernel has taken it in."""
        self._serving = self.server.loop.create_task(self._serve(gate), name=f"call/{self.node}")

    async def _serve(self, gate: AgentsGate) -> None:
        """The master's side: what gRPC does around the generator."""
        answers = gate.Session(self._requests(), _Context(self.metadata))  # type: ignore[arg-type]
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


class Wire:
    """All links. cuts: pairs of node and master whose packets get lost both ways. slow: how many times slower
    than usual a node's are.
    """

    def __init__(self, timeline: Timeline, rng: random.Random) -> None:
        self.timeline = timeline
        self.cuts: set[tuple[str, str]] = set()
        self.slow: dict[str, float] = {}
        self.masters: dict[str, Master] = {}
        self._rng = rng
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
    async def dial(self, node: str, agent: Process, address: str) -> AsyncIterator[Any]:
        """A stream from a node to a master. Raises: OSError."""
        await asyncio.sleep(self.delay_seconds(node))
        master = self.masters[address]
        # One that stands still answers when it goes on.
        for _ in range(round(SILENCE_SECONDS / _LOOK_SECONDS)):
            if (node, master.name) not in self.cuts and not master.stopped:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            raise OSError("no route to the master")
        if master.gate is None:
            raise ConnectionRefusedError("no master listens")
        link = Link(self, node, agent, master)
        self._links[link] = None
        link._soon(link.server, link.begin, master.gate)
        try:
            yield link
        finally:
            link.cancel()

    def cut(self, node: str, master: str) -> None:
        """Nothing passes between the two, and nobody is told."""
        self.cuts.add((node, master))
        for link in self.links(node):
            if link.master == master:
                link.silence()

    def partition(self, node: str) -> None:
        """The node's cable is out."""
        for master in self.masters.values():
            self.cut(node, master.name)

    def join(self, node: str) -> None:
        """The cable is in again; streams that have not been given up are lost all the same."""
        self.cuts = {pair for pair in self.cuts if pair[0] != node}

    def partitioned(self) -> list[str]:
        """Nodes that do not reach every master."""
        return sorted({node for node, _ in self.cuts})

    def master_gone(self, process: Process) -> None:
        """A master's process is no more: its kernel tells whoever it can."""
        for link in self.links():
            if link.server is process:
                self.forget(link)
                if not link.down.silent:
                    link.reset()

    def tick(self) -> None:
        """Looks for ends that stand still: keep-alive finds them. Called often."""
        now = self.timeline.now
        for link in self.links():
            if not (link.agent.stopped or link.server.stopped):
                link.frozen_at = None
            elif link.frozen_at is None:
                link.frozen_at = now
            elif now - link.frozen_at >= SILENCE_SECONDS and not link.over:
                link.over = True
                link.cut()
