"""The garbage collectors: of objects whose owners are gone, and of pods that nobody will finish."""

from functools import partial

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.errors import NotFound
from orchestra.base.log import get_logger
from orchestra.controllers.plans import garbage as plans
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.garbage import DependentObserved, Lost, OwnerState
from orchestra.controllers.plans.replicas import released
from orchestra.controllers.runner import DONE, Key, Outcome, all_of, rest_for, unless_gone
from orchestra.objects.deletion import FINALIZER_FOREGROUND, FINALIZER_ORPHAN
from orchestra.objects.kinds import BY_PLURAL, EVENT, KINDS, NODE, POD, ApiObject, kind_for, kind_of
from orchestra.pb import core, meta
from orchestra.store.informer import BY_NODE, BY_OWNER, Informer, Informers
from orchestra.store.objects import ObjectStore

log = get_logger("controllers.garbage")

# Plural of the kind, namespace, name.
ObjectKey = tuple[str, str, str]


def _key(obj: ApiObject) -> ObjectKey:
    return kind_of(obj).plural, obj.metadata.namespace, obj.metadata.name


def _holds_others(metadata: meta.ObjectMeta) -> bool:
    """Whether the object's deletion waits for what becomes of the objects that it owns."""
    return metadata.HasField("deletionTimestamp") and (
        FINALIZER_FOREGROUND in metadata.finalizers or FINALIZER_ORPHAN in metadata.finalizers
    )


