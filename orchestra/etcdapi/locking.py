"""What etcd's lock and election services share: a queue of keys under a prefix, each held by a lease.

Whose key was created first has it; who waits watches the key before its own, and no other.
Source: etcd's client/v3/concurrency (key.go, mutex.go, election.go), on which its own services stand.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from orchestra.etcdapi.errors import EtcdError, Said, refusal_of
from orchestra.etcdapi.lease import Bits, new_lease_id
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    EventType,
    Op,
    Range,
    RangeResult,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
)
from orchestra.store.contract import Refused, Store, StoreUnavailable

# The lease of who brings none.
SESSION_SECONDS: Final = 60
# For taking back what a caller who has gone had begun.
CLEAN_UP_SECONDS: Final = 5.0


@contextmanager
def through_a_client() -> Iterator[None]:
    """etcd's services of this kind are clients of their own server: gRPC does not know their errors."""
    try:
        yield
    except Refused as error:
        said = refusal_of(error)
        assert said is not None
        raise EtcdError(Said(grpc.StatusCode.UNKNOWN, said.text)) from error


async def session_lease(store: Store, lease: int, rng: Bits) -> int:
    """The lease given, or a new one. Raises: StoreUnavailable, NoSpace."""
    return lease or await store.lease_grant(SESSION_SECONDS, new_lease_id(rng))


def first_created(prefix: bytes) -> Range:
    """The key that has it."""
    return Range(
        prefix,
        prefix_end(prefix),
        limit=1,
        sort_order=SortOrder.ASCEND,
        sort_target=SortTarget.CREATE,
    )


def created_at(key: bytes, revision: int) -> Compare:
    """Holds while the key is the one created at that revision (0: while there is none)."""
    return Compare(key, Target.CREATE, Result.EQUAL, revision)


def range_in(result: TxnResult, index: int) -> RangeResult:
    """The answer of a range within a transaction."""
    answer = result.responses[index]
    assert isinstance(answer, RangeResult)
    return answer


async def wait_turn(store: Store, prefix: bytes, create_revision: int) -> int:
    """Waits until every key under the prefix created before a revision is gone; the store's revision then.

    Raises: StoreUnavailable, Compacted.
    """
    before = Range(
        prefix,
        prefix_end(prefix),
        limit=1,
        sort_order=SortOrder.DESCEND,
        sort_target=SortTarget.CREATE,
        max_create_revision=create_revision - 1,
    )
    while True:
        found = await store.range(before)
        if not found.kvs:
            return found.revision
        await _deleted(store, found.kvs[0].key, found.revision)


async def _deleted(store: Store, key: bytes, revision: int) -> None:
    with store.watch(key, start_revision=revision) as watch:
        async for batch in watch:
            if any(event.type is EventType.DELETE for event in batch.events):
                return
    raise StoreUnavailable("the watch has ended")


async def take_back(store: Store, *writes: Op, guards: tuple[Compare, ...] = ()) -> None:
    """Writes although the caller has gone, as well as can be done: else it goes with its lease."""
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await store.txn(Txn(guards, writes))
    except (StoreUnavailable, TimeoutError):
        # The lease ends it.
        return


def release(key: bytes) -> DeleteRange:
    """Gives the key up."""
    return DeleteRange(key)
