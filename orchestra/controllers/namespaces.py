"""The namespace controller: empties what is being deleted, then lets it go."""

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import Clock
from orchestra.base.errors import NotFound
from orchestra.controllers.plans import namespaces as plans
from orchestra.controllers.plans.namespaces import NamespaceObserved
from orchestra.controllers.runner import DONE, Outcome, rest_for
from orchestra.objects.kinds import EVENT, NAMESPACE, ApiObject, Kind
from orchestra.objects.lifecycle import NAMESPACE_FINALIZER
from orchestra.pb import core
from orchestra.store.informer import Informer, Informers
from orchestra.store.objects import ObjectStore

# Content with finalizers or a grace period goes when others have done their part. Each removal tells us; this
# is for what no cache shows.
LOOK_AGAIN_NS = 5_000_000_000


class NamespacesReconciler:
    """Deletes the content of namespaces that are being deleted."""

    def __init__(self, objects: ObjectStore, informers: Informers, clock: Clock) -> None:
        self.queue: WorkQueue[str] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._clock = clock
        self._namespaces: Informer = informers.of(NAMESPACE)
        self._namespaces.subscribe(self._namespace_changed)
        # Events come and go often and hold nothing up: they are counted live, not cached.
        self._content: dict[Kind, Informer] = {
            kind: informers.of(kind) for kind in plans.CONTENT if kind is not EVENT
        }
        for informer in self._content.values():
            informer.subscribe(self._content_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return (self._namespaces, *self._content.values())

    def all_keys(self) -> list[str]:
        """Every namespace that is being deleted."""
        return [n.metadata.name for n in self._namespaces.list() if n.metadata.HasField("deletionTimestamp")]

    def _namespace_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is not None and new.metadata.HasField("deletionTimestamp"):
            self.queue.add(new.metadata.name)

    def _content_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is not None or old is None:
            return
        namespace = self._namespaces.get("", old.metadata.namespace)
        if namespace is not None and namespace.metadata.HasField("deletionTimestamp"):
            self.queue.add(namespace.metadata.name)

    async def reconcile(self, key: str) -> Outcome:
        """One look at one namespace. Counts are read live: a cache may not show yet what was made last."""
        namespace = self._namespaces.get("", key)
        if namespace is None or not namespace.metadata.HasField("deletionTimestamp"):
            return DONE
        counts = {}
        for kind in plans.CONTENT:
            page = await self._objects.list(kind, key, limit=1)
            counts[kind] = len(page.items)
        plan = plans.plan(NamespaceObserved(namespace, counts), self._clock.wall_ns())
        deleted = 0
        for kind in plan.delete:
            deleted += await self._objects.delete_collection(kind, key)
        if plan.finalize:
            await self._finalize(namespace)
        if not plan.delete:
            return DONE
        again_ns = 0 if await self._is_next_step_due(key, plan.delete) else LOOK_AGAIN_NS
        # Each object that goes calls for a look at all that are left.
        return Outcome(again_ns, rest_for(deleted) if again_ns else 0)

    async def _is_next_step_due(self, key: str, deleted: tuple[Kind, ...]) -> bool:
        """Whether what was deleted is gone already, so that there is no reason to wait."""
        for kind in deleted:
            if (await self._objects.list(kind, key, limit=1)).items:
                return False
        return True

    async def _finalize(self, namespace: core.Namespace) -> None:
        def change(live: core.Namespace) -> bool:
            kept = [name for name in live.spec.finalizers if name != NAMESPACE_FINALIZER]
            del live.spec.finalizers[:]
            live.spec.finalizers.extend(kept)
            return True

        try:
            await self._objects.mutate(
                NAMESPACE,
                "",
                namespace.metadata.name,
                change,
                subresource="finalize",
                uid=namespace.metadata.uid,
            )
        except NotFound:
            return
