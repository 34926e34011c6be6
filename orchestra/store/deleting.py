"""What a delete demands before it is one, and deleting many."""

import asyncio
from collections.abc import Awaitable, Callable

from orchestra.base.errors import BadRequest, Forbidden, NotFound
from orchestra.objects.kinds import NAMESPACE, ApiObject, Kind
from orchestra.pb import meta
from orchestra.store.listing import Filter, Lister
from orchestra.store.namespaces import KEPT

COLLECTION_PAGE = 500
COLLECTION_AT_ONCE = 64


def dry_run_asked(options: meta.DeleteOptions | None) -> bool:
    """Whether the delete is to be tried only. Raises: BadRequest for another word than "All"."""
    asked = list(options.dryRun) if options is not None else []
    for word in asked:
        if word != "All":
            raise BadRequest(f'dryRun: Unsupported value: "{word}": supported values: "All"')
    return bool(asked)


def check_deletable(kind: Kind, name: str) -> None:
    """Raises: Forbidden for a namespace that every cluster has."""
    if kind is NAMESPACE and name in KEPT:
        raise Forbidden(
            f'namespaces "{name}" is forbidden: this namespace may not be deleted',
            kind=kind.resource,
            name=name,
        )


async def delete_matching(
    lister: Lister, wanted: Filter, delete: Callable[[ApiObject], Awaitable[None]]
) -> int:
    """Deletes every object of a list; how many there were. One that has gone meanwhile is not counted.

    Bound: COLLECTION_PAGE objects are held, COLLECTION_AT_ONCE deleted at once.
    Raises: what `delete` raises first, once those under way have ended.
    """

    async def one(obj: ApiObject) -> bool:
        try:
            await delete(obj)
        except NotFound:
            return False
        return True

    count, after = 0, None
    while True:
        page = await lister.page(wanted, COLLECTION_PAGE, after=after)
        objects = await lister.decoded(wanted.kind, page.kvs)
        for first in range(0, len(objects), COLLECTION_AT_ONCE):
            some = objects[first : first + COLLECTION_AT_ONCE]
            for ended in await asyncio.gather(*map(one, some), return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
                count += ended
        if not page.continue_:
            return count
        after = page.kvs[-1].key
