"""What a failed write says of itself: only what certainly took no effect may be sent again."""

import pytest

from orchestra.base.clock import ManualClock
from orchestra.base.errors import Unavailable
from orchestra.mvcc.model import Range, RangeResult, Txn, TxnResult
from orchestra.objects.kinds import POD
from orchestra.pb import core, meta
from orchestra.store.contract import NotProposed, StoreUnavailable
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


class Failing(MemoryStore):
    """Fails as it is told to, after so many writes."""

    reads: StoreUnavailable | None = None
    writes: StoreUnavailable | None = None
    writes_left = 0

    async def range(self, request: Range) -> RangeResult:
        if self.reads is not None:
            raise self.reads
        return await super().range(request)

    async def txn(self, request: Txn) -> TxnResult:
        if self.writes is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise self.writes
        return await super().txn(request)


def pod(name: str) -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.containers.add(name="main", command=["true"])
    return made


async def objects_of(store: Failing) -> ObjectStore:
    objects = ObjectStore(store, clock=ManualClock())
    await objects.ensure_namespaces()
    for name in ("a", "b"):
        await objects.create(pod(name))
    return objects


@pytest.mark.parametrize(
    ("failure", "not_done"), [(NotProposed("no leader"), True), (StoreUnavailable("who knows"), False)]
)
async def test_a_write_that_fails(failure: StoreUnavailable, not_done: bool) -> None:
    store = Failing()
    objects = await objects_of(store)
    store.writes = failure
    with pytest.raises(Unavailable) as caught:
        await objects.create(pod("c"))
    assert caught.value.not_done is not_done


async def test_a_write_that_cannot_read_what_it_is_to_change() -> None:
    store = Failing()
    objects = await objects_of(store)
    store.reads = StoreUnavailable("no leader")
    with pytest.raises(Unavailable) as caught:
        await objects.mutate(POD, "default", "a", lambda pod: None)
    assert caught.value.not_done


async def test_many_writes_of_which_some_are_done() -> None:
    store = Failing()
    objects = await objects_of(store)
    store.writes, store.writes_left = NotProposed("no leader"), 1
    with pytest.raises(Unavailable) as caught:
        await objects.delete_collection(POD, "default")
    assert not caught.value.not_done
