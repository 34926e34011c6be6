"""`orchestra up`: a whole cluster on this machine, in the foreground, until Ctrl-C."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from orchestra.aio.backoff import Backoff
from orchestra.base import log as logging
from orchestra.base.errors import DeadlineExceeded, Expired, OrchestraError, Unavailable, UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import FILENAME, NODE_EVICTION_GRACE, RECURSIVE, Flag
from orchestra.cli.local_cluster import DEFAULT_PORT, MASTERS_MAX, LocalCluster
from orchestra.cli.processes import first_of, run_until_stopped
from orchestra.cli.session import Session
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    ApiObject,
    Kind,
    kind_of,
)
from orchestra.objects.readiness import is_ready

if TYPE_CHECKING:
    from orchestra.client import Client

log = logging.get_logger("up")
Show: TypeAlias = Callable[[str], None]

READY_SECONDS = 60.0
ROLLOUT_SECONDS = 120.0


def _refused(cluster: LocalCluster) -> OrchestraError:
    if len(cluster.masters) == 1:
        return OrchestraError("the master does not start: its last words say why")
    return OrchestraError("too few masters start for a cluster: their last words say why")


class _Progress:
    """Lines of progress: one that is rewritten on a terminal, one for each change elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._began = time.monotonic()
        self._shown = ""

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(f"[{time.monotonic() - self._began:5.1f}s] {line}", flush=True)

    def show(self, line: str) -> None:
        """A line that the next one replaces."""
        if line == self._shown:
            return
        self._shown = line
        if self._live:
            print(f"\r\x1b[K[{time.monotonic() - self._began:5.1f}s] {line}", end="", flush=True)
        else:
            print(f"[{time.monotonic() - self._began:5.1f}s] {line}", flush=True)

    def clear(self) -> None:
        """Takes away what show() left."""
        if self._live and self._shown:
            print("\r\x1b[K", end="", flush=True)
        self._shown = ""


def process(session: Session) -> int:
    """Runs the cluster."""
    options = session.options
    if session.words:
        raise UsageError(f"up takes no words, got {session.words[0]!r}: give manifests with -f")
    if not 1 <= options.masters <= MASTERS_MAX:
        raise UsageError(f"--masters must be between 1 and {MASTERS_MAX}")
    if not 0 <= options.agents <= 200:
        raise UsageError("--agents must be between 0 and 200")
    if not 0 <= options.port <= 65536 - options.masters:
        raise UsageError(f"--port must be between 0 (any that is free) and {65536 - options.masters}")
    if options.masters % 2 == 0:
        session.warn(
            f"warning: {options.masters} masters bear the loss of no more than {options.masters - 1} would: "
            "an odd number is better"
        )
    objects = _objects(session)
    if objects is None:
        return 1
    logging.configure(options.v)
    return run_until_stopped(lambda stop: _up(session, objects, stop))


def _objects(session: Session) -> list[ApiObject] | None:
    """What the manifests hold, before anything is started; None after printing their mistakes."""
    if not session.options.filename:
        return []
    from orchestra.cli.files import in_order, load, place

    loaded = load(session.options.filename, recursive=session.options.recursive)
    session.warn_all(loaded.problems)
    place(loaded.objects, session.settings.namespace, session.settings.namespace_given)
    return None if loaded.problems else in_order(loaded.objects)


async def _up(session: Session, objects: Sequence[ApiObject], stop: asyncio.Event) -> int:
    options = session.options
    progress = _Progress()
    cluster = LocalCluster(
        options.agents,
        masters=options.masters,
        data_dir=Path(options.data_dir) if options.data_dir else None,
        port=options.port,
        exact_port="port" in session.given,
        capacity=options.capacity,
        runtime=options.runtime,
        master_flags=[f"--node-eviction-grace={options.node_eviction_grace:g}s"],
        verbosity=options.v,
        report=progress.say,
    )
    failed = False
    try:
        async with cluster:
            progress.say(
                f"starting {_count(options.masters, 'master')} and {_count(options.agents, 'agent')}, "
                f"logs in {cluster.data_dir}"
            )
            bring = asyncio.ensure_future(_bring_up(cluster, objects, progress))
            await first_of(stop.wait(), asyncio.shield(bring))
            if bring.done():
                bring.result()
                await first_of(stop.wait(), cluster.refused.wait())
                if cluster.refused.is_set():
                    raise _refused(cluster)
            else:
                bring.cancel()
                await asyncio.wait([bring])
            progress.say("stopping")
    except OrchestraError as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        failed = True
    progress.say("stopped: no process, port or file is left" if not options.data_dir else "stopped")
    return 1 if failed else 0