class OwnersReconciler:
    """Deletes objects without a living owner; finishes foreground deletion and orphaning."""

    def __init__(self, objects: ObjectStore, informers: Informers) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._informers = {kind: informers.of(kind) for kind in KINDS if kind is not EVENT}
        for informer in self._informers.values():
            informer.subscribe(self._changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return tuple(self._informers.values())

    def all_keys(self) -> list[ObjectKey]:
        """Every object that has owners, or holds up its own deletion for those that it owns."""
        return [
            _key(obj)
            for informer in self._informers.values()
            for obj in informer.list()
            if obj.metadata.ownerReferences or _holds_others(obj.metadata)
        ]

    def _changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is None:
            if old is not None:
                self._removed(old)
            return
        if _holds_others(new.metadata) or any(
            self._cached_state(new, reference) is not OwnerState.PRESENT
            for reference in new.metadata.ownerReferences
        ):
            self.queue.add(_key(new))
        if old is not None and old.metadata.ownerReferences != new.metadata.ownerReferences:
            self._visit_owners(old)

    def _removed(self, gone: ApiObject) -> None:
        for dependent in self._dependents(gone.metadata.uid):
            self.queue.add(_key(dependent))
        self._visit_owners(gone)

    def _visit_owners(self, obj: ApiObject) -> None:
        """An owner that waits for its dependents may have waited for this one."""
        for reference in obj.metadata.ownerReferences:
            owner = self._cached_owner(obj, reference)
            if owner is not None and _holds_others(owner.metadata):
                self.queue.add(_key(owner))

    def _dependents(self, uid: str) -> list[ApiObject]:
        return [obj for informer in self._informers.values() for obj in informer.by_index(BY_OWNER, uid)]

    def _cached_owner(self, obj: ApiObject, reference: meta.OwnerReference) -> ApiObject | None:
        kind = kind_for(reference.apiVersion, reference.kind)
        if kind is None or kind not in self._informers:
            return None
        owner = self._informers[kind].get(obj.metadata.namespace if kind.namespaced else "", reference.name)
        return owner if owner is not None and owner.metadata.uid == reference.uid else None

    def _cached_state(self, obj: ApiObject, reference: meta.OwnerReference) -> OwnerState:
        """As far as the caches know; ABSENT is only a reason to look at the store."""
        owner = self._cached_owner(obj, reference)
        return OwnerState.ABSENT if owner is None else self._state_of(owner)

    @staticmethod
    def _state_of(owner: ApiObject) -> OwnerState:
        return OwnerState.WAITING if plans.waits(owner) else OwnerState.PRESENT

    async def _state(self, obj: ApiObject, reference: meta.OwnerReference) -> OwnerState:
        """Never ABSENT on a cache's word."""
        state = self._cached_state(obj, reference)
        if state is not OwnerState.ABSENT:
            return state
        kind = kind_for(reference.apiVersion, reference.kind)
        if kind is None:
            # Not a kind of ours: somebody else's business, and theirs to collect.
            return OwnerState.PRESENT
        try:
            live = await self._objects.get(
                kind, obj.metadata.namespace if kind.namespaced else "", reference.name
            )
        except NotFound:
            return OwnerState.ABSENT
        return self._state_of(live) if live.metadata.uid == reference.uid else OwnerState.ABSENT

    async def reconcile(self, key: ObjectKey) -> Outcome:
        """One look at one object: as an owner, then as a dependent."""
        plural, namespace, name = key
        obj = self._informers[BY_PLURAL[plural]].get(namespace, name)
        if obj is None:
            return DONE
        dependents = self._dependents(obj.metadata.uid)
        if _holds_others(obj.metadata):
            await self._act_as_owner(obj, dependents)
            return DONE
        owners = {
            reference.uid: await self._state(obj, reference) for reference in obj.metadata.ownerReferences
        }
        plan = plans.plan_dependent(DependentObserved(obj, owners, bool(dependents)))
        if plan.drop:
            await all_of([partial(self._unname, obj, uid) for uid in plan.drop])
        elif plan.delete:
            await self._delete(obj, plan.delete)
        return DONE

    async def _act_as_owner(self, obj: ApiObject, dependents: list[ApiObject]) -> None:
        plan = plans.plan_owner(obj, dependents, self._dependents)
        await all_of([partial(self._unname, dependent, obj.metadata.uid) for dependent in plan.release])
        for dependent in plan.visit:
            self.queue.add(_key(dependent))
        if plan.finish:
            await self._unfinalize(obj, plan.finish)

    async def _unname(self, obj: ApiObject, owner_uid: str) -> None:
        """Takes an owner's reference from an object."""
        await unless_gone(
            self._objects.mutate(
                kind_of(obj),
                obj.metadata.namespace,
                obj.metadata.name,
                lambda live: released(live.metadata, owner_uid),
                uid=obj.metadata.uid,
            )
        )

    async def _unfinalize(self, obj: ApiObject, finalizer: str) -> None:
        def change(live: ApiObject) -> bool:
            if finalizer not in live.metadata.finalizers:
                return False
            live.metadata.finalizers.remove(finalizer)
            return True

        await unless_gone(
            self._objects.mutate(
                kind_of(obj), obj.metadata.namespace, obj.metadata.name, change, uid=obj.metadata.uid
            )
        )

    async def _delete(self, obj: ApiObject, policy: str) -> None:
        """resourceVersion is demanded too: an owner may have been given to the object since."""
        options = meta.DeleteOptions(
            propagationPolicy=policy,
            preconditions=meta.Preconditions(
                uid=obj.metadata.uid, resourceVersion=obj.metadata.resourceVersion
            ),
        )
        log.info("collecting", kind=kind_of(obj).kind, object=obj.metadata.name, policy=policy)
        await self._objects.delete(kind_of(obj), obj.metadata.namespace, obj.metadata.name, options)


# Stands for all finished pods together.
SURPLUS: Key = ("", "")


class PodsReconciler:
    """Removes pods whose node is gone or was never given, and finished ones beyond a number."""

    def __init__(
        self, objects: ObjectStore, informers: Informers, finished_pods_max: int = plans.FINISHED_PODS_MAX
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._finished_pods_max = finished_pods_max
        self._pods: Informer = informers.of(POD)
        self._nodes: Informer = informers.of(NODE)
        self._pods.subscribe(self._pod_changed)
        self._nodes.subscribe(self._node_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return self._pods, self._nodes

    def all_keys(self) -> list[Key]:
        """Every pod that may have to go."""
        return [
            SURPLUS,
            *(
                (pod.metadata.namespace, pod.metadata.name)
                for pod in self._pods.list()
                if self._is_suspect(pod)
            ),
        ]

    def _is_suspect(self, pod: core.Pod) -> bool:
        if pod.spec.nodeName:
            return self._nodes.get("", pod.spec.nodeName) is None
        return podq.is_deleting(pod)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        if new is None:
            return
        if self._is_suspect(new):
            self.queue.add((new.metadata.namespace, new.metadata.name))
        if podq.is_finished(new) and (old is None or not podq.is_finished(old)):
            self.queue.add(SURPLUS)

    def _node_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is None and old is not None:
            for pod in self._pods.by_index(BY_NODE, old.metadata.name):
                self.queue.add((pod.metadata.namespace, pod.metadata.name))

    async def reconcile(self, key: Key) -> Outcome:
        """One look at one pod, or at all finished ones."""
        if key == SURPLUS:
            pods = self._pods.list()
            lost = plans.surplus_pods(pods, self._finished_pods_max)
            await all_of([partial(self._remove, found) for found in lost])
            return Outcome(rest_ns=rest_for(len(pods)))
        pod = self._pods.get(*key)
        if pod is None:
            return DONE
        nodes = frozenset([pod.spec.nodeName]) if await self._is_there(pod.spec.nodeName) else frozenset()
        for found in plans.lost_pods([pod], nodes):
            await self._remove(found)
        return DONE

    async def _is_there(self, node: str) -> bool:
        """Never gone on a cache's word."""
        if not node or self._nodes.get("", node) is not None:
            return bool(node)
        try:
            await self._objects.get(NODE, "", node)
        except NotFound:
            return False
        return True

    async def _remove(self, lost: Lost) -> None:
        metadata = lost.pod.metadata
        options = meta.DeleteOptions(gracePeriodSeconds=0, preconditions=meta.Preconditions(uid=metadata.uid))
        log.info("removing pod", pod=f"{metadata.namespace}/{metadata.name}", why=lost.reason)
        await unless_gone(self._objects.delete(POD, metadata.namespace, metadata.name, options))
