"""One table from what goes wrong below (revisions, leases, a store that is away) to the API's errors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestra.base.errors import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    Expired,
    InternalError,
    Unavailable,
)
from orchestra.mvcc.errors import Corrupt, RequestTooLarge, SpaceExceeded
from orchestra.store.contract import (
    Compacted,
    FutureRevision,
    LeaseNotFound,
    NotProposed,
    Refused,
    StoreUnavailable,
)

RETRY_AFTER_MS = 200

# What the guards of a write say when they do not hold: somebody else leads now.
NOT_THE_LEADER = "no longer the leader: nothing was written; retry with the master that leads now"


def _expired(error: Compacted) -> ApiError:
    return Expired(
        f"the resource version asked for is too old: the oldest kept is {error.compact_revision}; list again"
    )


_TABLE: Mapping[type[Exception], Callable[[Any], ApiError]] = {
    Compacted: _expired,
    FutureRevision: lambda error: BadRequest(f"resource version is in the future: {error}"),
    LeaseNotFound: lambda error: Unavailable(
        f"the lease has ended meanwhile: {error}", retry_after_ms=RETRY_AFTER_MS
    ),
    RequestTooLarge: lambda error: BadRequest(f"the object is too large to be stored: {error}"),
    SpaceExceeded: lambda error: Unavailable(
        f"the store takes nothing new: {error}", retry_after_ms=RETRY_AFTER_MS
    ),
    Corrupt: lambda error: Unavailable(f"the store takes no writes: {error}", retry_after_ms=RETRY_AFTER_MS),
    Refused: lambda error: InternalError(f"the store refuses what was asked of it: {error}"),
    StoreUnavailable: lambda error: Unavailable(
        f"the store cannot answer now: {error}",
        retry_after_ms=RETRY_AFTER_MS,
        not_done=isinstance(error, NotProposed),
    ),
    TimeoutError: lambda error: DeadlineExceeded(
        "the store did not answer in time; whether a write took effect is not known: read, then retry"
    ),
}

_KNOWN = tuple(_TABLE)


def api_error(error: Exception) -> ApiError:
    """The API's error for one of the table: the first row that fits."""
    for known, made in _TABLE.items():
        if isinstance(error, known):
            return made(error)
    return InternalError(f"the store has failed: {error}")


@contextmanager
def mapped() -> Iterator[None]:
    """Raises the store's errors inside as the API's, with the cause chained."""
    try:
        yield
    except _KNOWN as error:
        raise api_error(error) from error
