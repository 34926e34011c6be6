"""The Objects service: a thin adapter onto the ObjectStore."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, Final, cast

from orchestra.aio.rpc.limits import RESPONSE_BYTES_MAX
from orchestra.aio.rpc.server import Context
from orchestra.apiserver import wire
from orchestra.base.errors import BadRequest, TooManyRequests
from orchestra.objects.field_selectors import FieldSelector, parse_field_selector
from orchestra.objects.kinds import ApiObject, Kind, kind_numbered, unwrap, wrap
from orchestra.objects.selectors import Selector, parse_label_selector
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.pb import autoscaling, meta
from orchestra.store.objects import ObjectBatch, ObjectStore, ObjectWatch

LIST_ITEMS_DEFAULT: Final = 500
LIST_ITEMS_MAX: Final = 5000
# Half of what the wire takes leaves room for one object that is the largest the store holds.
LIST_BYTES_MAX: Final = RESPONSE_BYTES_MAX // 2
WATCH_RESPONSE_BYTES: Final = 1024 * 1024
WATCHES_MAX: Final = 8192
BOOKMARK_SECONDS: Final = 5.0

_PATCH_TYPES: Final = {
    api.PatchRequest.MERGE: "merge",
    api.PatchRequest.JSON: "json",
    api.PatchRequest.STRATEGIC: "strategic",
}
_OUTCOMES: Final = {
    "created": api.ApplyResponse.CREATED,
    "configured": api.ApplyResponse.CONFIGURED,
    "unchanged": api.ApplyResponse.UNCHANGED,
}


class ObjectsService(api_grpc.ObjectsServicer):
    """Objects, over gRPC. Raises ApiErrors, which the server tells; responses are mostly encoded bytes."""

    def __init__(self, objects: ObjectStore, *, watches_max: int = WATCHES_MAX) -> None:
        self._objects = objects
        self._watches_max = watches_max
        self._watches: set[ObjectWatch] = set()

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    async def Get(self, request: api.GetRequest, context: Context) -> Any:
        kind = _kind(request.kind)
        found = await self._objects.get_encoded(kind, _scope(kind, request.namespace), request.name)
        return wire.envelope(kind, found)

    async def List(self, request: api.ListRequest, context: Context) -> Any:
        kind = _kind(request.kind)
        labels, fields = _selectors(kind, request)
        if request.limit < 0:
            raise BadRequest(f"limit must not be negative: {request.limit}")
        limit = min(request.limit or LIST_ITEMS_DEFAULT, LIST_ITEMS_MAX)
        while True:
            page = await self._objects.list_encoded(
                kind,
                _scope(kind, request.namespace),
                labels=labels,
                fields=fields,
                limit=limit,
                continue_=getattr(request, "continue"),
            )
            fitting = _fitting(page.items)
            if fitting == len(page.items):
                break
            # Rare: objects so large that fewer fit. The token has to stand after the last one sent.
            limit = max(1, fitting)
        said = meta.ListMeta(resourceVersion=str(page.revision), remainingItemCount=page.remaining)
        if page.continue_:
            setattr(said, "continue", page.continue_)
        return wire.list_response(kind, page.items, said)

    async def Watch(self, request: api.WatchRequest, context: Context) -> AsyncGenerator[Any, None]:
        kind = _kind(request.kind)
        labels, fields = _selectors(kind, request)
        if len(self._watches) >= self._watches_max:
            raise TooManyRequests(
                f"this master already serves {self._watches_max} watches: close some, or ask another master",
                retry_after_ms=1000,
            )
        revision = _revision(request.resource_version)
        watch = self._objects.watch(
            kind, _scope(kind, request.namespace), labels=labels, fields=fields, revision=revision
        )
        self._watches.add(watch)
        sender = _Sender(kind, request.allow_bookmarks, initial=revision == 0)
        try:
            async for batch in watch:
                for response in sender.responses(batch):
                    yield response
        finally:
            watch.close()
            self._watches.discard(watch)

    async def Create(self, request: api.CreateRequest, context: Context) -> Any:
        created = await self._objects.create(
            _object(request.object), dry_run=request.dry_run, field_manager=request.field_manager
        )
        return wire.envelope_of(created)

    async def Update(self, request: api.UpdateRequest, context: Context) -> Any:
        return await self._update(request, "")

    async def UpdateStatus(self, request: api.UpdateRequest, context: Context) -> Any:
        return await self._update(request, "status")

    async def _update(self, request: api.UpdateRequest, subresource: str) -> bytes:
        updated = await self._objects.update(
            _object(request.object),
            subresource=subresource,
            dry_run=request.dry_run,
            field_manager=request.field_manager,
        )
        return wire.envelope_of(updated)

    async def Patch(self, request: api.PatchRequest, context: Context) -> Any:
        kind = _kind(request.kind)
        patch_type = _PATCH_TYPES.get(request.type)
        if patch_type is None:
            raise BadRequest("the patch's type is not given: one of MERGE, JSON, STRATEGIC")
        patched = await self._objects.patch(
            kind,
            _scope(kind, request.namespace),
            request.name,
            patch_type,
            request.patch,
            subresource=request.subresource,
            dry_run=request.dry_run,
            field_manager=request.field_manager,
        )
        return wire.envelope_of(patched)

    async def Apply(self, request: api.ApplyRequest, context: Context) -> Any:
        applied, outcome = await self._objects.apply(
            _object(request.object), dry_run=request.dry_run, field_manager=request.field_manager
        )
        return api.ApplyResponse(object=wrap(applied), outcome=_OUTCOMES[outcome])

    async def Delete(self, request: api.DeleteRequest, context: Context) -> Any:
        kind = _kind(request.kind)
        deleted, removed = await self._objects.delete(
            kind, _scope(kind, request.namespace), request.name, _options(request)
        )
        return api.DeleteResponse(object=wrap(deleted), removed=removed)

    async def DeleteCollection(self, request: api.DeleteCollectionRequest, context: Context) -> Any:
        kind = _kind(request.kind)
        labels, fields = _selectors(kind, request)
        count = await self._objects.delete_collection(
            kind, _scope(kind, request.namespace), labels, fields, _options(request)
        )
        return api.DeleteCollectionResponse(count=count)

    async def GetScale(self, request: api.GetRequest, context: Context) -> autoscaling.Scale:
        kind = _kind(request.kind)
        return await self._objects.scale(kind, request.namespace, request.name)

    async def UpdateScale(self, request: api.UpdateScaleRequest, context: Context) -> autoscaling.Scale:
        current = request.current_replicas if request.HasField("current_replicas") else None
        return await self._objects.update_scale(
            _kind(request.kind), request.scale, current_replicas=current, dry_run=request.dry_run
        )


class _Sender:
    """Makes a watch's responses of the store's batches: none too large, no revision split."""

    def __init__(self, kind: Kind, bookmarks: bool, initial: bool) -> None:
        self._kind = kind
        self._bookmarks = bookmarks
        self._initial = initial
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._said_at = self._now()

    def responses(self, batch: ObjectBatch) -> Iterator[bytes]:
        entries: list[bytes] = []
        size, last = 0, 0
        for event in batch.events:
            entry = wire.watch_event(self._kind, event)
            # Objects of an initial state are independent of each other: it may be cut anywhere.
            if (
                size + len(entry) > WATCH_RESPONSE_BYTES
                and entries
                and (self._initial or event.revision != last)
            ):
                yield wire.watch_response(entries, None if self._initial else last, False)
                entries, size = [], 0
            entries.append(entry)
            size += len(entry)
            last = event.revision
        if batch.initial_end:
            self._initial = False
        if not entries and not batch.initial_end and not self._bookmark_due():
            return
        self._said_at = self._now()
        yield wire.watch_response(entries, None if self._initial else batch.revision, batch.initial_end)

    def _bookmark_due(self) -> bool:
        return self._bookmarks and not self._initial and self._now() - self._said_at >= BOOKMARK_SECONDS


def _kind(number: int) -> Kind:
    if number == api.KIND_UNSPECIFIED:
        raise BadRequest("the request names no kind: set kind to one of api.Kind")
    return kind_numbered(number)


def _scope(kind: Kind, namespace: str) -> str:
    return namespace if kind.namespaced else ""


def _object(envelope: api.Object) -> ApiObject:
    obj = unwrap(envelope)
    if obj is None:
        raise BadRequest("the request carries no object: set one of the kinds in object")
    return obj


def _selectors(
    kind: Kind, request: api.ListRequest | api.WatchRequest | api.DeleteCollectionRequest
) -> tuple[Selector | None, FieldSelector | None]:
    labels = parse_label_selector(request.label_selector) if request.label_selector else None
    fields = (
        parse_field_selector(request.field_selector, cast(Any, kind.message))
        if request.field_selector
        else None
    )
    return labels, fields


def _options(request: api.DeleteRequest | api.DeleteCollectionRequest) -> meta.DeleteOptions | None:
    return request.options if request.HasField("options") else None


def _revision(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest(f'resource version "{text[:32]}" is not valid: use one that the server gave')
    return int(text or 0)


def _fitting(items: Sequence[bytes]) -> int:
    """How many of the items fit in one response."""
    size = 0
    for count, item in enumerate(items):
        size += len(item) + 16
        if size > LIST_BYTES_MAX:
            return count
    return len(items)
