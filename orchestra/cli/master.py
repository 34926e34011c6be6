"""`orchestra master`: the composition root of a master process."""

import asyncio
import gc
import random
from dataclasses import dataclass
from pathlib import Path

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.cluster_info import MasterInfo
from orchestra.apiserver.server import ApiServer
from orchestra.base import log as logging
from orchestra.base.clock import NS_PER_SECOND, SystemClock
from orchestra.base.errors import UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import NODE_EVICTION_GRACE, Flag
from orchestra.cli.processes import first_of, run_until_stopped
from orchestra.cli.session import Session
from orchestra.cluster.member import Member
from orchestra.controllers.group import ControllerGroup, ControllerSettings
from orchestra.controllers.liveness import Liveness
from orchestra.scheduling.scheduler import Scheduler
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.objects import ObjectStore

log = logging.get_logger("master")

STOP_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """What a master is told at its start.

    node_eviction_grace_ms: how long a node whose agent's stream closed keeps its pods.
    """

    name: str
    data_dir: Path
    listen: str
    node_eviction_grace_ms: int


async def run_master(settings: MasterSettings, stop: asyncio.Event) -> None:
    """Runs a master until `stop` is set, or a part it cannot do without fails.

    Raises: OrchestraError with a sentence for the operator.
    """
    clock = SystemClock()
    async with (
        await Member.open(data_dir=settings.data_dir, name=settings.name) as member,
        Supervisor("master") as supervisor,
    ):
        # What was loaded lives as long as the process; what comes is mostly freed by its count. Collected at
        # Python's own thresholds, a busy master stands still for 60 ms at a time, for nothing.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        objects = ObjectStore(member.store, clock=clock, rng=random.Random())
        await objects.ensure_namespaces()
        informers = Informers(objects)
        liveness = Liveness()
        recorder = EventRecorder(objects, "master", host=settings.name)
        supervisor.start("store", member.failed, restart=False)
        supervisor.start("informers", informers.run)
        supervisor.start("events", recorder.run)
        controllers = ControllerGroup(
            objects,
            informers,
            liveness,
            recorder.of,
            clock,
            ControllerSettings(node_eviction_grace_ms=settings.node_eviction_grace_ms),
        )
        controllers.start(supervisor)
        Scheduler(objects, informers, recorder.of("default-scheduler"), clock).start(supervisor)
        info = MasterInfo(
            name=settings.name,
            started_seconds=clock.wall_ns() // NS_PER_SECOND,
            disk_bytes_written=lambda: member.disk_bytes_written,
            actors=supervisor.status,
        )
        server = ApiServer(objects, info)
        await informers.wait_synced()
        server.serve_agents(
            AgentHub(objects, informers, liveness, recorder.of("agent"), master=settings.name)
        )
        port = await server.start(settings.listen)
        log.info("serving", master=settings.name, listen=settings.listen, port=port)
        try:
            await first_of(stop.wait(), supervisor.failed())
        finally:
            await server.stop(STOP_GRACE_SECONDS)


def process(session: Session) -> int:
    """Runs a master."""
    options = session.options
    if session.words:
        raise UsageError(f"master takes no words, got {session.words[0]!r}")
    if options.node_eviction_grace < 0:
        raise UsageError("--node-eviction-grace must not be negative")
    logging.configure(options.v + 1)
    settings = MasterSettings(
        name=options.name,
        data_dir=Path(options.data_dir),
        listen=options.listen,
        node_eviction_grace_ms=int(options.node_eviction_grace * 1000),
    )

    async def main(stop: asyncio.Event) -> int:
        await run_master(settings, stop)
        return 0

    return run_until_stopped(main, with_parent=options.with_parent)


COMMANDS = (
    Command(
        name="master",
        summary="Run a master: the API, the store, the scheduler and the controllers.",
        usage="[options]",
        flags=(
            Flag("name", "This master's name.", default="m1"),
            Flag("data-dir", "Where the store keeps its log and snapshots.", default="./orchestra-master"),
            Flag("listen", "Where the API listens (HOST:PORT).", default="127.0.0.1:7070"),
            NODE_EVICTION_GRACE,
            Flag("with-parent", "End when standard input ends.", shape="bool"),
        ),
        examples="""
    # A master that agents on other machines can reach
    orchestra master --listen 0.0.0.0:7070 --data-dir /var/lib/orchestra
    """,
        process=process,
    ),
)
