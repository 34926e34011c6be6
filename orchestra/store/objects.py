"""ObjectStore: the API's semantics over a Store, for everyone who reads or writes objects."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from orchestra.aio.backoff import Backoff
from orchestra.base.clock import Clock
from orchestra.base.errors import AlreadyExists, BadRequest, Conflict, NotFound, Unavailable, not_found
from orchestra.mvcc.model import Compare, KeyValue
from orchestra.objects import lifecycle
from orchestra.objects.kinds import POD, ApiObject, Kind, kind_of
from orchestra.objects.selectors import FieldSelector, Selector
from orchestra.pb import autoscaling, core, meta
from orchestra.store import deleting, namespaces, patching, scaling
from orchestra.store.access import Access
from orchestra.store.contract import Store
from orchestra.store.encoding import Decoder
from orchestra.store.encoding import encoded as encoded_bytes
from orchestra.store.listing import EncodedPage, Filter, Lister, Page
from orchestra.store.watching import ObjectBatch, ObjectEvent, ObjectWatch
from orchestra.store.writing import Changed, Writer, Written, modified

__all__ = ["EncodedPage", "ObjectBatch", "ObjectEvent", "ObjectStore", "ObjectWatch", "Page"]

Outcome = Literal["created", "configured", "unchanged"]
# Makes the new object of what is stored; None: nothing to write.
Make = Callable[[ApiObject], ApiObject | None]
# One try to write, on what is stored.
Write = Callable[[KeyValue, ApiObject], Awaitable[Written | Changed]]

# Each lost race means that another writer won one: this many losses are a crowd, not bad luck.
WRITE_TRIES = 64
# Races lost before a writer begins to wait.
WRITE_TRIES_AT_ONCE = 3


class ObjectStore:
    """Typed objects: get, list, watch, create, update, patch, apply, delete, scale, bind.

    Objects that come out are shared and immutable, with metadata.resourceVersion = str(mod revision); objects
    that go in are copied. Every method raises errors.ApiError only.
    rng: where all chance comes from, also that of those who work on these objects.
    guards: conditions every write takes on; a write whose guard fails raises Unavailable.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        guards: Sequence[Compare] = (),
        decoder: Decoder | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.rng = rng or random.Random()
        self._access = Access(store, guards)
        self.decoder = decoder or Decoder()
        self._lister = Lister(self._access, self.decoder)
        self._writer = Writer(self._access, self.decoder, clock, self.rng)

    def guarded(self, guards: Sequence[Compare]) -> "ObjectStore":
        """The same objects (and decoded copies), written under these guards."""
        return ObjectStore(self.store, clock=self.clock, rng=self.rng, guards=guards, decoder=self.decoder)

    async def ensure_namespaces(self) -> None:
        """Creates the namespaces that every cluster has."""
        for name in namespaces.KEPT:
            if await self._access.get(namespaces.Namespaces.key(name)) is None:
                try:
                    await self.create(core.Namespace(metadata=meta.ObjectMeta(name=name)))
                except AlreadyExists:
                    continue

    async def get(self, kind: Kind, namespace: str, name: str) -> ApiObject:
        """Raises: NotFound."""
        return self.decoder.decode(kind, await self._kv(kind, namespace, name))

    async def get_encoded(self, kind: Kind, namespace: str, name: str) -> bytes:
        """The object's bytes, not decoded. Raises: NotFound."""
        return encoded_bytes(await self._kv(kind, namespace, name))

    async def _kv(self, kind: Kind, namespace: str, name: str) -> KeyValue:
        if not name or "/" in name or "/" in namespace or (kind.namespaced and not namespace):
            raise BadRequest(f"one {kind.singular} is named by its name{' and namespace' * kind.namespaced}")
        kv = await self._access.get(kind.key(namespace, name).encode())
        if kv is None:
            raise not_found(kind.resource, name)
        return kv

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: Selector | None = None,
        fields: FieldSelector | None = None,
        limit: int = 0,
        continue_: str = "",
    ) -> Page:
        """The objects of a namespace ("": of all) at one revision, in the order of their keys.

        Raises: BadRequest for a token that is not one; Expired when its revision is compacted.
        """
        wanted = Filter(kind, namespace, labels, fields)
        found = await self._lister.page(wanted, limit, continue_)
        items = await self._lister.decoded(kind, found.kvs)
        return Page(items, found.revision, found.continue_, found.remaining)

    async def list_encoded(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: Selector | None = None,
        fields: FieldSelector | None = None,
        limit: int = 0,
        continue_: str = "",
    ) -> EncodedPage:
        """list(), with each item's bytes as they are sent; without selectors nothing is decoded."""
        found = await self._lister.page(Filter(kind, namespace, labels, fields), limit, continue_)
        items = [encoded_bytes(kv) for kv in found.kvs]
        return EncodedPage(items, found.revision, found.continue_, found.remaining)

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: Selector | None = None,
        fields: FieldSelector | None = None,
        revision: int | None = None,
    ) -> ObjectWatch:
        """What changes after `revision`; with None or 0 first ADDED for everything that is there.

        Iterating raises: Expired when what comes next is compacted; Unavailable.
        """
        return ObjectWatch(self._access, self.decoder, Filter(kind, namespace, labels, fields), revision or 0)

    async def create(self, obj: ApiObject, *, dry_run: bool = False, field_manager: str = "") -> ApiObject:
        """Creates an object, with defaults. `field_manager` is taken for the API's sake; owners of fields
        are not recorded.

        Raises: AlreadyExists, Invalid, NotFound (the namespace), Forbidden (it is being deleted).
        """
        return await self._writer.create(obj, dry_run=dry_run)

    async def update(
        self, obj: ApiObject, *, subresource: str = "", dry_run: bool = False, field_manager: str = ""
    ) -> ApiObject:
        """Replaces an object, or with subresource "status" its status.

        With metadata.resourceVersion only if that is still the newest; without it whatever is there.
        Raises: Conflict, Invalid, NotFound.
        """
        kind = kind_of(obj)
        namespace, name = _place(kind, obj)
        written = await self._rewrite(kind, namespace, name, lambda _: obj, subresource, dry_run)
        return written.obj

    async def mutate(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[ApiObject], bool | None],
        *,
        subresource: str = "",
        uid: str = "",
    ) -> ApiObject:
        """Reads, changes, writes, and again when another writer was first. `change` gets a private copy;
        when it returns False nothing is written.

        Raises: Conflict when the object's uid is not `uid`, or the race was lost WRITE_TRIES times; Invalid;
        NotFound.
        """

        def make(old: ApiObject) -> ApiObject | None:
            _check_uid(kind, old, uid)
            new = lifecycle.copy_of(old)
            return None if change(new) is False else new

        return (await self._rewrite(kind, namespace, name, make, subresource, False)).obj

    async def _rewrite(
        self, kind: Kind, namespace: str, name: str, make: Make, subresource: str, dry_run: bool
    ) -> Written:
        async def write(kv: KeyValue, old: ApiObject) -> Written | Changed:
            new = make(old)
            if new is None:
                return Written(old)
            return await self._writer.replace(kind, kv, new, subresource=subresource, dry_run=dry_run)

        return await self._retried(kind, namespace, name, write)

    async def _retried(self, kind: Kind, namespace: str, name: str, write: Write) -> Written:
        """Writes, and again with what is there then when another writer was first."""
        kv: KeyValue | None = await self._kv(kind, namespace, name)
        backoff = Backoff(1, 100, rng=self.rng)
        for lost in range(WRITE_TRIES):
            if kv is None:
                raise not_found(kind.resource, name)
            written = await write(kv, self.decoder.decode(kind, kv))
            if isinstance(written, Written):
                return written
            kv = written.kv
            if lost >= WRITE_TRIES_AT_ONCE:
                await asyncio.sleep(backoff.next_ms() / 1000)
                kv = await self._access.get(kind.key(namespace, name).encode())
        raise modified(kind, name)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch_type: str,
        patch: bytes,
        *,
        subresource: str = "",
        dry_run: bool = False,
        field_manager: str = "",
    ) -> ApiObject:
        """Patches an object, its "status" or its "scale", or how a Namespace is to be finalized ("finalize"):
        by "merge" (RFC 7386), "json" (RFC 6902) or "strategic".

        Raises: BadRequest, Invalid (also for unknown fields), Conflict when the patch says a resourceVersion
        that is not the newest, NotFound.
        """
        said = patching.parse_patch(patch)
        make = patching.patched
        if subresource == "scale":
            make, subresource = patching.patched_scale, ""
        written = await self._rewrite(
            kind, namespace, name, lambda old: make(kind, old, patch_type, said), subresource, dry_run
        )
        return written.obj

    async def apply(
        self, obj: ApiObject, *, dry_run: bool = False, field_manager: str = ""
    ) -> tuple[ApiObject, Outcome]:
        """Creates the object, or merges what changed since the last apply into what is there.

        Raises: BadRequest, Invalid, Conflict, and what create() raises.
        """
        kind = kind_of(obj)
        namespace, name = _place(kind, obj)
        if not name:
            raise BadRequest("apply needs metadata.name: a generateName works with create only")
        said = patching.applied_form(obj)
        for _ in range(WRITE_TRIES_AT_ONCE):
            old: ApiObject | None = None

            def make(found: ApiObject) -> ApiObject | None:
                nonlocal old
                old = found
                new = patching.merged(kind, found, said)
                if new is not None and obj.metadata.resourceVersion:
                    new.metadata.resourceVersion = obj.metadata.resourceVersion
                return new

            try:
                new = (await self._rewrite(kind, namespace, name, make, "", dry_run)).obj
            except NotFound:
                try:
                    first = patching.first_applied(obj, said)
                    return await self.create(first, dry_run=dry_run), "created"
                except AlreadyExists:
                    continue
            return new, "unchanged" if new == old else "configured"
        raise modified(kind, name)

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: meta.DeleteOptions | None = None
    ) -> tuple[ApiObject, bool]:
        """Deletes an object, or marks it when finalizers or a grace period hold it; whether it is gone now.

        Raises: NotFound, PreconditionFailed, BadRequest, Forbidden (a namespace that every cluster has).
        """
        dry_run = deleting.dry_run_asked(options)
        deleting.check_deletable(kind, name)

        async def write(kv: KeyValue, old: ApiObject) -> Written | Changed:
            plan = lifecycle.plan_delete(old, options, self.clock.wall_ns())
            if dry_run:
                return Written(old if plan.updated is None else plan.updated, plan.remove)
            if plan.remove:
                return await self._writer.remove(kind, kv, old)
            if plan.updated is None:
                return Written(old)
            return await self._writer.put(kind, kv, plan.updated)

        written = await self._retried(kind, namespace, name, write)
        return written.obj, written.removed

    async def delete_collection(
        self,
        kind: Kind,
        namespace: str = "",
        labels: Selector | None = None,
        fields: FieldSelector | None = None,
        options: meta.DeleteOptions | None = None,
    ) -> int:
        """Deletes what the selectors match; how many there were.

        Bound: see deleting.delete_matching.
        """

        async def delete(obj: ApiObject) -> None:
            await self.delete(kind, obj.metadata.namespace, obj.metadata.name, options)

        try:
            return await deleting.delete_matching(
                self._lister, Filter(kind, namespace, labels, fields), delete
            )
        except Unavailable as error:
            # It may have failed at one of many.
            error.not_done = False
            raise

    async def bind(self, namespace: str, name: str, uid: str, node_name: str) -> None:
        """Places a pod on a node. Raises: Conflict when it has one, is being deleted, or is another pod."""

        async def write(kv: KeyValue, old: ApiObject) -> Written | Changed:
            _check_uid(POD, old, uid)
            bound = lifecycle.prepare_binding(old, node_name, now_ns=self.clock.wall_ns())
            return await self._writer.put(POD, kv, bound)

        await self._retried(POD, namespace, name, write)

    async def scale(self, kind: Kind, namespace: str, name: str) -> autoscaling.Scale:
        """Raises: NotFound."""
        scaling.check_scalable(kind, name)
        return scaling.scale_of(await self.get(kind, namespace, name))

    async def update_scale(
        self,
        kind: Kind,
        scale: autoscaling.Scale,
        current_replicas: int | None = None,
        dry_run: bool = False,
    ) -> autoscaling.Scale:
        """Sets the replicas of the object that `scale.metadata` names.

        Raises: PreconditionFailed when it does not have `current_replicas` now; Conflict; Invalid; NotFound.
        """
        name = scale.metadata.name
        scaling.check_scalable(kind, name)

        def make(old: ApiObject) -> ApiObject:
            new = lifecycle.copy_of(old)
            scaling.set_replicas(new, scale, current_replicas)
            return new

        namespace = scale.metadata.namespace or lifecycle.NAMESPACE_DEFAULT
        return scaling.scale_of((await self._rewrite(kind, namespace, name, make, "", dry_run)).obj)

    def new_uid(self) -> str:
        """A fresh uid."""
        return self._writer.new_uid()

    async def put_events(self, namespace: str, events: Sequence[core.Event]) -> int:
        """Writes Events of one namespace that the house itself made, unchecked, in one transaction."""
        return await self._writer.put_events(namespace, events)


def _place(kind: Kind, obj: ApiObject) -> tuple[str, str]:
    namespace = obj.metadata.namespace or lifecycle.NAMESPACE_DEFAULT
    return (namespace if kind.namespaced else ""), obj.metadata.name


def _check_uid(kind: Kind, obj: ApiObject, uid: str) -> None:
    found = obj.metadata.uid
    if uid and found != uid:
        raise Conflict(
            f'Operation cannot be fulfilled on {kind.resource} "{obj.metadata.name}": uid in precondition: '
            f"{uid}, uid in object: {found}",
            kind=kind.resource,
            name=obj.metadata.name,
        )
