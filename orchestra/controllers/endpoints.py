"""The EndpointSlice controller: follows pods and Services at once."""

from functools import partial

from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import Clock
from orchestra.controllers.plans import endpoints as plans
from orchestra.controllers.plans.endpoints import EndpointsObserved
from orchestra.controllers.runner import DONE, Key, Outcome, OwnWrites, all_of, rest_for, unless_gone
from orchestra.objects.kinds import ENDPOINT_SLICE, POD, SERVICE, ApiObject
from orchestra.objects.selectors import selector_from_map
from orchestra.pb import core, discovery, meta
from orchestra.store.informer import Informer, Informers
from orchestra.store.objects import ObjectStore

# The index of slices by namespace/name of their Service.
BY_SERVICE = "service"


def _service_of(found: discovery.EndpointSlice) -> tuple[str, ...]:
    name = found.metadata.labels.get(plans.SERVICE_NAME_LABEL, "")
    return (f"{found.metadata.namespace}/{name}",) if name else ()


class EndpointsReconciler:
    """Keeps the slices of every Service that selects pods."""

    def __init__(self, objects: ObjectStore, informers: Informers, clock: Clock) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(rng=objects.rng)
        self._objects = objects
        self._clock = clock
        self._writes: OwnWrites[Key] = OwnWrites()
        self._services: Informer = informers.of(SERVICE)
        self._pods: Informer = informers.of(POD)
        self._slices: Informer = informers.of(ENDPOINT_SLICE)
        self._slices.add_index(BY_SERVICE, _service_of)
        self._services.subscribe(self._service_changed)
        self._pods.subscribe(self._pod_changed)
        self._slices.subscribe(self._slice_changed)

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The caches that must be whole before work begins."""
        return self._services, self._pods, self._slices

    def all_keys(self) -> list[Key]:
        """Every Service, and those of which only slices are left."""
        keys = {(s.metadata.namespace, s.metadata.name) for s in self._services.list()}
        for found in self._slices.list():
            if plans.is_ours(found) and plans.SERVICE_NAME_LABEL in found.metadata.labels:
                keys.add((found.metadata.namespace, found.metadata.labels[plans.SERVICE_NAME_LABEL]))
        return list(keys)

    def _service_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self.queue.add((changed.metadata.namespace, changed.metadata.name))

    def _slice_changed(
        self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None
    ) -> None:
        for found in (old, new):
            if found is not None and plans.is_ours(found):
                for service in _service_of(found):
                    self.queue.add((found.metadata.namespace, service.partition("/")[2]))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None:
            return
        services = self._services.list(pod.metadata.namespace)
        if not services or not plans.pod_matters(old, new):
            return
        for service in services:
            if not plans.keeps_slices(service):
                continue
            wanted = service.spec.selector.items()
            if any(
                found is not None and all(found.metadata.labels.get(k) == v for k, v in wanted)
                for found in (old, new)
            ):
                self.queue.add((service.metadata.namespace, service.metadata.name))

    async def reconcile(self, key: Key) -> Outcome:
        """One look at one Service."""
        await self._writes.seen(key, self._slices)
        service = self._services.get(*key)
        slices = [s for s in self._slices.by_index(BY_SERVICE, f"{key[0]}/{key[1]}") if plans.is_ours(s)]
        if service is None:
            for found in slices:
                await self._delete(key, found)
            return DONE
        if service.metadata.HasField("deletionTimestamp"):
            return DONE
        selector = selector_from_map(service.spec.selector)
        pods = [pod for pod in self._pods.list(key[0]) if selector.matches(pod.metadata.labels)]
        plan = plans.plan(EndpointsObserved(service, pods, slices), self._clock.wall_ns())
        # What is no longer true first: a stopping pod must leave before a new one comes.
        await all_of([partial(self._update, key, changed) for changed in plan.update])
        await all_of([partial(self._delete, key, found) for found in plan.delete])
        await all_of([partial(self._create, key, made) for made in plan.create])
        return Outcome(rest_ns=rest_for(len(pods)))

    async def _create(self, key: Key, made: discovery.EndpointSlice) -> None:
        self._writes.wrote(key, ENDPOINT_SLICE, await self._objects.create(made))

    async def _update(self, key: Key, changed: discovery.EndpointSlice) -> None:
        self._writes.wrote(key, ENDPOINT_SLICE, await self._objects.update(changed))

    async def _delete(self, key: Key, found: discovery.EndpointSlice) -> None:
        options = meta.DeleteOptions(preconditions=meta.Preconditions(uid=found.metadata.uid))
        gone = await unless_gone(self._objects.delete(ENDPOINT_SLICE, key[0], found.metadata.name, options))
        if gone is not None:
            self._writes.wrote(key, ENDPOINT_SLICE, gone[0])
