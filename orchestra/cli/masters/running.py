"""One master, from its start to its end."""

import asyncio
import gc
import random

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.cluster_info import MasterInfo
from orchestra.apiserver.server import ApiServer
from orchestra.base.clock import NS_PER_SECOND, SystemClock
from orchestra.base.errors import ApiError
from orchestra.base.log import get_logger
from orchestra.cli.masters.backing import Backing
from orchestra.cli.masters.mandate import Mandates
from orchestra.cli.masters.settings import MasterSettings
from orchestra.cli.processes import first_of
from orchestra.controllers.group import ControllerSettings
from orchestra.store.objects import ObjectStore

log = get_logger("master")

STOP_GRACE_SECONDS = 1.0
# How long the API waits for the cluster to be usable. Without enough masters it is served all the same: it
# can still say so, and who the members are.
USABLE_SECONDS = 2.0


async def run_master(settings: MasterSettings, stop: asyncio.Event) -> None:
    """Runs a master until `stop` is set, or a part it cannot do without fails.

    Raises: OrchestraError with a sentence for the operator.
    """
    backing = await _unless(stop, settings)
    if backing is None:
        return
    # What was loaded lives as long as the process; what comes is mostly freed by its count. Collected at
    # Python's own thresholds, a busy master stands still for 60 ms at a time, for nothing.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        await serve(backing, settings, stop)
    finally:
        await backing.close()


async def _unless(stop: asyncio.Event, settings: MasterSettings) -> Backing | None:
    """The store, open; None when it is to stop before that."""
    opening = asyncio.ensure_future(_open(settings))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not opening.done():
            opening.cancel()
            await asyncio.wait((opening,))
    return None if opening.cancelled() else opening.result()


async def _open(settings: MasterSettings) -> Backing:
    if settings.etcd:
        from orchestra.cli.masters.external import open_external

        return await open_external(settings)
    from orchestra.cli.masters.embedded import open_embedded

    return await open_embedded(settings)


async def serve(backing: Backing, settings: MasterSettings, stop: asyncio.Event) -> None:
    """Serves the API on an open store, and leads whenever it is this master's turn, until `stop`.

    Raises: OrchestraError when the store cannot go on.
    """
    clock = SystemClock()
    # The master's own parts; a mandate's have a supervisor of theirs.
    async with Supervisor("master") as supervisor:
        objects = ObjectStore(backing.store, clock=clock, rng=random.Random())
        leadership = backing.leadership
        info = MasterInfo(
            name=settings.name,
            started_seconds=clock.wall_ns() // NS_PER_SECOND,
            disk_bytes_written=lambda: backing.disk_bytes_written,
            actors=lambda: (*supervisor.status(), *mandates.actors()),
        )
        server = ApiServer(
            objects,
            info,
            leader=lambda: leadership.leader,
            leader_changed=leadership.changed,
            members=backing.members,
        )
        mandates = Mandates(
            leadership,
            objects,
            server,
            settings.name,
            clock,
            ControllerSettings(node_eviction_grace_ms=settings.node_eviction_grace_ms),
            masters=backing.addresses,
            beside=backing.lead,
        )
        await _usable(objects)
        port = await server.start(settings.listen)
        try:
            await backing.start(supervisor, settings.api_address(port))
            supervisor.start("mandates", mandates.run)
            log.info("serving", master=settings.name, listen=settings.listen, port=port)
            await first_of(stop.wait(), backing.failed())
            await backing.hand_over()
        finally:
            await server.stop(STOP_GRACE_SECONDS)


async def _usable(objects: ObjectStore) -> None:
    """What answers is of use: there is a namespace to work in."""
    try:
        async with asyncio.timeout(USABLE_SECONDS):
            await objects.ensure_namespaces()
    except (ApiError, TimeoutError) as error:
        why = str(error) or "too few masters run, or they cannot reach each other"
        log.warning("the store cannot be written yet", why=why)
