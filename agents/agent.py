"""The agent, put together: runtime, workers, proxy, session."""

import asyncio
import contextlib
import os
import resource
from dataclasses import replace
from pathlib import Path

from agents import checkpoint, memory, node
from agents import pod_words as words
from agents.environment import NodeFacts
from agents.event_counts import EventCounts
from agents.launch import base_environment, exit_event
from agents.log_streams import LogStreams
from agents.ownership import taken
from agents.pod_plans import BackoffPlan
from agents.pod_state import Stage
from agents.ports import PortReservations
from agents.proxy import NodePortProxy
from agents.runtime.contract import Exit, Recovered, RuntimeLost
from agents.runtime.local import Local, clear_leftovers
from agents.session import Session
from agents.settings import AgentSettings
from agents.volumes import PodDirectory, remove_others
from agents.worker import Changed, PodWorker, Surroundings
from orchestra.aio.backoff import Backoff
from orchestra.aio.mailbox import MailboxClosed
from orchestra.aio.supervisor import SupervisedFailure, Supervisor
from orchestra.base.clock import NS_PER_SECOND, Clock, SystemClock
from orchestra.base.log import get_logger
from orchestra.objects.quantity import parse_quantity
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import agent_v1_pb2_grpc as rpc
from orchestra.pb import core

__all__ = ["Agent", "AgentSettings", "run_agent", "stop_leftovers"]

log = get_logger("agent")

_RESTART_SECONDS = 60
# Pods that are to end with their agent do so too when it was killed and nobody came back for them.
_LINGER_SECONDS = 15.0
# A pod whose object is gone has nobody left to wait for it.
_ORPHAN_GRACE_NS = 1 * NS_PER_SECOND


