"""Waiting for an object to become something: a watch from what is known, never a poll."""

from collections.abc import AsyncIterator, Callable

from orchestra.base.errors import Expired, NotFound
from orchestra.cli.finding import scope
from orchestra.client import Client
from orchestra.objects.kinds import ApiObject, Kind, kind_of


async def changes(client: Client, kind: Kind, namespace: str, name: str) -> AsyncIterator[ApiObject | None]:
    """The object as it is now, then after each change; None when it is not there. Never ends by itself."""
    namespace = scope(kind, namespace)
    while True:
        answer = await client.list(kind, namespace, fields=f"metadata.name={name}")
        yield next(iter(answer.items), None)
        try:
            watch = client.watch(kind, namespace, fields=f"metadata.name={name}", revision=answer.revision)
            async with watch:
                async for event in watch:
                    if event.obj is not None:
                        yield None if event.type == "DELETED" else event.obj
        except Expired:
            continue


async def until(
    client: Client, kind: Kind, namespace: str, name: str, holds: Callable[[ApiObject | None], bool]
) -> ApiObject | None:
    """The object once it is as wanted."""
    async for obj in changes(client, kind, namespace, name):
        if holds(obj):
            return obj
    raise NotFound(f'{kind.resource} "{name}" can no longer be watched', kind=kind.resource, name=name)


async def gone(client: Client, obj: ApiObject) -> None:
    """Returns when that very object is no more; another one of its name does not count."""
    kind, uid = kind_of(obj), obj.metadata.uid
    await until(
        client,
        kind,
        obj.metadata.namespace,
        obj.metadata.name,
        lambda found: found is None or bool(uid and found.metadata.uid != uid),
    )