async def _bring_up(cluster: LocalCluster, objects: Sequence[ApiObject], progress: _Progress) -> None:
    from orchestra.client import Client

    async with Client(cluster.server) as client:
        await wait_for_nodes(client, cluster, progress.show)
        progress.say(await _who_listens(client, cluster))
        for obj in objects:
            answer, outcome = await client.apply(obj)
            progress.say(f"{kind_of(answer).singular}/{answer.metadata.name} {outcome}")
        for obj in objects:
            await wait_for_object(client, obj, progress.show)
            if kind_of(obj) is SERVICE:
                kept = await client.get(SERVICE, obj.metadata.namespace, obj.metadata.name)
                await wait_for_node_ports(cluster, kept)
        progress.clear()
        await _print_state(client, cluster)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


async def _who_listens(client: "Client", cluster: LocalCluster) -> str:
    nodes = f"{_count(len(cluster.agents), 'node')} Ready"
    if len(cluster.masters) == 1:
        return f"the master listens on {cluster.server}, {nodes}"
    leader = (await client.status()).leader
    names = ", ".join(
        f"{name} on {address}{' (leads)' * (name == leader)}" for name, address in cluster.servers.items()
    )
    return f"masters listen: {names}; {nodes}"


async def wait_for_nodes(client: "Client", cluster: LocalCluster, show: Show) -> None:
    """Waits until every agent's node is Ready.

    Raises: OrchestraError when that takes more than a minute.
    """
    wanted = len(cluster.agents)

    def ready(nodes: Mapping[str, ApiObject]) -> bool:
        count = sum(is_ready(node) for node in nodes.values())
        show(f"{count} of {wanted} nodes are Ready")
        return count >= wanted

    show("waiting for the master" if len(cluster.masters) == 1 else "waiting for the masters")
    try:
        await first_of(follow(client, NODE, "", ready, READY_SECONDS), cluster.refused.wait())
        if cluster.refused.is_set():
            raise _refused(cluster)
    except TimeoutError:
        words = "\n".join(f"{name}: {master.last_words()}" for name, master in cluster.masters.items())
        raise OrchestraError(
            f"the nodes are not Ready after {READY_SECONDS:g} s; the last words of\n{words}"
        ) from None


async def wait_for_object(client: "Client", obj: ApiObject, show: Show) -> None:
    """Waits until what was applied is in force: replicas available, a pod ready, a Service answering.

    Raises: OrchestraError after two minutes.
    """
    kind = kind_of(obj)
    namespace, name = obj.metadata.namespace, obj.metadata.name
    label = f"{kind.singular}/{name}"

    def done(objects: Mapping[str, ApiObject]) -> bool:
        now = objects.get(f"{namespace}/{name}")
        if now is None:
            return False
        have, want = _counts(now)
        show(f"{label}: {have} of {want} available")
        replaced = kind is not DEPLOYMENT or now.status.replicas == now.status.updatedReplicas
        return replaced and now.status.observedGeneration >= now.metadata.generation and have >= want

    def pod_ready(objects: Mapping[str, ApiObject]) -> bool:
        now = objects.get(f"{namespace}/{name}")
        show(f"{label}: {now.status.phase if now is not None else 'waiting'}")
        return now is not None and (is_ready(now) or now.status.phase in ("Succeeded", "Failed"))

    def answered(slices: Mapping[str, ApiObject]) -> bool:
        show(f"{label}: waiting for a ready endpoint")
        return any(
            each.metadata.labels.get("kubernetes.io/service-name") == name
            and any(endpoint.conditions.ready for endpoint in each.endpoints)
            for each in slices.values()
        )

    try:
        if kind in (DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER):
            await follow(client, kind, namespace, done, ROLLOUT_SECONDS)
        elif kind is POD:
            await follow(client, kind, namespace, pod_ready, ROLLOUT_SECONDS)
        elif kind is SERVICE and obj.spec.selector:
            await follow(client, ENDPOINT_SLICE, namespace, answered, ROLLOUT_SECONDS)
    except TimeoutError:
        raise OrchestraError(
            f"{label} is not ready after {ROLLOUT_SECONDS:g} s; the cluster runs: "
            f"ask it with: orchestra --server {client.target} describe {kind.singular} {name} -n {namespace}"
        ) from None


