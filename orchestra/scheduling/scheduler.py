"""The acting half of placement: pods without a node in, bindings and reasons out."""

import asyncio

from orchestra.aio.supervisor import Supervisor
from orchestra.base.clock import Clock
from orchestra.base.errors import ApiError, Conflict, NotFound
from orchestra.base.log import get_logger
from orchestra.objects.kinds import NODE, POD, Kind
from orchestra.objects.times import time_from_ns
from orchestra.pb import core
from orchestra.scheduling.cycle import Cycle
from orchestra.scheduling.queue import SchedulingQueue
from orchestra.scheduling.view import ClusterView, shape_of
from orchestra.store.events import Recorder
from orchestra.store.informer import Informers
from orchestra.store.objects import ObjectStore

log = get_logger("scheduler")

NAME = "default-scheduler"
# Bindings written together: one group commit, and a bound on what a crash leaves half done.
BATCH = 256
FINISHED = ("Succeeded", "Failed")
NS_PER_SECOND = 1_000_000_000


class Scheduler:
    """One actor: it owns the view, the queue and what is assumed, and rebuilds them whenever it starts."""

    def __init__(self, objects: ObjectStore, informers: Informers, recorder: Recorder, clock: Clock) -> None:
        self._objects = objects
        self._pods = informers.of(POD)
        self._nodes = informers.of(NODE)
        self._recorder = recorder
        self._clock = clock
        self._dirty: dict[tuple[int, str, str], None] = {}
        self._wake = asyncio.Event()
        self._reset()
        self._pods.subscribe(self._pod_changed)
        self._nodes.subscribe(lambda old, new: self._note(NODE, new if new is not None else old))

    def _reset(self) -> None:
        self._view = ClusterView()
        self._cycle = Cycle(self._view, seed=self._clock.monotonic_ns() & 0xFFFFFFFF)
        self._queue = SchedulingQueue()
        self._uids: dict[str, str] = {}
        self._assumed: set[str] = set()

    def start(self, supervisor: Supervisor) -> None:
        """Runs under the supervisor."""
        supervisor.start("scheduler", self.run, queue_length=lambda: len(self._queue))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """Of a pod that has its node, only its end matters, and what it asks for."""
        if (
            old is None
            or new is None
            or not old.spec.nodeName
            or (old.status.phase in FINISHED) != (new.status.phase in FINISHED)
            or old.metadata.uid != new.metadata.uid
            or old.metadata.ownerReferences != new.metadata.ownerReferences
            or old.spec != new.spec
        ):
            self._note(POD, new if new is not None else old)

    def _note(self, kind: Kind, obj: core.Pod | core.Node | None) -> None:
        if obj is not None:
            self._dirty[(kind.number, obj.metadata.namespace, obj.metadata.name)] = None
            self._wake.set()

    async def run(self) -> None:
        """Places pods for ever."""
        await self._pods.synced.wait()
        await self._nodes.synced.wait()
        self._reset()
        self._dirty.clear()
        for node in self._nodes.list():
            self._see_node(node.metadata.name)
        for pod in self._pods.list():
            self._see_pod(pod.metadata.namespace, pod.metadata.name)
        while True:
            self._wake.clear()
            self._see_changes()
            if not await self._schedule():
                await self._idle()

    async def _idle(self) -> None:
        due = self._queue.next_ns()
        seconds = None if due is None else max(0.0, (due - self._clock.monotonic_ns()) / NS_PER_SECOND)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _see_changes(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for number, namespace, name in dirty:
            if number == NODE.number:
                self._see_node(name)
            else:
                self._see_pod(namespace, name)

    def _see_node(self, name: str) -> None:
        node = self._nodes.get("", name)
        if node is None:
            self._view.remove_node(name)
        elif self._view.set_node(node):
            self._queue.changed(self._clock.monotonic_ns())

    def _see_pod(self, namespace: str, name: str) -> None:
        key = f"{namespace}/{name}"
        pod: core.Pod | None = self._pods.get(namespace, name)
        known = self._uids.get(key)
        if known is not None and (pod is None or pod.metadata.uid != known):
            self._forget(key, known)
        if pod is None:
            return
        uid = pod.metadata.uid
        self._uids[key] = uid
        if pod.status.phase in FINISHED:
            self._queue.remove(key)
            self._release(uid)
        elif pod.spec.nodeName:
            self._queue.remove(key)
            if uid not in self._assumed or self._view.where(uid) != pod.spec.nodeName:
                self._view.place(uid, pod.spec.nodeName, shape_of(pod))
            self._assumed.discard(uid)
        elif pod.metadata.HasField("deletionTimestamp") or not _ours(pod):
            self._queue.remove(key)
        elif uid not in self._assumed:
            self._queue.add(key, pod.spec.priority)

    def _forget(self, key: str, uid: str) -> None:
        del self._uids[key]
        self._assumed.discard(uid)
        self._queue.remove(key)
        self._release(uid)

    def _release(self, uid: str) -> None:
        if self._view.release(uid):
            self._queue.changed(self._clock.monotonic_ns())

    async def _schedule(self) -> bool:
        """Places up to a batch of pods; False if none was due."""
        now_ns = self._clock.monotonic_ns()
        placed: list[tuple[core.Pod, str]] = []
        refused: list[tuple[core.Pod, str]] = []
        while len(placed) + len(refused) < BATCH and (key := self._queue.pop(now_ns)) is not None:
            pod = self._pods.get(*key.split("/", 1))
            if pod is None:
                self._queue.remove(key)
                continue
            shape = shape_of(pod)
            decision = self._cycle.choose(shape)
            if decision.node is None:
                self._queue.failed(key, now_ns, parked=True)
                refused.append((pod, decision.message))
            else:
                self._view.place(pod.metadata.uid, decision.node, shape)
                self._assumed.add(pod.metadata.uid)
                placed.append((pod, decision.node))
        if not placed and not refused:
            return False
        async with asyncio.TaskGroup() as group:
            for pod, node in placed:
                group.create_task(self._bind(pod, node))
            for pod, message in refused:
                group.create_task(self._explain(pod, message))
        return True

    async def _bind(self, pod: core.Pod, node: str) -> None:
        key = f"{pod.metadata.namespace}/{pod.metadata.name}"
        try:
            await self._objects.bind(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, node)
        except (NotFound, Conflict) as error:
            # Gone, replaced or bound by somebody else: what the informer brings decides.
            log.debug("binding came too late", pod=key, node=node, error=error)
            self._unassume(pod, key)
        except ApiError as error:
            log.warning("binding failed, will be tried again", pod=key, node=node, error=error)
            self._unassume(pod, key)
        else:
            # In the queue until now, so that a crash in between finds it there again.
            self._queue.remove(key)
            message = f"Successfully assigned {key} to {node}"
            self._recorder.record(pod, "Normal", "Scheduled", message)

    def _unassume(self, pod: core.Pod, key: str) -> None:
        self._assumed.discard(pod.metadata.uid)
        self._view.release(pod.metadata.uid)
        self._queue.failed(key, self._clock.monotonic_ns(), parked=False)
        self._note(POD, pod)

    async def _explain(self, pod: core.Pod, message: str) -> None:
        """Says on the pod why it is not placed; writes nothing if that is what it says already."""
        key = f"{pod.metadata.namespace}/{pod.metadata.name}"
        now = time_from_ns(self._clock.wall_ns())

        def change(fresh: core.Pod) -> bool:
            condition = next((c for c in fresh.status.conditions if c.type == "PodScheduled"), None)
            if condition is None:
                condition = fresh.status.conditions.add(type="PodScheduled")
            if fresh.spec.nodeName or (condition.status, condition.message) == ("False", message):
                return False
            if condition.status != "False":
                condition.lastTransitionTime.CopyFrom(now)
            condition.status = "False"
            condition.reason = "Unschedulable"
            condition.message = message
            return True

        self._recorder.record(pod, "Warning", "FailedScheduling", message)
        try:
            await self._objects.mutate(
                POD,
                pod.metadata.namespace,
                pod.metadata.name,
                change,
                subresource="status",
                uid=pod.metadata.uid,
            )
        except ApiError as error:
            log.debug("could not say why the pod is not placed", pod=key, error=error)


def _ours(pod: core.Pod) -> bool:
    return (pod.spec.schedulerName or NAME) == NAME and not pod.spec.schedulingGates
