"""The ReplicaSet and ReplicationController controllers: one reconciler, two kinds."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import Clock
from orchestra.base.errors import ApiError, Conflict
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans import replicas as plans
from orchestra.controllers.plans.replicas import ReplicaFailure, ReplicasObserved
from orchestra.controllers.runner import (
    DONE,
    Key,
    Outcome,
    OwnWrites,
    all_of,
    is_ending,
    rest_for,
    unless_gone,
    until,
    write_status,
)
from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICA_SET, ApiObject, Kind
from orchestra.pb import core, meta
from orchestra.store.events import Recorder
from orchestra.store.informer import BY_CONTROLLER, Informer, Informers
from orchestra.store.objects import ObjectStore

# The index of pods and replica sets that nobody controls, by namespace.
ORPHANS = "orphans"


def orphan_namespace(obj: ApiObject) -> Iterable[str]:
    """The namespace of an object without a controller, nothing for one that has one."""
    return () if podq.controller_of(obj.metadata) else (obj.metadata.namespace,)


@dataclass(slots=True)
class _Done:
    """What one pass made and deleted, as the store acknowledged it. deleted: uids."""

    created: list[core.Pod] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    terminating: list[core.Pod] = field(default_factory=list)


class ReplicasReconciler:
    """Keeps the wanted number of pods for every object of one kind."""

    def __init__(
        self, kind: Kind, objects: ObjectStore, informers: Informers, recorder: Recorder, clock: Clock
    ) -> None:
        self.kind = kind
        self.queue: WorkQueue[Key] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._writes: OwnWrites[Key] = OwnWrites()
        self._owners: Informer = informers.of(kind)
        self._pods: Informer = informers.of(POD)
        self._pods.add_index(ORPHANS, orphan_namespace)
        self._owners.subscribe(self._owner_changed)
        self._pods.subscribe(self._pod_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return self._owners, self._pods

    def all_keys(self) -> list[Key]:
        """Every object of the kind."""
        return [(o.metadata.namespace, o.metadata.name) for o in self._owners.list()]

    def _owner_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self.queue.add((changed.metadata.namespace, changed.metadata.name))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        owners = [owner for pod in (old, new) if pod is not None and (owner := self._owner_of(pod))]
        orphan = new is not None and podq.controller_of(new.metadata) is None
        if not (owners or orphan) or not plans.pod_matters(old, new):
            return
        for owner in owners:
            self.queue.add(owner)
        if orphan and new is not None and (old is None or old.metadata != new.metadata):
            self._orphan_changed(new)

    def _owner_of(self, pod: core.Pod) -> Key | None:
        """The key of the pod's controller if that is one of ours."""
        controller = podq.controller_of(pod.metadata)
        if controller is None or controller.kind != self.kind.kind:
            return None
        return pod.metadata.namespace, controller.name

    def _orphan_changed(self, pod: core.Pod) -> None:
        for owner in self._owners.list(pod.metadata.namespace):
            if plans.selector_of(owner).matches(pod.metadata.labels):
                self.queue.add((owner.metadata.namespace, owner.metadata.name))

    async def reconcile(self, key: Key) -> Outcome:
        """One look at one object."""
        await self._writes.seen(key, self._owners, self._pods)
        owner = self._owners.get(*key)
        if owner is None:
            return DONE
        now_ns = self._clock.wall_ns()
        pods = self._pods.by_index(BY_CONTROLLER, owner.metadata.uid)
        if not owner.metadata.HasField("deletionTimestamp"):
            pods = pods + self._pods.by_index(ORPHANS, key[0])
        # Who shares a node with whom only matters to who goes first.
        related = self._related(owner) if len(pods) > plans.wanted_replicas(owner) else None
        plan = plans.plan(ReplicasObserved(owner, pods, related), now_ns)
        failure: ReplicaFailure | None = None
        problem: ApiError | None = None
        done = _Done()
        await self._claim(key, owner, plan)
        try:
            await self._delete(key, owner, plan.delete, done)
            await self._create(key, owner, plan.create, done)
        except ApiError as error:
            problem = error
            if not is_ending(error):
                failure = ReplicaFailure("FailedCreate" if plan.create else "FailedDelete", str(error))
        await self._write_status(key, owner, plan, done, failure)
        if problem is not None:
            raise problem
        if plan.create == plans.BURST_MAX or len(plan.delete) == plans.BURST_MAX:
            return Outcome(0)
        return until(plan.requeue_at_ns, self._clock.wall_ns(), rest_ns=rest_for(len(pods)))

    def _related(self, owner: ApiObject) -> dict[str, int] | None:
        """Active pods by node of all sets of the same Deployment; None where there is no such."""
        controller = podq.controller_of(owner.metadata)
        if self.kind is not REPLICA_SET or controller is None or controller.kind != DEPLOYMENT.kind:
            return None
        related: list[core.Pod] = []
        for sibling in self._owners.by_index(BY_CONTROLLER, controller.uid):
            related += self._pods.by_index(BY_CONTROLLER, sibling.metadata.uid)
        return plans.count_by_node([pod for pod in related if podq.is_active(pod)])

    async def _claim(self, key: Key, owner: ApiObject, plan: plans.ReplicasPlan) -> None:
        """Adopts and releases. An owner about to go must not adopt, so it is read anew before."""
        if plan.adopt:
            live = await self._objects.get(self.kind, *key)
            if live.metadata.uid != owner.metadata.uid or live.metadata.HasField("deletionTimestamp"):
                raise Conflict(f'{self.kind.resource} "{key[1]}" has changed since it was read')
        for pod in plan.adopt:
            written = await self._objects.mutate(
                POD,
                key[0],
                pod.metadata.name,
                lambda live: plans.adopted(live, owner),
                uid=pod.metadata.uid,
            )
            controller = podq.controller_of(written.metadata)
            if controller is None or controller.uid != owner.metadata.uid:
                raise Conflict(f'pods "{pod.metadata.name}" has been adopted by another controller')
            self._writes.wrote(key, POD, written)
        for pod in plan.release:
            written = await unless_gone(
                self._objects.mutate(
                    POD,
                    key[0],
                    pod.metadata.name,
                    lambda live: plans.released(live.metadata, owner.metadata.uid),
                    uid=pod.metadata.uid,
                )
            )
            if written is not None:
                self._writes.wrote(key, POD, written)

    async def _create(self, key: Key, owner: ApiObject, count: int, done: _Done) -> None:
        """In batches of 1, 2, 4, …: what would fail for all fails once."""
        pod = plans.new_pod(owner)
        batch = 1
        while count > 0:
            batch = min(batch, count)
            made = await asyncio.gather(
                *(self._objects.create(pod) for _ in range(batch)), return_exceptions=True
            )
            failed: BaseException | None = None
            for result in made:
                if isinstance(result, BaseException):
                    failed = failed or result
                    continue
                self._writes.wrote(key, POD, result)
                done.created.append(result)
                self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {result.metadata.name}")
            if failed is not None:
                if not (isinstance(failed, ApiError) and is_ending(failed)):
                    self._tell(owner, "Warning", "FailedCreate", f"Error creating: {failed}")
                raise failed
            count -= batch
            batch *= 2

    async def _delete(self, key: Key, owner: ApiObject, pods: Sequence[core.Pod], done: _Done) -> None:
        async def delete(pod: core.Pod) -> None:
            options = meta.DeleteOptions(preconditions=meta.Preconditions(uid=pod.metadata.uid))
            name = pod.metadata.name
            try:
                gone = await unless_gone(self._objects.delete(POD, key[0], name, options))
            except ApiError as error:
                self._tell(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
                raise
            if gone is not None:
                self._writes.wrote(key, POD, gone[0])
                done.deleted.add(pod.metadata.uid)
                if not gone[1]:
                    done.terminating.append(gone[0])
                self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")

        await all_of([partial(delete, pod) for pod in pods])

    async def _write_status(
        self,
        key: Key,
        owner: ApiObject,
        plan: plans.ReplicasPlan,
        done: _Done,
        failure: ReplicaFailure | None,
    ) -> None:
        """Says what is, what was just made and deleted included."""
        active = [pod for pod in plan.active if pod.metadata.uid not in done.deleted] + done.created
        terminating = [*plan.terminating, *done.terminating]
        status = plans.status(owner, active, terminating, failure, self._clock.wall_ns())
        if status == owner.status:
            return
        written = await write_status(self._objects, owner, status)
        if written is not None:
            self._writes.wrote(key, self.kind, written)

    def _tell(self, owner: ApiObject, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._recorder.record(owner, type_, reason, message)
