"""A small cluster on the real store: controllers, and model agents that run what is bound to them."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from orchestra.aio.supervisor import Supervisor
from orchestra.base.clock import SystemClock
from orchestra.base.errors import ApiError, NotFound
from orchestra.controllers.group import ControllerGroup, ControllerSettings
from orchestra.controllers.liveness import Liveness
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, REPLICA_SET, Kind
from orchestra.objects.times import time_from_ns
from orchestra.pb import apps, core, meta
from orchestra.store.informer import Informers
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore

PATIENCE_SECONDS = 10.0


class Notebook:
    """A Recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def record(self, obj: Any, type: str, reason: str, message: str) -> None:
        self.told.append((obj.metadata.name, reason, message))

    def reasons(self) -> set[str]:
        return {reason for _, reason, _ in self.told}


class World:
    """One cluster. `broken` says which pods never become ready, by the value of their label `app`."""

    def __init__(self, settings: ControllerSettings) -> None:
        self.clock = SystemClock()
        self.store = MemoryStore()
        self.objects = ObjectStore(self.store, clock=self.clock)
        self.informers = Informers(self.objects)
        self.liveness = Liveness()
        self.notes = Notebook()
        self.group = ControllerGroup(
            self.objects, self.informers, self.liveness, self.notes, self.clock, settings
        )
        self.supervisor = Supervisor("test")
        self.is_broken: Callable[[core.Pod], bool] = lambda pod: False
        self.dead: set[str] = set()
        self._next_node = 0
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.pods = self.informers.of(POD)

    async def start(self) -> None:
        await self.objects.ensure_namespaces()
        self.pods.subscribe(lambda old, new: self._seen(new))
        self.informers.of(NODE).subscribe(lambda old, new: self._node_seen())
        self.supervisor.start("informers", self.informers.run)
        self.group.start(self.supervisor)
        self.supervisor.start("agents", self._run_pods)
        await self.informers.wait_synced()

    async def stop(self) -> None:
        await self.supervisor.stop()
        await self.store.close()

    def _seen(self, pod: core.Pod | None) -> None:
        if pod is not None:
            self._queue.put_nowait((pod.metadata.namespace, pod.metadata.name))

    def _node_seen(self) -> None:
        """A pod that found no node may find one now."""
        for pod in self.pods.list():
            if not pod.spec.nodeName:
                self._seen(pod)

    async def _run_pods(self) -> None:
        """Scheduler and agents in one: binds in turn, says Running and Ready, finishes what is to go."""
        while True:
            key = await self._queue.get()
            with contextlib.suppress(ApiError):
                await self._run_pod(*key)

    async def _run_pod(self, namespace: str, name: str) -> None:
        pod = await self.objects.get(POD, namespace, name)
        if not pod.spec.nodeName:
            nodes = [n for n in await self.nodes() if n.metadata.name not in self.dead]
            nodes = [n for n in nodes if not any(t.effect == "NoSchedule" for t in n.spec.taints)]
            if nodes:
                self._next_node += 1
                chosen = nodes[self._next_node % len(nodes)].metadata.name
                await self.objects.bind(namespace, name, pod.metadata.uid, chosen)
            return
        if pod.spec.nodeName in self.dead:
            return
        if pod.metadata.HasField("deletionTimestamp"):
            options = meta.DeleteOptions(
                gracePeriodSeconds=0, preconditions=meta.Preconditions(uid=pod.metadata.uid)
            )
            await self.objects.delete(POD, namespace, name, options)
        elif any(c.reason == "NodeNotReady" for c in pod.status.conditions):
            await self.objects.mutate(POD, namespace, name, self.say_ready_again, subresource="status")
        elif pod.status.phase == "Pending":
            ready = not self.is_broken(pod)
            await self.objects.mutate(
                POD, namespace, name, lambda p: self.run(p, ready), subresource="status"
            )

    def say_ready_again(self, pod: core.Pod) -> bool:
        set_ready(pod, not self.is_broken(pod), self.clock.wall_ns())
        return True

    def run(self, pod: core.Pod, ready: bool) -> bool:
        pod.status.phase = "Running"
        pod.status.podIP = f"127.77.0.{10 + self._next_node % 200}"
        set_ready(pod, ready, self.clock.wall_ns())
        for index, container in enumerate(pod.spec.containers):
            status = pod.status.containerStatuses.add(name=container.name, ready=ready, restartCount=0)
            for port in container.ports:
                host_port = 20_000 + int(pod.metadata.uid[:3], 16) + index
                status.ports.add(name=port.name, containerPort=port.containerPort, hostPort=host_port)
        return True

    async def nodes(self) -> list[core.Node]:
        return list((await self.objects.list(NODE)).items)

    async def add_node(self, name: str) -> None:
        await self.objects.create(core.Node(metadata=meta.ObjectMeta(name=name)))
        self.liveness.connected(name, f"{name}-1", self.clock.monotonic_ns())
        await self.until(NODE, "", name, is_node_ready)

    def kill_node(self, name: str) -> None:
        self.dead.add(name)
        self.liveness.disconnected(name, None, self.clock.monotonic_ns())

    def revive_node(self, name: str) -> None:
        self.dead.discard(name)
        self.liveness.connected(name, f"{name}-2", self.clock.monotonic_ns())
        for pod in self.pods.list():
            if pod.spec.nodeName == name:
                self._seen(pod)

    async def until(
        self, kind: Kind, namespace: str, name: str, holds: Callable[[Any], bool], what: str = ""
    ) -> Any:
        """The object as soon as it is there and as wanted."""
        cache = self.informers.of(kind)

        def is_so() -> bool:
            found = cache.get(namespace, name)
            return found is not None and holds(found)

        await self.until_all(is_so, what or name)
        return cache.get(namespace, name)

    async def until_all(self, holds: Callable[[], bool], what: str = "") -> None:
        """Returns once it holds, looking at every change of any object."""
        changed = asyncio.Event()
        ends = [
            self.informers.of(kind).subscribe(lambda old, new: changed.set())
            for kind in list(self.informers._informers)
        ]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(f"never came true: {what}\n{self.picture()}") from None
        finally:
            for end in ends:
                end()

    def picture(self) -> str:
        """The pods, sets and deployments, a line each, for whoever reads a failure."""
        lines = [f"dead nodes: {sorted(self.dead)}"]
        for pod in self.pods.list():
            ready = [f"{c.status}/{c.reason}" for c in pod.status.conditions if c.type == "Ready"]
            going = " going" if pod.metadata.HasField("deletionTimestamp") else ""
            lines.append(f"{pod.metadata.name} {pod.spec.nodeName} {pod.status.phase} {ready}{going}")
        for found in [*self.sets(), *self.informers.of(DEPLOYMENT).list()]:
            said = str(found.status).replace("\n", " ")
            lines.append(f"{found.metadata.name} wants {found.spec.replicas}: {said}")
        return "\n".join(lines)

    async def settle(self) -> int:
        """Waits until the store has been quiet for a while; its revision then."""
        quiet = 0
        revision = self.store.revision
        async with asyncio.timeout(PATIENCE_SECONDS):
            while quiet < 5:
                await asyncio.sleep(0.02)
                quiet = quiet + 1 if self.store.revision == revision else 0
                revision = self.store.revision
        return revision

    def active(self, **labels: str) -> list[core.Pod]:
        """The pods of the labels that are not on their way out."""
        return [
            pod
            for pod in self.pods.list("default")
            if not pod.metadata.HasField("deletionTimestamp")
            and all(pod.metadata.labels.get(k) == v for k, v in labels.items())
        ]

    async def gone(self, kind: Kind, namespace: str, name: str) -> None:
        """Returns once the object is not there."""
        await self.until_all(lambda: self.informers.of(kind).get(namespace, name) is None, f"{name} gone")
        with pytest.raises(NotFound):
            await self.objects.get(kind, namespace, name)

    async def rolled_out(self, name: str) -> apps.Deployment:
        """The Deployment, once `kubectl rollout status` would say that it is done."""
        await self.until(DEPLOYMENT, "default", name, is_rolled_out, f"{name} rolled out")
        return await self.objects.get(DEPLOYMENT, "default", name)

    def sets(self) -> list[apps.ReplicaSet]:
        return sorted(
            self.informers.of(REPLICA_SET).list("default"),
            key=lambda s: int(s.metadata.annotations.get("deployment.kubernetes.io/revision", "0")),
        )