async def wait_for_node_ports(cluster: LocalCluster, service: ApiObject) -> list[tuple[str, int]]:
    """Waits until every node answers on a Service's node ports; the addresses.

    A slice that lists a ready endpoint is on its way to the agents, not yet in force there.
    Raises: OrchestraError after two minutes.
    """
    targets = [
        (cluster.address(agent), port.nodePort)
        for port in service.spec.ports
        if port.nodePort
        for agent in cluster.agents
    ]
    try:
        async with asyncio.timeout(ROLLOUT_SECONDS):
            for host, port in targets:
                await _until_connected(host, port)
    except TimeoutError:
        raise OrchestraError(
            f"service/{service.metadata.name} does not answer on every node after {ROLLOUT_SECONDS:g} s"
        ) from None
    return targets


async def _until_connected(host: str, port: int) -> None:
    backoff = Backoff(5, 200)
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(backoff.next_ms() / 1000)
        else:
            writer.close()
            return


def _counts(obj: ApiObject) -> tuple[int, int]:
    want = obj.spec.replicas
    if kind_of(obj) is DEPLOYMENT:
        return min(obj.status.availableReplicas, obj.status.updatedReplicas), want
    return obj.status.availableReplicas, want


async def follow(
    client: "Client",
    kind: Kind,
    namespace: str,
    enough: Callable[[Mapping[str, ApiObject]], bool],
    seconds: float,
) -> None:
    """Watches a kind until `enough` says so of all its objects, by `namespace/name`.

    Raises: TimeoutError.
    """
    backoff = Backoff(20, 500)
    async with asyncio.timeout(seconds):
        while True:
            objects: dict[str, ApiObject] = {}
            try:
                async for event in client.watch(kind, namespace, bookmarks=True):
                    if event.obj is None:
                        # A bookmark: all of a revision has been told, the picture is whole.
                        if enough(objects):
                            return
                        continue
                    key = f"{event.obj.metadata.namespace}/{event.obj.metadata.name}"
                    if event.type == "DELETED":
                        objects.pop(key, None)
                    else:
                        objects[key] = event.obj
            except (Unavailable, DeadlineExceeded, Expired) as error:
                log.debug("watch broke off, starting over", kind=kind.kind, error=error)
            await asyncio.sleep(backoff.next_ms() / 1000)


async def _print_state(client: "Client", cluster: LocalCluster) -> None:
    from orchestra.cli.printing.tables import TableOptions, TablePrinter

    for kind in (NODE, POD, SERVICE):
        found = (await client.list(kind)).items
        if found:
            options = TableOptions(wide=kind is not NODE, with_namespace=False)
            print("\n" + TablePrinter(kind, options).text(found, time.time_ns()), end="")
    print()
    services = (await client.list(SERVICE)).items
    for service in services:
        for port in service.spec.ports:
            if port.nodePort:
                addresses = "  ".join(
                    f"http://{cluster.address(name)}:{port.nodePort}" for name in cluster.agents
                )
                print(f"{service.metadata.name} answers at  {addresses}")
    if cluster.server != f"127.0.0.1:{DEFAULT_PORT}":
        print(f"in another terminal: export ORCHESTRA_SERVER={cluster.server}")
    print("the cluster runs until Ctrl-C; in another terminal: orchestra get pods -w", flush=True)


COMMANDS = (
    Command(
        name="up",
        summary="Run a whole cluster on this machine until Ctrl-C: masters and agents.",
        usage="[-f FILE] [options]",
        flags=(
            FILENAME,
            RECURSIVE,
            Flag(
                "masters",
                f"How many masters, an odd number up to {MASTERS_MAX}: three bear the loss of any one.",
                shape="int",
                default=1,
            ),
            Flag(
                "agents", "How many agents, each a node with an address of its own.", shape="int", default=3
            ),
            Flag(
                "data-dir", "Keep the cluster's state here (default: a temporary folder, removed at the end)."
            ),
            Flag(
                "port",
                "Where the first master listens on 127.0.0.1, the others after it (if not given, and one is "
                "taken: elsewhere).",
                shape="int",
                default=DEFAULT_PORT,
            ),
            Flag(
                "capacity",
                "What each node says it has (cpu=4,memory=8Gi,pods=110; default: what the machine has).",
            ),
            NODE_EVICTION_GRACE,
            Flag("runtime", "How pods are isolated.", default="auto", choices=("auto", "host", "namespaces")),
        ),
        examples="""
    # A cluster that runs the web application
    orchestra up -f examples/web.yaml

    # One that no master's death stops
    orchestra up --masters 3

    # Five nodes, kept for the next time
    orchestra up --agents 5 --data-dir ./cluster
    """,
        process=process,
    ),
)
