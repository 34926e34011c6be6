"""What users do to a cluster, by chance."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from orchestra.base.errors import AlreadyExists, Conflict, DeadlineExceeded, Forbidden, NotFound, Unavailable
from orchestra.objects import intstr
from orchestra.objects.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    Kind,
)
from orchestra.pb import apps, core, meta
from tests.simulation.cluster import builders
from tests.simulation.cluster.state import controller_uid, is_deleting

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

NAMESPACES = ("default", "blue", "green")
NAMES = ("a", "b", "c")
# Together they never need more than the nodes have, so that at the end everything can be placed.
REPLICAS_MAX = 7
# What the API may answer to somebody who does not look first, or when nobody leads.
_NO_FAILURE = (NotFound, AlreadyExists, Forbidden, Conflict, Unavailable, DeadlineExceeded)
POLICIES = ("Background", "Foreground", "Orphan", "")


class Workload:
    """Each method is one thing somebody does; what the API refuses is no failure."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.chance("workload")
        self._versions = 0
        self._acts: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (10, self.make_deployment),
            (12, self.new_version),
            (8, self.scale),
            (5, self.roll_back),
            (4, self.pause_or_resume),
            (2, self.change_strategy),
            (4, self.delete_workload),
            (5, self.make_sets),
            (3, self.make_pod),
            (6, self.make_service),
            (3, self.delete_service),
            (3, self.make_namespace),
            (1, self.delete_namespace),
            (4, self.cordon_or_uncordon),
            (6, self.delete_pod),
            (2, self.release_pod),
            (3, self.restart),
            (3, self.look),
        ]

    async def act(self) -> None:
        """One thing."""
        weights = [weight for weight, _ in self._acts]
        act = self._rng.choices([act for _, act in self._acts], weights)[0]
        try:
            said = await act()
        except _NO_FAILURE as error:
            said = f"{act.__name__}: {type(error).__name__}: {error}"
        self._world.trace.say(f"user: {said}")

    async def begin(self) -> None:
        """Something to begin with."""
        for act in (self.make_deployment, self.make_service):
            try:
                said = await act()
            except _NO_FAILURE as error:
                said = f"{act.__name__}: {error}"
            self._world.trace.say(f"user: {said}")

    def _namespace(self) -> str:
        return self._rng.choices(NAMESPACES, (4, 2, 1))[0]

    def _pick(self, kind: Kind) -> Any:
        """Some object of a kind. Raises: NotFound if there is none."""
        found = [o for o in self._world.state.of(kind) if not is_deleting(o)]
        if not found:
            raise NotFound(f"no {kind.plural}")
        return self._rng.choice(found)

    async def _change(self, kind: Kind, obj: Any, change: Callable[[Any], Any]) -> None:
        metadata = obj.metadata
        await self._world.user.mutate(kind, metadata.namespace, metadata.name, change, uid=metadata.uid)

    def _meddle(self, obj: Any) -> None:
        """A user lays hands on what a Deployment keeps: what comes of that is not the rollout's doing."""
        if owner := controller_uid(obj):
            self._world.invariants.rollouts.meddle(owner)

    def _said(self) -> dict[str, str]:
        """How the containers of a template behave: mostly well."""
        said = {"ready_ms": str(self._rng.choice((50, 200, 1000)))} if self._rng.random() < 0.6 else {}
        chance = self._rng.random()
        if chance < 0.06:
            said["ready_ms"] = "-1"
        elif chance < 0.12:
            said["crash_ms"] = str(self._rng.choice((100, 2000)))
        if self._rng.random() < 0.1:
            said["deaf"] = "true"
        return said

    # -- workloads -----------------------------------------------------------------------------------

    async def make_deployment(self) -> str:
        namespace, name = self._namespace(), self._rng.choice(NAMES)
        made = builders.deployment(name, self._rng.randint(0, REPLICAS_MAX), 1, namespace, **self._said())
        self._set_strategy(made)
        made.spec.revisionHistoryLimit = self._rng.choice((0, 2, 10))
        made.spec.progressDeadlineSeconds = self._rng.choice((10, 600))
        made.spec.minReadySeconds = self._rng.choice((0, 0, 0, 2))
        await self._world.user.create(made)
        return f"made deployment {namespace}/{name} of {made.spec.replicas}"

    def _set_strategy(self, deployment: apps.Deployment) -> None:
        strategy = deployment.spec.strategy
        if self._rng.random() < 0.15:
            strategy.Clear()
            strategy.type = "Recreate"
            return
        strategy.type = "RollingUpdate"
        surge: int | str = self._rng.choice((0, 1, 2, "25%", "100%"))
        unavailable: int | str = self._rng.choice((0, 1, 2, "25%", "50%"))
        if surge == 0 and unavailable == 0:
            unavailable = 1
        strategy.rollingUpdate.maxSurge.CopyFrom(intstr.of(surge))
        strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(unavailable))

    async def change_strategy(self) -> str:
        found = self._pick(DEPLOYMENT)
        await self._change(DEPLOYMENT, found, self._set_strategy)
        return f"changed the strategy of {found.metadata.name}"

    async def new_version(self) -> str:
        found = self._pick(DEPLOYMENT)
        self._versions += 1
        made = builders.template(found.metadata.name, self._versions, **self._said())

        def change(live: apps.Deployment) -> None:
            live.spec.template.CopyFrom(made)

        await self._change(DEPLOYMENT, found, change)
        return f"version {self._versions} of {found.metadata.namespace}/{found.metadata.name}"

    async def restart(self) -> str:
        found = self._pick(DEPLOYMENT)

        def change(live: apps.Deployment) -> None:
            live.spec.template.metadata.annotations["restartedAt"] = f"{self._world.now():.3f}"

        await self._change(DEPLOYMENT, found, change)
        return f"restarted {found.metadata.namespace}/{found.metadata.name}"

    async def roll_back(self) -> str:
        found = self._pick(DEPLOYMENT)
        sets = self._world.state.owned(REPLICA_SET, found.metadata.uid)
        if not sets:
            raise NotFound("no revision")
        wanted = self._rng.choice(sets)

        def change(live: apps.Deployment) -> None:
            live.spec.template.CopyFrom(wanted.spec.template)
            live.spec.template.metadata.labels.pop("pod-template-hash", None)

        await self._change(DEPLOYMENT, found, change)
        return f"rolled {found.metadata.namespace}/{found.metadata.name} back to {wanted.metadata.name}"

    async def scale(self) -> str:
        kind = self._rng.choice((DEPLOYMENT, DEPLOYMENT, DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER))
        found = self._pick(kind)
        replicas = self._rng.randint(0, REPLICAS_MAX)

        def change(live: Any) -> None:
            live.spec.replicas = replicas

        self._meddle(found)
        await self._change(kind, found, change)
        return f"scaled {kind.singular} {found.metadata.namespace}/{found.metadata.name} to {replicas}"

    async def pause_or_resume(self) -> str:
        found = self._pick(DEPLOYMENT)

        def change(live: apps.Deployment) -> None:
            live.spec.paused = not found.spec.paused

        await self._change(DEPLOYMENT, found, change)
        word = "resumed" if found.spec.paused else "paused"
        return f"{word} {found.metadata.namespace}/{found.metadata.name}"

    async def delete_workload(self) -> str:
        kind = self._rng.choice((DEPLOYMENT, DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER))
        found = self._pick(kind)
        policy = self._rng.choice(POLICIES)
        options = meta.DeleteOptions(propagationPolicy=policy) if policy else None
        self._meddle(found)
        await self._world.user.delete(kind, found.metadata.namespace, found.metadata.name, options)
        return f"deleted {kind.singular} {found.metadata.namespace}/{found.metadata.name} {policy}"

    async def make_sets(self) -> str:
        namespace, replicas = self._namespace(), self._rng.randint(0, 3)
        make = self._rng.choice((builders.replica_set, builders.replication_controller))
        name = "s" if make is builders.replica_set else "r"
        await self._world.user.create(make(name, replicas, namespace, **self._said()))
        return f"made {make.__name__} {namespace}/{name} of {replicas}"

    async def make_pod(self) -> str:
        name = self._rng.choice(("p", "q"))
        policy = self._rng.choice(("Always", "Never"))
        said = {"crash_ms": "3000", "exit": "0"} if policy == "Never" else {}
        await self._world.user.create(builders.pod(name, self._namespace(), policy, **said))
        return f"made pod {name} {policy}"

    async def delete_pod(self) -> str:
        found = self._pick(POD)
        self._world.invariants.rollouts.user_deleted.add(found.metadata.uid)
        options = meta.DeleteOptions(gracePeriodSeconds=self._rng.choice((0, 1, 5)))
        await self._world.user.delete(POD, found.metadata.namespace, found.metadata.name, options)
        return f"deleted pod {found.metadata.name} with {options.gracePeriodSeconds} s"

    async def release_pod(self) -> str:
        """Takes a pod out of its set by its labels, and does away with it later."""
        found = self._pick(POD)
        if not controller_uid(found):
            raise NotFound("nobody keeps it")
        self._world.invariants.rollouts.user_deleted.add(found.metadata.uid)

        def change(live: core.Pod) -> None:
            live.metadata.labels["app"] = "debug"

        await self._change(POD, found, change)
        return f"relabelled pod {found.metadata.name}"

    # -- the rest ------------------------------------------------------------------------------------

    async def make_service(self) -> str:
        namespace, app = self._namespace(), self._rng.choice((*NAMES, "s", "r", "debug"))
        await self._world.user.create(builders.service(app, namespace, node_port=self._rng.random() < 0.4))
        return f"made service {namespace}/{app}"

    async def delete_service(self) -> str:
        found = self._pick(SERVICE)
        await self._world.user.delete(SERVICE, found.metadata.namespace, found.metadata.name)
        return f"deleted service {found.metadata.namespace}/{found.metadata.name}"

    async def make_namespace(self) -> str:
        name = self._rng.choice(NAMESPACES[1:])
        await self._world.user.create(builders.namespace(name))
        return f"made namespace {name}"

    async def delete_namespace(self) -> str:
        name = self._rng.choice(NAMESPACES[1:])
        await self._world.user.delete(NAMESPACE, "", name)
        return f"deleted namespace {name}"

    async def cordon_or_uncordon(self) -> str:
        found = self._pick(NODE)

        def change(live: core.Node) -> None:
            live.spec.unschedulable = not found.spec.unschedulable

        await self._change(NODE, found, change)
        return f"{'un' if found.spec.unschedulable else ''}cordoned {found.metadata.name}"

    async def look(self) -> str:
        kind = self._rng.choice((POD, DEPLOYMENT, SERVICE))
        return f"sees {len(await self._world.user.list(kind))} {kind.plural}"

    # -- the end -------------------------------------------------------------------------------------

    async def put_right(self) -> None:
        """Leaves a cluster that can come to rest: nothing paused, cordoned or broken by its template."""
        for node in self._world.state.of(NODE):
            await self._change(NODE, node, lambda live: live.spec.ClearField("unschedulable"))
        for kind in (DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER):
            for found in self._world.state.of(kind):
                if not is_deleting(found) and not (kind is REPLICA_SET and controller_uid(found)):
                    await self._surely(self._mend(kind, found))
        for pod in self._world.state.of(POD):
            if not controller_uid(pod) and not is_deleting(pod):
                deleted = self._world.user.delete(POD, pod.metadata.namespace, pod.metadata.name)
                await self._surely(deleted)

    async def _surely(self, act: Awaitable[Any]) -> None:
        try:
            await act
        except (NotFound, Conflict) as error:
            # It went by itself.
            self._world.trace.say(f"user: {error}")

    async def _mend(self, kind: Kind, found: Any) -> None:
        said = found.spec.template.metadata.annotations
        broken = said.get("sim/crash-ms", "0") != "0" or said.get("sim/ready-ms", "0").startswith("-")
        if broken and kind is not DEPLOYMENT:
            await self._world.user.delete(kind, found.metadata.namespace, found.metadata.name)
            return

        def change(live: Any) -> None:
            if kind is DEPLOYMENT:
                live.spec.paused = False
            if broken:
                live.spec.template.CopyFrom(builders.template(found.metadata.name, 9999))
            live.spec.replicas = min(live.spec.replicas, 4)

        await self._change(kind, found, change)
