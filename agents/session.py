"""The agent's session with a master: one stream that is dialled again for ever.

Up: Register, then what changed, gathered for a moment so that many changes travel together. Down: orders,
handed to the house one after another. While nobody answers, everything goes on; the next Register carries
the state of every pod, so nothing that happened in between is lost.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import grpc
import grpc.aio

from agents.masters import Masters
from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.keys import LOST_MASTER
from orchestra.aio.rpc.status import plain_cause
from orchestra.base.log import get_logger
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import agent_v1_pb2_grpc as rpc
from orchestra.pb import core

log = get_logger("agent.session")

# Reports that come within this time travel together; a lone one waits for nobody longer.
_GATHER_S = 0.002
_WELCOME_TIMEOUT_S = 5.0
_HEARTBEAT_DEFAULT_S = 10.0
_EVENTS_MAX = 512
_GOODBYE_TIMEOUT_S = 1.0
_POD_REPORTS_PER_MESSAGE = 500
# How a stream says that it is over; InvalidStateError to a write that comes just after its end.
_BROKEN = (
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    asyncio.InvalidStateError,
    OSError,
    TimeoutError,
    EOFError,
)
# Opens the way to a master; leaving it closes the way.
Dial: TypeAlias = Callable[[str], contextlib.AbstractAsyncContextManager["rpc.AgentsAsyncStub"]]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[wire.AgentMessage, wire.MasterMessage]"


class House(Protocol):
    """What a session needs of its agent."""

    def register(self) -> wire.Register:
        """The first message, with the state of every pod now."""
        ...

    def heartbeat(self) -> wire.Heartbeat:
        """Measured now."""
        ...

    async def orders(self, orders: wire.Orders) -> "asyncio.Task[None] | None":
        """Acts; returns when routes are in force. What it returns, if anything, is done when nothing is on
        its way any more to endpoints that lost their routes."""
        ...

    def drained(self, uid: str) -> None:
        """No agent routes to this pod any more."""
        ...

    def open_log(self, order: wire.OpenLog, stub: rpc.AgentsStub) -> None:
        """Starts pushing a log."""
        ...


class Session:
    """The link to whichever master answers."""

    def __init__(
        self,
        masters: Sequence[str],
        house: House,
        *,
        token: str = "",
        rng: random.Random | None = None,
        dial: Dial | None = None,
    ) -> None:
        self._dial = dial or _dial
        self._house = house
        self._token = (("authorization", f"Bearer {token}"),) if token else ()
        self._rng = rng or random.Random()
        self._masters = Masters(masters, self._rng)
        self._synced_here = False
        # Bound: one report a pod.
        self._reports: dict[str, wire.PodReport] = {}
        self._events: deque[core.Event] = deque(maxlen=_EVENTS_MAX)
        self._applied = 0
        self._applied_sent = 0
        # Orders in force, oldest first, whose sequence is not told yet because something is on its way.
        self._settling: deque[tuple[int, asyncio.Task[None] | None]] = deque()
        self._wake = asyncio.Event()
        self._connected = False
        # Bound: what few masters say in a few words each.
        self._complained: set[tuple[str, str]] = set()
        self._goodbye: wire.Goodbye | None = None
        self._said_goodbye = asyncio.Event()
        self.synced = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a master has welcomed this agent and the stream stands."""
        return self._connected

    def report(self, report: wire.PodReport) -> None:
        """Sends a pod's state soon; a newer one takes an older one's place."""
        self._reports[report.uid] = report
        self._wake.set()

    def record(self, event: core.Event) -> None:
        """Sends an event soon. Bound: the oldest of 512 unsent ones is dropped."""
        self._events.append(event)
        self._wake.set()

    async def say_goodbye(self, *, restarting_s: int = 0) -> None:
        """Tells the master that this agent leaves. Bound: 1 s."""
        if not self._connected:
            return
        self._goodbye = wire.Goodbye(restarting=restarting_s > 0, restart_seconds=restarting_s)
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                await self._said_goodbye.wait()

    async def run(self) -> None:
        """Dials for ever."""
        while True:
            master = self._masters.take()
            self._synced_here = False
            try:
                wait_ms = await self._talk(master)
            except _BROKEN as error:
                self._complain("no master", master, _said(error))
                if self._connected:
                    wait_ms = self._masters.ended(master, synced=self._synced_here)
                else:
                    wait_ms = self._masters.failed(master)
            finally:
                self._connected = False
            if self._said_goodbye.is_set():
                return
            await asyncio.sleep(wait_ms / 1000)

    async def _talk(self, master: str) -> int:
        """One stream from its first message to its end. Milliseconds to stay away, when refused."""
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._masters.connect_seconds()):
                stub = await stack.enter_async_context(self._dial(master))
            call = stub.Session(metadata=self._metadata())
            try:
                # What is in Register needs no sending of its own.
                self._reports.clear()
                await call.write(wire.AgentMessage(register=self._house.register()))
                async with asyncio.timeout(_WELCOME_TIMEOUT_S):
                    first = await self._read(call)
                if first.HasField("refused"):
                    return self._refused(master, first.refused)
                log.info("registered", master=first.welcome.master or master)
                self._connected = True
                self._masters.welcomed(first.welcome.masters)
                self._applied = self._applied_sent = 0
                self._settling.clear()
                interval_s = first.welcome.heartbeat_interval_ms / 1000 or _HEARTBEAT_DEFAULT_S
                return await self._converse(call, stub, master, interval_s)
            finally:
                call.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...] | None:
        lost = ((LOST_MASTER, self._masters.lost),) if self._masters.lost else ()
        return (*self._token, *lost) or None

    def _complain(self, what: str, master: str, why: str) -> None:
        """Once for each master and cause, until one has given this agent its orders again."""
        if (master, why) not in self._complained:
            self._complained.add((master, why))
            log.warning(what, master=master, why=why)

    def _refused(self, master: str, refused: wire.Refused) -> int:
        """Milliseconds to stay away."""
        if refused.leader_address:
            log.info("sent on to the leading master", master=master, leader=refused.leader_address)
            return self._masters.redirected(refused.leader_address)
        self._complain("refused by the master", master, refused.reason)
        return self._masters.refused(int(refused.retry_after_ms))

    @staticmethod
    async def _read(call: _Call) -> wire.MasterMessage:
        message = await call.read()
        if not isinstance(message, wire.MasterMessage):
            raise EOFError("the master closed the session")
        return message

    async def _converse(self, call: _Call, stub: rpc.AgentsStub, master: str, interval_s: float) -> int:
        loop = asyncio.get_running_loop()
        speaking = loop.create_task(self._speak(call, interval_s), name="session-up")
        listening = loop.create_task(self._listen(call, stub, master), name="session-down")
        try:
            done, _ = await asyncio.wait((speaking, listening), return_when=asyncio.FIRST_COMPLETED)
            if speaking in done and speaking.exception() is None:
                # Hanging up now could overtake the goodbye: the master ends the session once it has it.
                await asyncio.wait((listening,), timeout=_GOODBYE_TIMEOUT_S)
                self._said_goodbye.set()
                return 0
            for task in done:
                if (error := task.exception()) is not None:
                    raise error
            return listening.result()
        finally:
            for task in (speaking, listening):
                task.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)

    async def _listen(self, call: _Call, stub: rpc.AgentsStub, master: str) -> int:
        while True:
            message = await self._read(call)
            match message.WhichOneof("message"):
                case "orders":
                    settling = await self._house.orders(message.orders)
                    self._settling.append((message.orders.sequence, settling))
                    if settling is not None:
                        settling.add_done_callback(self._settled)
                    if message.orders.synced:
                        self.synced.set()
                        # Not at the welcome: a session that ends between the two, each time, is no success.
                        self._synced_here = True
                        self._complained.clear()
                        self._masters.synced()
                    self._settled()
                case "drained":
                    self._house.drained(message.drained.uid)
                case "open_log":
                    self._house.open_log(message.open_log, stub)
                case "refused":
                    return self._refused(master, message.refused)
                case other:
                    log.debug("unknown message from the master", which=other)

    def _settled(self, _: object = None) -> None:
        """Tells the master how far orders are in force, in their order."""
        while self._settling and (self._settling[0][1] is None or self._settling[0][1].done()):
            self._applied = self._settling.popleft()[0]
        self._wake.set()

    async def _speak(self, call: _Call, interval_s: float) -> None:
        """Until the goodbye is said."""
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time() + interval_s * (0.5 + self._rng.random() / 2)
        write: Callable[[wire.AgentMessage], Awaitable[None]] = call.write
        while True:
            try:
                async with asyncio.timeout_at(next_heartbeat):
                    await self._wake.wait()
            except TimeoutError:
                next_heartbeat = loop.time() + interval_s
                await write(wire.AgentMessage(heartbeat=self._house.heartbeat()))
                continue
            self._wake.clear()
            if self._applied > self._applied_sent:
                self._applied_sent = self._applied
                await write(wire.AgentMessage(applied=wire.Applied(sequence=self._applied)))
            if len(self._reports) + len(self._events) > 1 or self._goodbye is None:
                await asyncio.sleep(_GATHER_S if len(self._reports) > 1 else 0)
            await self._send_reports(write)
            if self._goodbye is not None:
                await write(wire.AgentMessage(goodbye=self._goodbye))
                await call.done_writing()
                return

    async def _send_reports(self, write: Callable[[wire.AgentMessage], Awaitable[None]]) -> None:
        while self._reports:
            batch = [self._reports.pop(uid) for uid in list(self._reports)[:_POD_REPORTS_PER_MESSAGE]]
            await write(wire.AgentMessage(status_report=wire.StatusReport(pods=batch)))
        if self._events:
            events, self._events = list(self._events), deque(maxlen=_EVENTS_MAX)
            await write(wire.AgentMessage(event_report=wire.EventReport(events=events)))


@contextlib.asynccontextmanager
async def _dial(master: str) -> AsyncIterator["rpc.AgentsAsyncStub"]:
    async with open_channel(master, session=True) as channel:
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise ConnectionRefusedError(f"nobody listens at {master}, or it cannot be reached")
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
        yield rpc.AgentsStub(channel)


def _said(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return plain_cause(error)
    return str(error) or type(error).__name__
