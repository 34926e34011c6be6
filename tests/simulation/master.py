"""A master, composed as `orchestra master` composes it, with the wire and the disk pretended."""

import random

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.agents import AgentHub
from orchestra.controllers.group import ControllerGroup, ControllerSettings
from orchestra.controllers.liveness import Liveness
from orchestra.scheduling.scheduler import Scheduler
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.simulation.disk import Disk
from tests.simulation.loop import VirtualClock
from tests.simulation.network import Network


class Master:
    """One life of a master's process."""

    def __init__(
        self,
        store: MemoryStore,
        network: Network,
        clock: VirtualClock,
        rng: random.Random,
        settings: ControllerSettings,
    ) -> None:
        self.disk = Disk(store, random.Random(rng.getrandbits(64)))
        self.objects = ObjectStore(self.disk, clock=clock, rng=random.Random(rng.getrandbits(64)))
        self.informers = Informers(self.objects)
        self.liveness = Liveness()
        self.supervisor = Supervisor("master", rng=self.objects.rng)
        self.recorders: list[EventRecorder] = []
        self._network = network
        self._clock = clock
        self._settings = settings

    async def start(self) -> None:
        """Returns when agents may dial."""
        await self.objects.ensure_namespaces()
        supervisor, informers = self.supervisor, self.informers
        supervisor.start("informers", informers.run)
        self.controllers = ControllerGroup(
            self.objects, informers, self.liveness, self._recorder, self._clock, self._settings
        )
        self.controllers.start(supervisor)
        self.scheduler = Scheduler(self.objects, informers, self._recorder("default-scheduler"), self._clock)
        self.scheduler.start(supervisor)
        self.hub = AgentHub(self.objects, informers, self.liveness, self._recorder("agent"), master="m1")
        await informers.wait_synced()
        self.hub.start()
        self._network.hub = self.hub

    def _recorder(self, component: str) -> EventRecorder:
        made = EventRecorder(self.objects, component, host="m1")
        self.recorders.append(made)
        self.supervisor.start(f"events/{component}", made.run)
        return made

    async def stop(self) -> None:
        """An orderly end."""
        self._network.hub = None
        self.hub.stop()
        await self._network.hang_up()
        await self.supervisor.stop()
        self.disk.die()

    async def kill(self) -> None:
        """SIGKILL: nothing more is written, and what was asked for and not yet written is lost."""
        self.disk.die()
        self.hub.stop()
        await self._network.hang_up()
        await self.supervisor.stop()

    def restarts(self) -> int:
        """How often a part of it has crashed."""
        return sum(status.restarts for status in (*self.supervisor.status(), *self.informers.status()))
