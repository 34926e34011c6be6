"""The Agents service: the hub of all sessions, through which agents get orders and report.

The hub lives on one event loop and is the only owner of its sessions; informers call it, streams feed it, and
nothing of it is stored but what it writes as objects.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc.aio

from orchestra.aio.rpc.server import Context
from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.drains import Drains
from orchestra.apiserver.feed import Feed
from orchestra.apiserver.registration import node_of, refusal, update_node, update_node_status
from orchestra.apiserver.relays import LogRelays
from orchestra.apiserver.reports import WRITES_AT_ONCE, StatusWriter, record_events
from orchestra.apiserver.sessions import AgentSession
from orchestra.base.clock import NS_PER_SECOND
from orchestra.base.errors import AlreadyExists, BadRequest, Invalid, NotFound, Unavailable
from orchestra.base.log import get_logger
from orchestra.controllers.liveness import Liveness
from orchestra.objects.kinds import NODE, ApiObject
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import agent_v1_pb2_grpc as agent_grpc
from orchestra.store.events import Recorder
from orchestra.store.informer import Informers
from orchestra.store.objects import ObjectStore

log = get_logger("agents")

HEARTBEAT_INTERVAL_MS: Final = 5000
REGISTER_SECONDS: Final = 10.0
# How long a new session of the same agent waits for its old one to end.
REPLACE_SECONDS: Final = 5.0
# How long the end of an agent that was killed may take to be noticed, while its successor dials already.
NOTICE_SECONDS: Final = 0.2
# How long the last reports of an agent that closed its session may take to be written.
FLUSH_SECONDS: Final = 1.0
REFUSED_RETRY_MS: Final = 1000
RESTART_SECONDS_MAX: Final = 600
SESSIONS_MAX: Final = 10_000


class AgentHub(agent_grpc.AgentsServicer):
    """All agents' sessions, for one mandate of this master.

    masters: where every master's API is reached, told to each agent.
    Bound: SESSIONS_MAX sessions; each bounded as AgentSession and StatusWriter say.
    """

    def __init__(
        self,
        objects: ObjectStore,
        informers: Informers,
        liveness: Liveness,
        recorder: Recorder,
        *,
        master: str = "",
        masters: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self.relays = LogRelays()
        self.liveness = liveness
        # Nobody can be blamed for not having come through a door that is shut.
        liveness.opened_ns = None
        self._objects = objects
        self._liveness = liveness
        self._masters = masters
        self._recorder = recorder
        self._master = master
        self._sessions: dict[str, AgentSession] = {}
        self._writers: dict[str, StatusWriter] = {}
        self._usage: dict[str, agent.Heartbeat] = {}
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self._drains = Drains()
        self._drain_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._nodes = informers.of(NODE)
        self._feed = Feed(
            informers,
            self._sessions,
            self._drains,
            on_stopping=self._pod_stopping,
            on_gone=self._pod_gone,
            on_drained=self._tell_drained,
        )
        self._node_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begins to follow the cluster, and takes agents in from now on."""
        self.liveness.opened_ns = self._objects.clock.monotonic_ns()
        self._feed.start()
        self._node_watch = self._nodes.subscribe(self._node_changed)

    def stop(self) -> None:
        """Ends all sessions; that they end says nothing about the agents' lives."""
        self._stopping = True
        self._feed.stop()
        self._node_watch()
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        for session in tuple(self._sessions.values()):
            session.close(Unavailable("the master is stopping: dial again", retry_after_ms=100))

    def usage(self, node: str) -> agent.Heartbeat | None:
        """What the node's agent measured last, None if it has not said so since it connected."""
        return self._usage.get(node)

    def session(self, node: str) -> AgentSession | None:
        """The open session of a node's agent."""
        found = self._sessions.get(node)
        return None if found is None or found.closing else found

    async def Session(
        self, requests: AsyncIterator[agent.AgentMessage], context: Context
    ) -> AsyncGenerator[Any, None]:
        register = await _first(requests)
        refused = refusal(register) or await self._taken(register)
        if refused:
            yield _refused(register, refused)
            return
        session = AgentSession(register.name, register.instance, lambda: self._drains.version)
        self._sessions[session.node] = session
        try:
            refused = await self._write_node(register)
            if refused:
                yield _refused(register, refused)
                return
            async with Supervisor(f"session/{session.node}", rng=self._objects.rng) as tasks:
                await self._open(session, register, tasks)
                tasks.start("reader", lambda: self._read(session, requests), restart=False)
                welcome = agent.Welcome(
                    master=self._master,
                    heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
                    masters=self._masters(),
                )
                yield agent.MasterMessage(welcome=welcome)
                async for message in session.outgoing():
                    yield message
                await self._flush(session)
        finally:
            self._close(session)

    async def PushLog(
        self, requests: AsyncIterator[agent.PushLogMessage], context: Context
    ) -> agent.PushLogResponse:
        await self.relays.accept(requests)
        return agent.PushLogResponse()

    async def _taken(self, register: agent.Register) -> str:
        """Why the name is not free; "" if it is, perhaps after an old session of the same agent has ended."""
        if len(self._sessions) >= SESSIONS_MAX:
            return f"this master already serves {SESSIONS_MAX} agents"
        old = self._sessions.get(register.name)
        if old is None:
            return ""
        if old.instance != register.instance and not old.closing and not await _ended(old, NOTICE_SECONDS):
            return (
                f'another agent named "{register.name}" is connected: give this one a name of its own '
                "(--name), or stop the other"
            )
        old.close(Unavailable("the agent has dialled again: this session is over"))
        if not await _ended(old, REPLACE_SECONDS):
            return f'the old session of "{register.name}" has not ended yet'
        if register.name in self._sessions:
            return f'another agent named "{register.name}" was faster'
        return ""

    async def _open(self, session: AgentSession, register: agent.Register, tasks: Supervisor) -> None:
        # What the agent holds is judged by this picture: it must not be older than the agent's own.
        await self._feed.wait_current(self._objects.store.revision)
        writer = StatusWriter(self._objects, self._feed.pods, session.node, self._writes)
        self._writers[session.node] = writer
        tasks.start("statuses", writer.run)
        writer.take(register.pods)
        self._drains.session_opened(session.node)
        session.begin(self._feed.picture(session.node))
        for uid in self._drains.drained_on(session.node):
            session.send(agent.MasterMessage(drained=agent.Drained(uid=uid)))
        log.info("an agent has connected", node=session.node, pods=len(register.pods))

    async def _write_node(self, register: agent.Register) -> str:
        """Makes the Node what the agent says; why what it says cannot be stored, "" if it could."""
        name = register.name
        try:
            try:
                await self._objects.mutate(NODE, "", name, lambda node: update_node(node, register))
            except NotFound:
                try:
                    await self._objects.create(node_of(register))
                except AlreadyExists:
                    await self._objects.mutate(NODE, "", name, lambda node: update_node(node, register))
            await self._objects.mutate(
                NODE, "", name, lambda node: update_node_status(node, register), subresource="status"
            )
        except Invalid as error:
            return error.message
        return ""

    async def _flush(self, session: AgentSession) -> None:
        """An agent that said its last words and closed: they are still to be written."""
        self._writers[session.node].begin()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._writers[session.node].flushed()
        except TimeoutError:
            log.warning("an agent's last reports could not be written in time", node=session.node)

    def _close(self, session: AgentSession) -> None:
        node = session.node
        session.close(None)
        if self._sessions.get(node) is session:
            del self._sessions[node]
        self._writers.pop(node, None)
        self._usage.pop(node, None)
        self.relays.fail_node(node)
        self._tell_drained(self._drains.session_closed(node))
        if session.in_force and not self._stopping:
            now_ns = self._objects.clock.monotonic_ns()
            self._liveness.disconnected(node, session.restarting_seconds, now_ns, session.instance)
        if session.restarting_seconds is None:
            log.info("an agent's session is over", node=node)
        else:
            log.info("an agent restarts", node=node, seconds_max=session.restarting_seconds)
        session.ended.set()

    async def _read(self, session: AgentSession, requests: AsyncIterator[agent.AgentMessage]) -> None:
        """Takes what the agent says until it says no more; then the session is over."""
        try:
            async for message in requests:
                self._received(session, message)
        except grpc.aio.BaseError as error:
            log.debug("a stream broke", node=session.node, why=error)
        finally:
            session.close(None)

    def _received(self, session: AgentSession, message: agent.AgentMessage) -> None:
        node, said = session.node, message.WhichOneof("message")
        if said == "heartbeat":
            self._usage[node] = message.heartbeat
            self._liveness.heartbeat(node, self._objects.clock.monotonic_ns())
        elif said == "status_report":
            self._writers[node].take(message.status_report.pods)
        elif said == "applied":
            version = session.applied(message.applied.sequence)
            if version is not None:
                self._in_force(session, version)
        elif said == "goodbye":
            goodbye = message.goodbye
            if goodbye.restarting:
                session.restarting_seconds = min(max(goodbye.restart_seconds, 0), RESTART_SECONDS_MAX)
        elif said == "event_report":
            record_events(self._recorder, node, message.event_report, self._is_own(node))
        else:
            log.warning("an agent says what this master does not know", node=node, said=said)

    def _in_force(self, session: AgentSession, version: int) -> None:
        """The agent acts on everything up to a version; from the first full picture on, its node is alive:
        a node that is Ready also answers on its node ports."""
        if not session.in_force:
            session.in_force = True
            now_ns = self._objects.clock.monotonic_ns()
            self._liveness.connected(session.node, session.instance, now_ns)
            self._writers[session.node].begin()
        self._tell_drained(self._drains.applied(session.node, version))

    def _is_own(self, node: str) -> Callable[[str, str], bool]:
        def is_own(namespace: str, name: str) -> bool:
            pod = self._feed.pods.get(namespace, name)
            return pod is None or pod.spec.nodeName == node

        return is_own

    def _pod_stopping(self, pod: ApiObject, *, blind: bool, awaits: bool) -> None:
        node, uid = pod.spec.nodeName, pod.metadata.uid
        writer = self._writers.get(node)
        if writer is not None and uid in writer.finished:
            # It ended by itself before it was deleted: there is nothing to stop.
            self._remove(writer, pod)
        now_ns = self._objects.clock.monotonic_ns()
        self._tell_drained(self._drains.pod_stopping(node, uid, now_ns, blind=blind, awaits=awaits))
        self._set_drain_timer(now_ns)

    def _remove(self, writer: StatusWriter, pod: ApiObject) -> None:
        metadata = pod.metadata
        writer.take(
            [
                agent.PodReport(
                    namespace=metadata.namespace,
                    name=metadata.name,
                    uid=metadata.uid,
                    status=pod.status,
                    finished=True,
                )
            ]
        )

    def _pod_gone(self, pod: ApiObject) -> None:
        self._drains.pod_gone(pod.metadata.uid)
        writer = self._writers.get(pod.spec.nodeName)
        if writer is not None:
            writer.finished.discard(pod.metadata.uid)

    def _tell_drained(self, drained: list[tuple[str, str]]) -> None:
        for node, uid in drained:
            session = self._sessions.get(node)
            if session is not None:
                session.send(agent.MasterMessage(drained=agent.Drained(uid=uid)))

    def _set_drain_timer(self, now_ns: int) -> None:
        """One timer, set only while some pod waits."""
        if self._drain_timer is not None or self._stopping:
            return
        deadline_ns = self._drains.next_deadline_ns()
        if deadline_ns is None:
            return
        seconds = max(0, deadline_ns - now_ns) / NS_PER_SECOND
        self._drain_timer = asyncio.get_running_loop().call_later(seconds, self._drains_expired)

    def _drains_expired(self) -> None:
        self._drain_timer = None
        now_ns = self._objects.clock.monotonic_ns()
        self._tell_drained(self._drains.expired(now_ns))
        self._set_drain_timer(now_ns)

    def _node_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is not None or old is None:
            return
        name = old.metadata.name
        session = self._sessions.get(name)
        if session is not None:
            session.close(Unavailable("the Node object was deleted: dial again to register anew"))
        self._liveness.forget(name)


async def _ended(session: AgentSession, seconds: float) -> bool:
    """Whether a session ends within a time."""
    try:
        async with asyncio.timeout(seconds):
            await session.ended.wait()
    except TimeoutError:
        return False
    return True


def _refused(register: agent.Register, why: str) -> agent.MasterMessage:
    log.info("an agent is refused", node=register.name, why=why)
    return agent.MasterMessage(refused=agent.Refused(reason=why, retry_after_ms=REFUSED_RETRY_MS))


async def _first(requests: AsyncIterator[agent.AgentMessage]) -> agent.Register:
    try:
        async with asyncio.timeout(REGISTER_SECONDS):
            message = await anext(requests)
    except StopAsyncIteration:
        raise BadRequest("the session ended before a Register came") from None
    if message.WhichOneof("message") != "register":
        raise BadRequest("the first message of a session has to be Register")
    return message.register
