"""The masters of a cluster: real members on disks and a network of the world's, each leading as the real
process does when it is its turn.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.gate import AgentsGate
from orchestra.base.clock import NS_PER_SECOND
from orchestra.cli.masters.embedded import Embedded
from orchestra.cli.masters.mandate import Mandates, Reign
from orchestra.cli.masters.settings import MasterSettings
from orchestra.cli.processes import first_of
from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.settings import MemberSettings
from orchestra.controllers.group import ControllerGroup
from orchestra.controllers.settings import ControllerSettings
from orchestra.mvcc.retention import Retention
from orchestra.mvcc.snapshot import state_hash
from orchestra.raft.model import Configuration
from orchestra.storage.errors import StorageError
from orchestra.store.objects import ObjectStore
from tests.simulation.cluster.committed import Committed
from tests.simulation.cluster.wire import Wire
from tests.simulation.group import world as group
from tests.simulation.loop import WALL_START_NS
from tests.simulation.processes import Process, Timeline

SETTINGS = MemberSettings(
    segment_bytes=128 * 1024,
    snapshot_log_bytes=256 * 1024,
    snapshot_log_entries=400,
    snapshot_catch_up_entries=100,
    retention=Retention(),
)
# How far a machine's clock may be off: what is written with times compares those of several machines.
SKEW_NS_MAX = 400_000_000
# How much faster or slower a machine's clock may run.
RATE_ERROR = 0.02


class MachineClock:
    """The clocks of a machine: its own time since the process began, and the day, more or less right."""

    def __init__(self, process: Process, timeline: Timeline, skew_ns: Callable[[], int]) -> None:
        self._process = process
        self._timeline = timeline
        self._skew_ns = skew_ns

    def monotonic_ns(self) -> int:
        return round(self._process.loop.time() * NS_PER_SECOND)

    def wall_ns(self) -> int:
        return WALL_START_NS + round(self._timeline.now * NS_PER_SECOND) + self._skew_ns()


class _Door:
    """An AgentsDoor, as the API server is."""

    def __init__(self, gate: AgentsGate) -> None:
        self._gate = gate

    def serve_agents(self, hub: AgentHub) -> None:
        self._gate.open(hub)

    def stop_agents(self) -> None:
        self._gate.close()


class Master(group.Node):
    """A machine with a disk, and the lives of the master on it."""

    def __init__(self, world: "Masters", number: int, bootstrap: Bootstrap) -> None:
        super().__init__(world, number, bootstrap)
        self.disk_slowness = self._rng.choice((1, 1, 10)) if world.slow_disks else 1
        self.address = f"10.0.0.{number}:7070"
        self.skew_ns = 0
        self.gate: AgentsGate | None = None
        self.mandates: Mandates | None = None
        self.objects: ObjectStore | None = None
        self._masters = world
        self._stop = asyncio.Event()

    @property
    def reign(self) -> Reign | None:
        """What it does as the leader, while it is."""
        return self.mandates.reign if self.mandates is not None else None

    @property
    def controllers(self) -> ControllerGroup:
        """Of the time of leading."""
        assert self.reign is not None
        return self.reign.controllers

    @property
    def stopped(self) -> bool:
        """Whether its process stands still."""
        return self.process is not None and self.process.stopped

    def boot(self) -> None:
        """Starts its next life."""
        assert self.process is None
        self.lives += 1
        self.ended = ""
        error = RATE_ERROR if self._masters.skewed else 0.0
        rate = self._rng.uniform(1 - error, 1 + error)
        process = self.process = self._masters.timeline.process(f"{self.name}.{self.lives}", rate)
        self._masters.say(f"{process.name} starts")
        process.start(self._live(process), "main")

    def kill(self, *, power: bool = False) -> None:
        process = self.process
        self.gate = self.mandates = self.objects = None
        super().kill(power=power)
        if process is not None:
            self._masters.wire.master_gone(process)

    def stop(self) -> None:
        """Asks it to end in an orderly way; it is down when it has."""
        self._stop.set()

    async def _live(self, process: Process) -> None:
        self._stop = asyncio.Event()
        try:
            await self._serve(process)
        except StorageError as error:
            self._fails(process, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends by it
            self._fails(process, error)
        else:
            self.kill()

    async def _serve(self, process: Process) -> None:
        """As orchestra.cli.masters.running composes it, with the wire left out."""
        world = self._masters
        member = self.member = await self._open(process, SETTINGS)
        world.say(f"{process.name} is open at {member.status().applied_index}")
        settings = MasterSettings(self.name, Path("/data"), self.address, 400)
        backing = Embedded(settings, member, None)
        clock = MachineClock(process, world.timeline, lambda: self.skew_ns)
        rng = random.Random(self._rng.getrandbits(64))
        try:
            async with Supervisor("master", rng=rng) as supervisor:
                objects = ObjectStore(backing.store, clock=clock, rng=rng)
                leadership = backing.leadership
                gate = AgentsGate(self.name, lambda: leadership.leader, leadership.changed)
                mandates = Mandates(
                    leadership,
                    objects,
                    _Door(gate),
                    self.name,
                    clock,
                    world.controller_settings,
                    masters=backing.addresses,
                    beside=backing.lead,
                )
                try:
                    await backing.start(supervisor, self.address)
                    supervisor.start("mandates", mandates.run)
                    self.gate, self.mandates, self.objects = gate, mandates, objects
                    await first_of(self._stop.wait(), member.failed())
                    await backing.hand_over()
                finally:
                    self.gate = self.objects = None
                    gate.close()
        finally:
            await backing.close()


class Masters(group.World):
    """All masters. skewed: whether their clocks are."""

    nodes: dict[int, Master]  # type: ignore[assignment]

    def __init__(self, seed: int, number: int, settings: ControllerSettings, *, skewed: bool) -> None:
        self.skewed = skewed
        self.doubt_seconds = 2 * SKEW_NS_MAX / NS_PER_SECOND if skewed else 0.0
        self.controller_settings = settings
        super().__init__(seed, number)
        self.watchers.clear()
        self.network.usual_delay = self.network.delay = self.chance("delay").choice((0.002, 0.002, 0.02))
        self.settings = SETTINGS
        self.slow_disks = skewed and self.slow_disks
        self.record = Committed(lambda: self.timeline.now)
        self.wire = Wire(self.timeline, self.chance("wire"))
        self.wire.masters = {master.address: master for master in self.nodes.values()}

    def add_node(self, number: int, id_: int, configuration: Configuration) -> Master:
        """A machine, switched off."""
        bootstrap = Bootstrap(group.CLUSTER_ID, id_, f"m{number}", configuration)
        node = self.nodes[number] = Master(self, number, bootstrap)
        return node

    def reigning(self) -> Master | None:
        """Who leads by the record, and is at work."""
        mandate = self.record.mandate
        for master in self.nodes.values():
            reign = master.reign
            if mandate is None or reign is None or master.gate is None or master.gate.hub is None:
                continue
            guards = reign.objects._access.guards
            if master.name == mandate.name and all(each.value == mandate.revision for each in guards):
                return master
        return None

    def is_steady(self) -> bool:
        """Whether the cluster is led, and its leader can write."""
        master = self.reigning()
        if master is None or master.stopped or self.network.drop or self.network.late:
            return False
        if master.disk.full or master.disk.sync_fails:
            return False
        with_it = 1 + sum(
            other is not master
            and other.member is not None
            and not other.stopped
            and not other.disk.full
            and not {(master.id, other.id), (other.id, master.id)} & self.network.cuts
            for other in self.nodes.values()
        )
        return with_it > len(self.nodes) // 2

    def heal(self) -> None:
        """All are well, and up."""
        self.network.calm()
        self.network.mend()
        for master in self.nodes.values():
            master.disk.full = master.disk.sync_fails = False
            master.disk.fuse = None
            if master.process is not None:
                master.process.stopped = False
        self.boot_all()

    def boot_all(self) -> None:
        """Starts who is down."""
        for master in self.nodes.values():
            if not master.up:
                master.boot()

    def missing(self) -> list[str]:
        """What they do not agree on yet, in words."""
        return [] if self._settled() else [f"the masters do not agree: {self.describe()}"]

    def check(self) -> None:
        """All have the same state, and it is what was committed. Raises: Violation."""
        machines = [master.member.machine for master in self.nodes.values() if master.member is not None]
        if len({state_hash(machine) for machine in machines}) != 1:
            raise group.Violation(f"one index, several states: {self.describe()}")
        self.record.check(machines[0])
