"""The Deployment controller: carries out one step of a rollout after the other."""

from collections.abc import Callable

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import Clock
from orchestra.base.errors import AlreadyExists, ApiError, Conflict
from orchestra.base.log import get_logger
from orchestra.controllers.plans import deployments as plans
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans import revisions, rolling, rollout_status
from orchestra.controllers.plans.deployments import Change, DeploymentObserved, DeploymentPlan
from orchestra.controllers.plans.replicas import controller_reference, released
from orchestra.controllers.replicas import ORPHANS, orphan_namespace
from orchestra.controllers.runner import (
    DONE,
    Key,
    Outcome,
    OwnWrites,
    is_ending,
    unless_gone,
    until,
    write_status,
)
from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICA_SET, ApiObject
from orchestra.objects.selectors import selector_from
from orchestra.pb import apps, core, meta
from orchestra.store.events import Recorder
from orchestra.store.informer import BY_CONTROLLER, Informer, Informers
from orchestra.store.objects import ObjectStore

log = get_logger("controllers.deployment")


class DeploymentReconciler:
    """Rolls every Deployment to its template."""

    def __init__(self, objects: ObjectStore, informers: Informers, recorder: Recorder, clock: Clock) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._writes: OwnWrites[Key] = OwnWrites()
        self._deployments: Informer = informers.of(DEPLOYMENT)
        self._sets: Informer = informers.of(REPLICA_SET)
        self._pods: Informer = informers.of(POD)
        self._sets.add_index(ORPHANS, orphan_namespace)
        self._deployments.subscribe(self._deployment_changed)
        self._sets.subscribe(self._set_changed)
        self._pods.subscribe(self._pod_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return self._deployments, self._sets, self._pods

    def all_keys(self) -> list[Key]:
        """Every Deployment."""
        return [(d.metadata.namespace, d.metadata.name) for d in self._deployments.list()]

    def _deployment_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self.queue.add((changed.metadata.namespace, changed.metadata.name))

    def _set_changed(self, old: apps.ReplicaSet | None, new: apps.ReplicaSet | None) -> None:
        for found in (old, new):
            if found is None:
                continue
            controller = podq.controller_of(found.metadata)
            if controller is not None:
                if controller.kind == DEPLOYMENT.kind:
                    self.queue.add((found.metadata.namespace, controller.name))
            elif found is new:
                for deployment in self._deployments.list(found.metadata.namespace):
                    if selector_from(deployment.spec.selector).matches(found.metadata.labels):
                        self.queue.add((deployment.metadata.namespace, deployment.metadata.name))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """Only Recreate waits for pods: for the last old one to go."""
        if old is None or (new is not None and not podq.is_finished(new)):
            return
        controller = podq.controller_of(old.metadata)
        if controller is None or controller.kind != REPLICA_SET.kind:
            return
        found = self._sets.get(old.metadata.namespace, controller.name)
        owner = podq.controller_of(found.metadata) if found is not None else None
        if owner is None or owner.kind != DEPLOYMENT.kind:
            return
        deployment = self._deployments.get(old.metadata.namespace, owner.name)
        if deployment is not None and not rolling.is_rolling(deployment):
            self.queue.add((deployment.metadata.namespace, deployment.metadata.name))

    async def reconcile(self, key: Key) -> Outcome:
        """One step of one Deployment."""
        await self._writes.seen(key, *self.informers)
        deployment = self._deployments.get(*key)
        if deployment is None:
            return DONE
        now_ns = self._clock.wall_ns()
        plan = plans.plan(self._observe(deployment), now_ns)
        await self._claim(key, deployment, plan)
        if plan.create is not None:
            try:
                await self._create(key, deployment, plan.create)
            except ApiError as error:
                await self._report_failure(key, deployment, error)
                raise
        for change in plan.changes:
            await self._change(key, change)
        for found in plan.delete:
            await self._delete(key, found)
        for note in plan.notes:
            self._recorder.record(deployment, note.type, note.reason, note.message)
        if plan.revision is not None:
            await self._note_revision(key, deployment, plan.revision)
        if plan.status is not None:
            await self._write_status(key, deployment, plan.status)
        return until(plan.requeue_at_ns, self._clock.wall_ns())

    def _observe(self, deployment: apps.Deployment) -> DeploymentObserved:
        """Its sets, and orphans that it is about to adopt: their pods have to go first as well."""
        sets = self._sets.by_index(BY_CONTROLLER, deployment.metadata.uid)
        orphans = self._sets.by_index(ORPHANS, deployment.metadata.namespace)
        if orphans:
            selector = selector_from(deployment.spec.selector)
            sets += [found for found in orphans if selector.matches(found.metadata.labels)]
        pods: list[core.Pod] = []
        if not rolling.is_rolling(deployment):
            for found in sets:
                pods += self._pods.by_index(BY_CONTROLLER, found.metadata.uid)
        return DeploymentObserved(deployment, sets, pods)

    async def _claim(self, key: Key, deployment: apps.Deployment, plan: DeploymentPlan) -> None:
        """Adopts and releases. A Deployment about to go must not adopt, so it is read anew before."""
        if plan.adopt:
            live = await self._objects.get(DEPLOYMENT, *key)
            if live.metadata.uid != deployment.metadata.uid or live.metadata.HasField("deletionTimestamp"):
                raise Conflict(f'{DEPLOYMENT.resource} "{key[1]}" has changed since it was read')

        def adopt(live: apps.ReplicaSet) -> bool:
            if podq.controller_of(live.metadata) or live.metadata.HasField("deletionTimestamp"):
                raise Conflict(f'{REPLICA_SET.resource} "{live.metadata.name}" cannot be adopted any more')
            live.metadata.ownerReferences.append(controller_reference(deployment))
            return True

        for found in plan.adopt:
            await self._mutate_set(key, found, adopt)
        for found in plan.release:
            await self._mutate_set(key, found, lambda live: released(live.metadata, deployment.metadata.uid))

    async def _mutate_set(
        self, key: Key, found: apps.ReplicaSet, change: Callable[[apps.ReplicaSet], bool | None]
    ) -> None:
        written = await self._objects.mutate(
            REPLICA_SET, key[0], found.metadata.name, change, uid=found.metadata.uid
        )
        self._writes.wrote(key, REPLICA_SET, written)

    async def _create(self, key: Key, deployment: apps.Deployment, made: apps.ReplicaSet) -> None:
        try:
            written = await self._objects.create(made)
        except AlreadyExists:
            written = await self._taken(key, deployment, made)
        self._writes.wrote(key, REPLICA_SET, written)

    async def _taken(self, key: Key, deployment: apps.Deployment, made: apps.ReplicaSet) -> apps.ReplicaSet:
        """The name is taken: by ourselves a moment ago, or by another template with the same hash."""
        live = await self._objects.get(REPLICA_SET, key[0], made.metadata.name)
        controller = podq.controller_of(live.metadata)
        if (
            controller is not None
            and controller.uid == deployment.metadata.uid
            and revisions.same_template(live.spec.template, deployment.spec.template)
        ):
            found: apps.ReplicaSet = live
            return found

        def collide(live: apps.Deployment) -> bool:
            live.status.collisionCount += 1
            return True

        written = await self._objects.mutate(
            DEPLOYMENT, *key, collide, subresource="status", uid=deployment.metadata.uid
        )
        self._writes.wrote(key, DEPLOYMENT, written)
        log.info("hash collision", deployment=key, name=made.metadata.name)
        raise Conflict(f'the name of {REPLICA_SET.resource} "{made.metadata.name}" is taken: trying another')

    async def _report_failure(self, key: Key, deployment: apps.Deployment, error: ApiError) -> None:
        """Says in the status why the new set cannot be made."""
        if isinstance(error, Conflict) or is_ending(error):
            return
        self._recorder.record(deployment, "Warning", "ReplicaSetCreateError", str(error))
        if not rollout_status.has_deadline(deployment):
            return
        status = apps.DeploymentStatus()
        status.CopyFrom(deployment.status)
        rollout_status.set_condition(
            status,
            rollout_status.PROGRESSING,
            "False",
            "ReplicaSetCreateError",
            f"Failed to create new replica set: {error}",
            self._clock.wall_ns(),
        )
        if status != deployment.status:
            await self._write_status(key, deployment, status)

    async def _change(self, key: Key, change: Change) -> None:
        """Writes what the plan changes, if the set still is as large as the plan saw it."""
        before, after = change.original, change.changed

        def apply(live: apps.ReplicaSet) -> bool:
            if live.spec.replicas != before.spec.replicas:
                raise Conflict(f'{REPLICA_SET.resource} "{live.metadata.name}" was scaled by another')
            live.spec.replicas = after.spec.replicas
            if live.spec.minReadySeconds != after.spec.minReadySeconds:
                live.spec.minReadySeconds = after.spec.minReadySeconds
            for name, value in after.metadata.annotations.items():
                live.metadata.annotations[name] = value
            return True

        await self._mutate_set(key, before, apply)

    async def _delete(self, key: Key, found: apps.ReplicaSet) -> None:
        """Deletes an old set, if it still is as the plan saw it: empty."""
        options = meta.DeleteOptions(
            preconditions=meta.Preconditions(
                uid=found.metadata.uid, resourceVersion=found.metadata.resourceVersion
            )
        )
        gone = await unless_gone(self._objects.delete(REPLICA_SET, key[0], found.metadata.name, options))
        if gone is not None:
            self._writes.wrote(key, REPLICA_SET, gone[0])

    async def _note_revision(self, key: Key, deployment: apps.Deployment, revision: str) -> None:
        def note(live: apps.Deployment) -> bool:
            live.metadata.annotations[revisions.REVISION] = revision
            return True

        written = await self._objects.mutate(DEPLOYMENT, *key, note, uid=deployment.metadata.uid)
        self._writes.wrote(key, DEPLOYMENT, written)

    async def _write_status(
        self, key: Key, deployment: apps.Deployment, status: apps.DeploymentStatus
    ) -> None:
        written = await write_status(self._objects, deployment, status)
        if written is not None:
            self._writes.wrote(key, DEPLOYMENT, written)
