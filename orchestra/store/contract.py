"""The Store: etcd's contract over bytes and revisions, and nothing more.

What stands above (typed objects, informers, controllers) knows this protocol only, so that one member on a
log, a Raft group and a real etcd cluster are the same to it. Shapes are mvcc's (orchestra.mvcc.model).
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from orchestra.base.errors import OrchestraError
from orchestra.mvcc.errors import Compacted, FutureRevision, LeaseNotFound, Refused
from orchestra.mvcc.model import Event, Range, RangeResult, Txn, TxnResult

__all__ = [
    "Compacted",
    "FutureRevision",
    "LeaseNotFound",
    "NoSpace",
    "NotProposed",
    "Refused",
    "Store",
    "StoreUnavailable",
    "Watch",
    "WatchBatch",
]


class StoreUnavailable(OrchestraError):
    """The store cannot take the request now (starting, stopping, too many waiting); retry."""


class NotProposed(StoreUnavailable):
    """As above, and nothing of the write was handed to anyone: it is certainly not done, nor ever will be."""


class NoSpace(StoreUnavailable):
    """The store's disk is full: writes are refused until there is space again, reads go on."""


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Every event of the revisions it covers that the watch asked for, in order, none split.

    revision: everything up to and including it has been delivered; a batch without events is a bookmark.
    """

    revision: int
    events: Sequence[Event]


class Watch(Protocol):
    """An open watch, for one reader.

    Iterating raises Compacted when it fell behind what the store keeps, StoreUnavailable when the store ends.
    """

    def __aiter__(self) -> AsyncIterator[WatchBatch]: ...

    async def __anext__(self) -> WatchBatch: ...

    def request_progress(self) -> None:
        """Asks for a batch soon, without events if there are none, that says how far the watch is."""
        ...

    def close(self) -> None:
        """Ends the watch; safe to call twice. An iteration that waits ends."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """range · txn · watch · lease · compact.

    A write that was answered is durable. Reads are linearizable unless asked otherwise.
    """

    @property
    def revision(self) -> int:
        """The newest revision applied here."""
        ...

    async def range(self, request: Range) -> RangeResult:
        """Raises: Compacted, FutureRevision, StoreUnavailable."""
        ...

    async def txn(self, request: Txn) -> TxnResult:
        """Raises: Refused (LeaseNotFound, DuplicateKey, TooManyOperations, RequestTooLarge, Compacted …),
        StoreUnavailable, NoSpace. After StoreUnavailable the write may still take effect.
        """
        ...

    def watch(
        self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False
    ) -> Watch:
        """Watches a range from start_revision on (0: from the next one).

        Bound: what waits for a slow reader is kept as a position in history, not as a queue of events.
        """
        ...

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> int:
        """The id of a new lease (`lease`, if not 0). Keys put with it go when it expires."""
        ...

    async def lease_revoke(self, lease: int) -> None:
        """Raises: LeaseNotFound."""
        ...

    async def lease_keep_alive(self, lease: int) -> int:
        """Starts the lease's time anew; its time to live in seconds. Raises: LeaseNotFound."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets what was overwritten before `revision`. Raises: Compacted, FutureRevision."""
        ...
