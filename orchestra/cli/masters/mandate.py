"""What only the leading master does: place pods, reconcile, give agents their orders.

It begins with a mandate and ends with it; the next one begins from nothing but the store, so that no word of
an earlier time of leading can be mistaken for news.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from orchestra.aio.supervisor import ActorStatus, Supervisor
from orchestra.apiserver.agents import AgentHub
from orchestra.base.clock import Clock
from orchestra.base.errors import Unavailable
from orchestra.base.log import get_logger
from orchestra.cli.processes import first_of
from orchestra.controllers.group import ControllerGroup, ControllerSettings
from orchestra.controllers.liveness import Liveness
from orchestra.scheduling.scheduler import Scheduler
from orchestra.store.contract import StoreUnavailable
from orchestra.store.events import EventRecorder
from orchestra.store.informer import Informers
from orchestra.store.leadership import Leadership, Mandate
from orchestra.store.objects import ObjectStore

log = get_logger("mandate")


class AgentsDoor(Protocol):
    """Where agents come in: open only at the leading master."""

    def serve_agents(self, hub: AgentHub) -> None:
        """Lets agents in; their sessions are the hub's."""
        ...

    def stop_agents(self) -> None:
        """Ends all sessions and sends agents on to whoever leads."""
        ...


class Reign:
    """One time of leading: everything that it needs, made anew under the mandate's guards."""

    def __init__(
        self,
        objects: ObjectStore,
        mandate: Mandate,
        name: str,
        clock: Clock,
        settings: ControllerSettings,
        masters: Callable[[], Sequence[str]],
    ) -> None:
        self.objects = objects.guarded(mandate.guards)
        self.informers = Informers(self.objects)
        # Nothing is known of any agent: each node gets a fresh time to dial in.
        self.liveness = Liveness()
        self.recorder = EventRecorder(self.objects, "master", host=name)
        self.controllers = ControllerGroup(
            self.objects, self.informers, self.liveness, self.recorder.of, clock, settings
        )
        self.scheduler = Scheduler(self.objects, self.informers, self.recorder.of("default-scheduler"), clock)
        self.hub = AgentHub(
            self.objects,
            self.informers,
            self.liveness,
            self.recorder.of("agent"),
            master=name,
            masters=masters,
        )

    async def run(self, supervisor: Supervisor, door: AgentsDoor) -> None:
        """Leads until cancelled; who made the supervisor stops it."""
        supervisor.start("namespaces", self.objects.ensure_namespaces)
        supervisor.forget("namespaces")
        supervisor.start("informers", self.informers.run)
        supervisor.start("events", self.recorder.run)
        self.controllers.start(supervisor)
        self.scheduler.start(supervisor)
        await self.informers.wait_synced()
        try:
            door.serve_agents(self.hub)
            await supervisor.failed()
        finally:
            door.stop_agents()


class Mandates:
    """Stands for leadership again and again, and reigns in between. Give `run` to a supervisor.

    masters: where every master's API is reached, told to each agent. beside: starts what else only the
    leader does.
    """

    def __init__(
        self,
        leadership: Leadership,
        objects: ObjectStore,
        door: AgentsDoor,
        name: str,
        clock: Clock,
        settings: ControllerSettings | None = None,
        *,
        masters: Callable[[], Sequence[str]] = lambda: (),
        beside: Callable[[Supervisor], None] = lambda supervisor: None,
    ) -> None:
        self._leadership = leadership
        self._objects = objects
        self._door = door
        self._name = name
        self._clock = clock
        self._settings = settings or ControllerSettings()
        self._masters = masters
        self._beside = beside
        self._supervisor: Supervisor | None = None
        self.reign: Reign | None = None

    def actors(self) -> Sequence[ActorStatus]:
        """How the parts fare that run now; none while another master leads."""
        return self._supervisor.status() if self._supervisor is not None else ()

    async def run(self) -> None:
        """Until the store has ended; why, its owner hears."""
        while True:
            try:
                mandate = await self._leadership.won()
            except StoreUnavailable as error:
                log.info("stands for no mandate any more", master=self._name, why=error)
                return
            log.info("leading", master=self._name)
            try:
                await self._hold(mandate)
            except Unavailable as error:
                # The store refused a word of a mandate that was over before we heard of it.
                log.info("the mandate broke off", master=self._name, why=error)
            log.info("no longer leading", master=self._name)

    async def _hold(self, mandate: Mandate) -> None:
        reign = Reign(self._objects, mandate, self._name, self._clock, self._settings, self._masters)
        async with Supervisor("mandate", rng=self._objects.rng) as supervisor:
            self.reign, self._supervisor = reign, supervisor
            try:
                self._beside(supervisor)
                await first_of(mandate.over(), reign.run(supervisor, self._door))
            finally:
                self.reign = self._supervisor = None
