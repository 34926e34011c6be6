"""The door that agents come in by: to the hub while this master leads, else on to the master that does."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from orchestra.aio.rpc.keys import LOST_MASTER
from orchestra.aio.rpc.server import Context, Listed, end_call
from orchestra.apiserver.agents import SESSIONS_MAX, AgentHub
from orchestra.base.errors import Unavailable
from orchestra.base.log import get_logger
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import agent_v1_pb2_grpc as agent_grpc
from orchestra.store.leadership import Leader

log = get_logger("agents")

# An agent that comes while nobody leads waits here for the election's end, rather than dial again and again.
HOLD_SECONDS: Final = 1.0
RETRY_MS: Final = 100

Changed = Callable[[], Awaitable[None]]


class AgentsGate(agent_grpc.AgentsServicer):
    """The Agents service of one master, for as long as its process lives.

    name: this master's. leader: who leads now. leader_changed: waits until that is another than at the call;
    without it, only this master's own turn is waited for.
    Bound: SESSIONS_MAX agents wait, HOLD_SECONDS each.
    """

    def __init__(
        self, name: str, leader: Callable[[], Leader | None], leader_changed: Changed | None = None
    ) -> None:
        self._name = name
        self._leader = leader
        self._leader_changed = leader_changed
        self._hub: AgentHub | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._held = 0
        self._turned = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def hub(self) -> AgentHub | None:
        """The hub of the mandate that is in force, None while this master does not lead."""
        return self._hub

    def open(self, hub: AgentHub) -> None:
        """This master leads: agents are let in to the hub, which is started here."""
        self.close()
        hub.start()
        self._hub = hub
        self._turn()

    def close(self) -> None:
        """This master leads no more: every session and every log on its way ends. Safe to call twice."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.stop()
        for task in tuple(self._calls):
            end_call(task)
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        # Whoever still waits here looks again.
        self._turn()

    async def Session(
        self, requests: AsyncIterator[agent.AgentMessage], context: Context
    ) -> AsyncGenerator[Any, None]:
        lost = {str(key): value for key, value in context.invocation_metadata() or ()}.get(LOST_MASTER, "")
        hub = self._hub or await self._wait(str(lost))
        if isinstance(hub, AgentHub):
            with Listed(self._calls):
                async with aclosing(hub.Session(requests, context)) as messages:
                    async for message in messages:
                        yield message
        elif hub is not None:
            why = f'this master does not lead: "{hub.name}" does'
            yield _refused(why, hub.address, retry_ms=0)
        else:
            yield _refused("no master leads now: dial again", "", retry_ms=RETRY_MS)

    async def PushLog(
        self, requests: AsyncIterator[agent.PushLogMessage], context: Context
    ) -> agent.PushLogResponse:
        hub = self._hub
        if hub is None:
            raise Unavailable("this master does not lead: nobody waits for this log here any more")
        with Listed(self._calls):
            return await hub.PushLog(requests, context)

    async def _wait(self, lost: str) -> AgentHub | Leader | None:
        """Until this master leads, or another one that can be named does."""
        if self._held >= SESSIONS_MAX:
            return None
        self._held += 1
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                while True:
                    turned = self._turned
                    if self._hub is not None:
                        return self._hub
                    other = self._other()
                    if other is not None and other.address != lost:
                        return other
                    if self._watch():
                        # What happened before the watch began is seen by looking once more.
                        await asyncio.sleep(0)
                        continue
                    await turned.wait()
        except TimeoutError:
            return self._hub or self._other()
        finally:
            self._held -= 1

    def _other(self) -> Leader | None:
        leader = self._leader()
        return None if leader is None or leader.name == self._name or not leader.address else leader

    def _watch(self) -> bool:
        """Begins to wait for another leader; whether it was not doing so already."""
        if self._leader_changed is None or self._watching is not None:
            return False
        self._watching = asyncio.ensure_future(self._follow(self._leader_changed))
        return True

    async def _follow(self, changed: Changed) -> None:
        """For as long as somebody waits here."""
        try:
            while self._held:
                await changed()
                self._turn()
        except Exception as error:  # noqa: BLE001 - whoever waits is refused in time; the cause is told here
            # Not again: it would be said again at once, for as long as somebody waits.
            log.warning("who leads cannot be followed", why=error)
        else:
            self._watching = None

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()


def _refused(why: str, leader_address: str, retry_ms: int) -> agent.MasterMessage:
    refused = agent.Refused(reason=why, retry_after_ms=retry_ms, leader_address=leader_address)
    return agent.MasterMessage(refused=refused)