def set_ready(pod: core.Pod, ready: bool, now_ns: int) -> None:
    """Writes the Ready condition."""
    kept = [c for c in pod.status.conditions if c.type != "Ready"]
    del pod.status.conditions[:]
    pod.status.conditions.extend(kept)
    pod.status.conditions.add(
        type="Ready", status="True" if ready else "False", lastTransitionTime=time_from_ns(now_ns)
    )


def is_node_ready(node: core.Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


def is_rolled_out(deployment: apps.Deployment) -> bool:
    """What kubectl asks."""
    status, replicas = deployment.status, deployment.spec.replicas
    return (
        status.observedGeneration >= deployment.metadata.generation
        and status.updatedReplicas >= replicas
        and status.replicas <= status.updatedReplicas
        and status.availableReplicas >= status.updatedReplicas
    )


def template(app: str, version: str = "1") -> core.PodTemplateSpec:
    made = core.PodTemplateSpec()
    made.metadata.labels["app"] = app
    container = made.spec.containers.add(name="main", command=["sleep", version])
    container.ports.add(name="http", containerPort=8080)
    return made


def replica_set(name: str, replicas: int = 3, app: str = "") -> apps.ReplicaSet:
    made = apps.ReplicaSet(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = app or name
    made.spec.template.CopyFrom(template(app or name))
    return made


def deployment(name: str, replicas: int = 3, version: str = "1") -> apps.Deployment:
    made = apps.Deployment(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = name
    made.spec.template.CopyFrom(template(name, version))
    return made
