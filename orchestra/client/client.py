"""The client."""

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from orchestra.base.errors import BadRequest, Expired, InternalError
from orchestra.client.connection import RETRY_SECONDS_DEFAULT, UNARY_SECONDS_DEFAULT, Connection
from orchestra.client.masters import MastersCalls
from orchestra.client.streams import LogStream, Watch
from orchestra.client.types import ObjectList, Outcome, PatchType, Propagation, kind_meant
from orchestra.objects.kinds import ApiObject, Kind, unwrap, wrap
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import autoscaling, meta

# A page that the client asks for by itself while it reads a whole list.
PAGE_ITEMS = 500
# A list that takes longer than its revision is kept is begun again, this often.
LIST_ATTEMPTS = 3

_PATCH_TYPES = {
    "strategic": api.PatchRequest.STRATEGIC,
    "merge": api.PatchRequest.MERGE,
    "json": api.PatchRequest.JSON,
}
_OUTCOMES: dict[int, Outcome] = {
    api.ApplyResponse.CREATED: "created",
    api.ApplyResponse.CONFIGURED: "configured",
    api.ApplyResponse.UNCHANGED: "unchanged",
}


class Client(MastersCalls):
    """A connection to a cluster, given by one or several masters' addresses: `Client("a:7070,b:7070")`.

    Moves to the next address by itself when one cannot be reached. Objects that come back are the caller's
    own. Every method raises ApiError; `timeout` is the call's deadline in seconds.

    deadline_seconds: for calls that name no timeout. retry_seconds: how long a master that cannot be reached
    is tried again before a call raises Unavailable.
    """

    def __init__(
        self,
        target: str,
        *,
        deadline_seconds: float = UNARY_SECONDS_DEFAULT,
        retry_seconds: float = RETRY_SECONDS_DEFAULT,
        field_manager: str = "orchestra",
    ) -> None:
        self._connection = Connection(target, deadline_seconds=deadline_seconds, retry_seconds=retry_seconds)
        self._field_manager = field_manager

    @property
    def target(self) -> str:
        """The addresses, as given."""
        return self._connection.target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and watches."""
        await self._connection.close()

    async def get(
        self, kind: Kind | str, namespace: str, name: str, *, timeout: float | None = None
    ) -> ApiObject:
        """One object (namespace "" where the kind has none). Raises: NotFound."""
        request = api.GetRequest(kind=_number(kind), namespace=namespace, name=name)
        answer = await self._connection.unary(
            lambda peer: peer.objects.Get, request, write=False, timeout=timeout
        )
        return unwrap(answer)

    async def list(
        self,
        kind: Kind | str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
        timeout: float | None = None,
    ) -> ObjectList:
        """The objects of a kind, of all namespaces for "", all of one revision.

        limit: at most so many, and a token for the rest; 0 reads on, page by page, to the end.
        Raises: Expired for a token that is too old.
        """
        request = api.ListRequest(
            kind=_number(kind),
            namespace=namespace,
            label_selector=labels,
            field_selector=fields,
            limit=limit or PAGE_ITEMS,
        )
        setattr(request, "continue", continue_)
        if limit:
            return await self._page(request, timeout)
        for attempt in range(LIST_ATTEMPTS):
            try:
                return await self._all_pages(request, timeout)
            except Expired:
                if attempt == LIST_ATTEMPTS - 1:
                    raise
                setattr(request, "continue", "")
        raise AssertionError("unreachable")

    async def _page(self, request: api.ListRequest, timeout: float | None) -> ObjectList:
        answer = await self._connection.unary(
            lambda peer: peer.objects.List, request, write=False, timeout=timeout
        )
        items = [unwrap(item) for item in answer.items]
        said = answer.metadata
        remaining = said.remainingItemCount if said.HasField("remainingItemCount") else None
        return ObjectList(items, int(said.resourceVersion), getattr(said, "continue"), remaining)

    async def _all_pages(self, request: api.ListRequest, timeout: float | None) -> ObjectList:
        items: list[ApiObject] = []
        while True:
            page = await self._page(request, timeout)
            items += page.items
            if not page.continue_:
                return ObjectList(items, page.revision)
            setattr(request, "continue", page.continue_)

    def watch(
        self,
        kind: Kind | str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        revision: int | None = None,
        bookmarks: bool = False,
    ) -> Watch:
        """Every change from now on: `async for event in client.watch("pods", "default")`.

        revision: only what came after it (a list's revision); None: first ADDED for all there is.
        bookmarks: also tell, by a BOOKMARK without object, up to where everything has been told; the first
        one says that the initial state is complete.
        """
        meant = kind_meant(kind)
        request = api.WatchRequest(
            kind=api.Kind.ValueType(meant.number),
            namespace=namespace,
            label_selector=labels,
            field_selector=fields,
            allow_bookmarks=True,
        )
        if revision:
            request.resource_version = str(revision)
        return Watch(self._connection, meant, request, bookmarks)

    async def create(
        self, obj: ApiObject, *, dry_run: bool = False, timeout: float | None = None
    ) -> ApiObject:
        """The object as created, with its defaults. Raises: AlreadyExists, Invalid."""
        request = api.CreateRequest(object=wrap(obj), dry_run=dry_run, field_manager=self._field_manager)
        answer = await self._connection.unary(
            lambda peer: peer.objects.Create, request, write=True, timeout=timeout
        )
        return unwrap(answer)

    async def update(
        self, obj: ApiObject, *, subresource: str = "", dry_run: bool = False, timeout: float | None = None
    ) -> ApiObject:
        """Replaces the object, or its status with subresource "status".

        With metadata.resourceVersion set, only if it is still the newest.
        Raises: Conflict, NotFound, Invalid.
        """
        if subresource not in ("", "status"):
            raise BadRequest(f'there is no subresource "{subresource}" to update: "" or "status"')
        request = api.UpdateRequest(object=wrap(obj), dry_run=dry_run, field_manager=self._field_manager)
        answer = await self._connection.unary(
            lambda peer: peer.objects.UpdateStatus if subresource else peer.objects.Update,
            request,
            write=True,
            timeout=timeout,
        )
        return unwrap(answer)

    async def patch(
        self,
        kind: Kind | str,
        namespace: str,
        name: str,
        patch: Mapping[str, Any] | Sequence[Any] | bytes,
        type: PatchType = "strategic",
        *,
        subresource: str = "",
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> ApiObject:
        """Changes parts of an object by a patch in Kubernetes' JSON form.

        Raises: NotFound, BadRequest, Invalid.
        """
        if type not in _PATCH_TYPES:
            raise BadRequest(f'there is no patch type "{type}": one of {", ".join(_PATCH_TYPES)}')
        request = api.PatchRequest(
            kind=_number(kind),
            namespace=namespace,
            name=name,
            type=_PATCH_TYPES[type],
            patch=patch if isinstance(patch, bytes) else json.dumps(patch).encode(),
            subresource=subresource,
            dry_run=dry_run,
            field_manager=self._field_manager,
        )
        answer = await self._connection.unary(
            lambda peer: peer.objects.Patch, request, write=True, timeout=timeout
        )
        return unwrap(answer)

    async def apply(
        self, obj: ApiObject, *, dry_run: bool = False, timeout: float | None = None
    ) -> tuple[ApiObject, Outcome]:
        """Creates the object, or merges it with what was applied before and what is there.

        Raises: Invalid.
        """
        request = api.ApplyRequest(object=wrap(obj), dry_run=dry_run, field_manager=self._field_manager)
        answer = await self._connection.unary(
            lambda peer: peer.objects.Apply, request, write=True, timeout=timeout
        )
        outcome = _OUTCOMES.get(answer.outcome)
        if outcome is None:
            raise InternalError("the server answered an apply without saying what it did")
        return unwrap(answer.object), outcome

    async def delete(
        self,
        kind: Kind | str,
        namespace: str,
        name: str,
        *,
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        uid: str | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> tuple[ApiObject, bool]:
        """The object, and whether it is gone now (else finalizers or its grace period hold it).

        uid: only that very object. Raises: NotFound, PreconditionFailed.
        """
        options = _delete_options(propagation, grace_seconds, dry_run)
        if uid is not None:
            options.preconditions.uid = uid
        request = api.DeleteRequest(kind=_number(kind), namespace=namespace, name=name, options=options)
        answer = await self._connection.unary(
            lambda peer: peer.objects.Delete, request, write=True, timeout=timeout
        )
        return unwrap(answer.object), answer.removed

    async def delete_collection(
        self,
        kind: Kind | str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Deletes all objects that the selectors choose; how many."""
        request = api.DeleteCollectionRequest(
            kind=_number(kind),
            namespace=namespace,
            label_selector=labels,
            field_selector=fields,
            options=_delete_options(propagation, grace_seconds, dry_run),
        )
        answer = await self._connection.unary(
            lambda peer: peer.objects.DeleteCollection, request, write=True, timeout=timeout
        )
        return answer.count

    async def get_scale(
        self, kind: Kind | str, namespace: str, name: str, *, timeout: float | None = None
    ) -> autoscaling.Scale:
        """How many replicas are wanted and are there. Raises: NotFound, NotSupported."""
        request = api.GetRequest(kind=_number(kind), namespace=namespace, name=name)
        return await self._connection.unary(
            lambda peer: peer.objects.GetScale, request, write=False, timeout=timeout
        )

    async def update_scale(
        self,
        kind: Kind | str,
        scale: autoscaling.Scale,
        *,
        current_replicas: int | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> autoscaling.Scale:
        """Sets spec.replicas of the object that scale.metadata names.

        current_replicas: only if it is so many now. Raises: NotFound, Conflict, PreconditionFailed.
        """
        request = api.UpdateScaleRequest(
            kind=_number(kind), scale=scale, current_replicas=current_replicas, dry_run=dry_run
        )
        return await self._connection.unary(
            lambda peer: peer.objects.UpdateScale, request, write=True, timeout=timeout
        )

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        follow: bool = False,
        previous: bool = False,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        since_time: meta.Time | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> LogStream:
        """A container's output: `async for data in client.logs("default", "web-1", follow=True)`."""
        options = api.LogOptions(
            container=container,
            follow=follow,
            previous=previous,
            tail_lines=tail_lines,
            since_seconds=since_seconds,
            since_time=since_time,
            timestamps=timestamps,
            limit_bytes=limit_bytes,
        )
        return LogStream(self._connection, api.LogRequest(namespace=namespace, pod=pod, options=options))

    async def version(self, *, timeout: float | None = None) -> api.VersionResponse:
        """What the master is."""
        return await self._connection.unary(
            lambda peer: peer.cluster.Version, api.VersionRequest(), write=False, timeout=timeout
        )

    async def status(self, *, timeout: float | None = None) -> api.ClusterStatusResponse:
        """How the master fares."""
        return await self._connection.unary(
            lambda peer: peer.cluster.Status, api.ClusterStatusRequest(), write=False, timeout=timeout
        )


def _number(kind: Kind | str) -> api.Kind.ValueType:
    return api.Kind.ValueType(kind_meant(kind).number)


def _delete_options(propagation: Propagation, grace_seconds: int | None, dry_run: bool) -> meta.DeleteOptions:
    return meta.DeleteOptions(
        propagationPolicy=propagation, gracePeriodSeconds=grace_seconds, dryRun=["All"] if dry_run else []
    )