class Agent:
    """One node. `run` until cancelled or told to stop."""

    def __init__(self, settings: AgentSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._instance = os.urandom(8).hex()
        self._workers: dict[str, PodWorker] = {}
        self._supervisor = Supervisor(f"agent/{settings.name}")
        self._ports = PortReservations(settings.port_range)
        self._proxy = NodePortProxy(settings.name, settings.address)
        self._session = Session(settings.masters, self, token=settings.token)
        self._logs = LogStreams(self._workers.get)
        self._events = EventCounts(settings.name, self._clock)
        # Uids, services and slices of the first full picture, while it is arriving.
        self._picture: tuple[set[str], set[tuple[str, str]], set[tuple[str, str]]] | None = None
        self._capacity: dict[str, str] = {}
        self._stopping = False
        self._emptied = asyncio.Event()
        self.ready = asyncio.Event()

    # -- life ----------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Opens the runtime, takes over what runs, and serves until `stop` is set.

        Raises: RuntimeFailure when containers cannot be run here, RuntimeLost when the spawner dies.
        """
        settings = self._settings
        _raise_open_files()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        linger_s = settings.linger_seconds
        if linger_s is None:
            linger_s = _LINGER_SECONDS if settings.stop_pods_on_exit else -1.0
        runtime = await Local.open(settings.data_dir, settings.runtime, linger_s)
        stop_containers = False
        try:
            recovered = await runtime.recover()
            self._prepare(runtime)
            async with self._supervisor:
                await self._adopt(recovered)
                self._supervisor.start("exits", self._hear_exits, restart=False)
                self._supervisor.start("session", self._session.run)
                self.ready.set()
                self._supervisor.start("memory", self._settle_memory)
                log.info("agent started", name=settings.name, runtime=runtime.isolation)
                await self._until(stop)
                await self._session.say_goodbye(
                    restarting_s=0 if settings.stop_pods_on_exit else _RESTART_SECONDS
                )
                if self.pods() and not settings.stop_pods_on_exit:
                    log.warning(
                        "the agent ends, its pods go on: they are taken over when it starts again, replaced "
                        "elsewhere when it does not; --stop-pods ends them",
                        pods=len(self.pods()), wait_s=_RESTART_SECONDS,
                    )  # fmt: skip
                if settings.stop_pods_on_exit:
                    stop_containers = True
                    await self._stop_pods()
        finally:
            await self._logs.close()
            await self._proxy.close()
            await runtime.close(stop=stop_containers)
            self._ports.close()

    async def _settle_memory(self) -> None:
        await self._session.synced.wait()
        memory.settle()

    async def _until(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.create_task(stop.wait())
        failed = loop.create_task(self._supervisor.failed())
        try:
            await asyncio.wait((asked, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                try:
                    failed.result()
                except SupervisedFailure as error:
                    raise error.__cause__ or error from None
        finally:
            asked.cancel()
            failed.cancel()
            await asyncio.gather(asked, failed, return_exceptions=True)

    def _prepare(self, runtime: Local) -> None:
        settings = self._settings
        self._runtime = runtime
        self._capacity = node.capacity(settings.capacity, settings.data_dir)
        facts = NodeFacts(
            settings.name,
            settings.address,
            parse_quantity(self._capacity["cpu"]).milli(),
            parse_quantity(self._capacity["memory"]).value(),
            base_environment(),
        )
        backoff = BackoffPlan(
            settings.backoff_initial_ms * 1_000_000,
            settings.backoff_max_ms * 1_000_000,
            settings.backoff_reset_ms * 1_000_000,
        )
        self._around = Surroundings(settings, runtime, facts, self._ports, self, self._clock, backoff)
        self._meter = node.LoadMeter(settings.data_dir)

    async def _adopt(self, recovered: Recovered) -> None:
        """Goes on with the pods that an earlier agent started."""
        runs: dict[str, dict[str, int]] = {}
        exits: dict[str, list[Exit]] = {}
        for name in (*recovered.running, *(e.container for e in recovered.exits)):
            uid, container, run = name.split("/")
            known = runs.setdefault(uid, {})
            known[container] = max(known.get(container, 0), int(run))
        for found in recovered.exits:
            exits.setdefault(found.pod, []).append(found)
        for uid, text in recovered.sandboxes.items():
            try:
                machine, pod, ports = checkpoint.load(text, self._around.backoff, runs.get(uid, {}))
            except (ValueError, KeyError, TypeError) as error:
                log.error("a pod's checkpoint cannot be read, stopping the pod", uid=uid, why=error)
                await self._runtime.close_sandbox(uid)
                continue
            if machine.stage is Stage.OPENING:
                # Its sandbox is there, or it would not be in the list.
                machine.stage = Stage.RUNNING
            worker = self._employ(PodWorker(pod, self._around, machine=machine, ports=ports))
            for found in exits.get(uid, ()):
                await worker.tell(exit_event(found))
            ended = {e.container for e in exits.get(uid, ())}
            for c in machine.containers:
                name = f"{uid}/{c.plan.name}/{c.run}"
                if c.live and name not in recovered.running and name not in ended:
                    now = self._clock.wall_ns()
                    await worker.tell(words.Exited(c.plan.name, c.run, 137, 9, now, checkpoint.UNKNOWN))
        if self._workers:
            log.info("took over running pods", pods=len(self._workers))

    def _employ(self, worker: PodWorker) -> PodWorker:
        self._workers[worker.uid] = worker
        self._supervisor.start(f"pod/{worker.uid}", worker.run, queue_length=lambda: len(worker.mailbox))
        return worker

    async def _hear_exits(self) -> None:
        async for found in self._runtime.exits():
            worker = self._workers.get(found.pod)
            if worker is not None:
                await self._tell(worker, exit_event(found))

    async def _stop_pods(self) -> None:
        """Every pod, gracefully and soon; what is left then is killed with the spawner."""
        self._stopping = True
        grace_s = self._settings.exit_grace_seconds
        for worker in list(self._workers.values()):
            own_ns = worker.machine.plan.grace_ns
            grace_ns = min(own_ns, int(grace_s * NS_PER_SECOND))
            await self._tell(worker, words.Delete(grace_ns, undrained=True))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s + 1.0):
                while self._workers:
                    self._emptied.clear()
                    await self._emptied.wait()

    @staticmethod
    async def _tell(worker: PodWorker, message: words.Event | Changed) -> None:
        with contextlib.suppress(MailboxClosed):
            await worker.tell(message)

    # -- what the session asks -------------------------------------------------------------------------

    def register(self) -> wire.Register:
        """The first message of a session."""
        settings = self._settings
        self._picture = (set(), set(), set())
        isolation = self._runtime.isolation
        found = wire.Register(
            name=settings.name,
            instance=self._instance,
            labels=node.labels(settings.name, isolation, settings.labels),
            node_info=node.system_info(isolation),
            pods=[worker.pod_report() for worker in self._workers.values()],
        )
        found.addresses.add(type="InternalIP", address=settings.address)
        found.addresses.add(type="Hostname", address=settings.name)
        for name, quantity in node.quantities(self._capacity).items():
            found.capacity[name].CopyFrom(quantity)
            found.allocatable[name].CopyFrom(quantity)
        return found

    def heartbeat(self) -> wire.Heartbeat:
        """Measured now."""
        load = self._meter.read()
        return wire.Heartbeat(
            cpu_millis=load.cpu_millis,
            memory_bytes=load.memory_bytes,
            disk_free_bytes=load.disk_free_bytes,
            pods=len(self._workers),
        )

    async def orders(self, orders: wire.Orders) -> asyncio.Task[None] | None:
        """Takes orders; routes are in force when this returns (see NodePortProxy.settle)."""
        routes = False
        for order in orders.orders:
            match order.object.WhichOneof("object"):
                case "pod":
                    await self._pod_order(order.object.pod, order.removed)
                case "service":
                    routes = True
                    service = order.object.service
                    key = (service.metadata.namespace, service.metadata.name)
                    if order.removed:
                        self._proxy.remove_service(*key)
                    else:
                        self._proxy.set_service(service)
                        if self._picture is not None:
                            self._picture[1].add(key)
                case "endpoint_slice":
                    routes = True
                    found = order.object.endpoint_slice
                    key = (found.metadata.namespace, found.metadata.name)
                    if order.removed:
                        self._proxy.remove_slice(*key)
                    else:
                        self._proxy.set_slice(found)
                        if self._picture is not None:
                            self._picture[2].add(key)
        if orders.synced and self._picture is not None:
            routes = True
            pods, services, slices = self._picture
            self._picture = None
            self._proxy.keep_only(services, slices)
            for uid in [u for u in self._workers if u not in pods]:
                log.info("stopping a pod that is not wanted here", pod=self._workers[uid].title)
                worker = self._workers[uid]
                await self._tell(worker, words.Delete(worker.machine.plan.grace_ns, undrained=True))
            await asyncio.to_thread(remove_others, self._settings.data_dir, set(self._workers))
        return await self._proxy.settle() if routes else None

    async def _pod_order(self, pod: core.Pod, removed: bool) -> None:
        uid = pod.metadata.uid
        worker = self._workers.get(uid)
        if removed:
            if worker is not None:
                await self._tell(worker, words.Delete(_ORPHAN_GRACE_NS, undrained=True))
            return
        if self._picture is not None:
            self._picture[0].add(uid)
        if worker is not None:
            await self._tell(worker, Changed(pod))
        elif pod.metadata.HasField("deletionTimestamp"):
            await asyncio.to_thread(PodDirectory.of(self._settings.data_dir, pod).remove)
            # Nothing of it is here, perhaps because the word of its end was lost with an earlier session.
            meta = pod.metadata
            self._session.report(
                wire.PodReport(
                    namespace=meta.namespace, name=meta.name, uid=uid, status=pod.status, finished=True
                )
            )
        elif not self._stopping:
            machine = checkpoint.from_status(pod, self._around.backoff, self._clock.wall_ns())
            self._employ(PodWorker(pod, self._around, machine=machine))

    def drained(self, uid: str) -> None:
        """Nobody routes to the pod any more."""
        worker = self._workers.get(uid)
        if worker is not None:
            with contextlib.suppress(MailboxClosed):
                worker.offer(words.TimerFired(words.Timer.DRAIN))

    def open_log(self, order: wire.OpenLog, stub: rpc.AgentsStub) -> None:
        """Pushes a log."""
        self._logs.open(order, stub)

    # -- what workers say ------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether a master is there."""
        return self._session.connected and not self._stopping

    def report(self, report: wire.PodReport) -> None:
        """A pod's state has changed."""
        # When the agent stops its pods to end, the pods are not gone from the cluster: others decide that.
        if not self._stopping:
            self._session.report(report)

    def record(self, pod: core.Pod, event: words.RecordEvent) -> None:
        """Something a person may want to read; the same again counts up."""
        if not self._stopping:
            self._session.record(self._events.said(pod, event))

    def finished(self, uid: str) -> None:
        """Nothing is left of a pod here."""
        self._workers.pop(uid, None)
        self._supervisor.forget(f"pod/{uid}")
        self._emptied.set()

    def pods(self) -> list[str]:
        """The pods that are here, as namespace/name."""
        return [worker.title for worker in self._workers.values()]

    @property
    def supervisor(self) -> Supervisor:
        """For whoever asks how the agent's parts fare."""
        return self._supervisor


def _raise_open_files() -> None:
    """A connection through the proxy costs two descriptors."""
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_agent(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Runs an agent until `stop` is set.

    Raises: RuntimeFailure when this machine cannot run containers as asked for, OrchestraError when another
    agent has the data directory.
    """
    memory.bound_arenas()
    if not settings.address:
        address = await asyncio.to_thread(node.address_towards, settings.masters)
        settings = replace(settings, address=address)
    with taken(settings.data_dir):
        await _run_on(settings, stop)


async def _run_on(settings: AgentSettings, stop: asyncio.Event) -> None:
    backoff = Backoff(50, 5_000)
    while True:
        try:
            await Agent(settings).run(stop)
        except RuntimeLost as error:
            # Its containers died with it; the pods come again from the master, with their restart counts.
            log.error("the spawner died, starting anew", error)
        else:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff.next_ms() / 1000):
                await stop.wait()
                return


async def stop_leftovers(data_dir: Path) -> int:
    """Ends everything that an agent of this data directory left behind: spawner and containers.

    For whoever started an agent that was killed. The number of processes that had to be killed.
    """
    link = await Local.connect(data_dir)
    if link is not None:
        await link.close(stop=True)
    return await asyncio.to_thread(clear_leftovers, data_dir)
