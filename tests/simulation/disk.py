"""The store as one master sees it: the real one, behind a disk that takes its time and a master that may die."""

import asyncio
import random
from types import TracebackType
from typing import Self

from orchestra.mvcc.model import Range, RangeResult, Txn, TxnResult
from orchestra.store.contract import StoreUnavailable, Watch, WatchBatch
from orchestra.store.local import reads_only
from orchestra.store.memory import MemoryStore


class Disk:
    """A Store over a MemoryStore. Writes are applied after a while and answered after another.

    slow: how much slower than usual it is now. die(): from then on no write of this master is applied.
    """

    def __init__(self, inner: MemoryStore, rng: random.Random) -> None:
        self.slow = 1.0
        self._inner = inner
        self._rng = rng
        self._dead = False

    @property
    def revision(self) -> int:
        return self._inner.revision

    def die(self) -> None:
        """The master's process is no more: what it has not written yet, it never will."""
        self._dead = True

    def _check(self) -> None:
        if self._dead:
            raise StoreUnavailable("the master is dead")

    async def _wait(self, most_ms: float) -> None:
        # Often next to nothing, now and then long: where races live.
        share = self._rng.random() ** 3
        await asyncio.sleep(share * most_ms * self.slow / 1000)
        self._check()

    async def range(self, request: Range) -> RangeResult:
        self._check()
        return await self._inner.range(request)

    async def txn(self, request: Txn) -> TxnResult:
        self._check()
        if reads_only(request):
            return await self._inner.txn(request)
        await self._wait(2.0)
        result = await self._inner.txn(request)
        await self._wait(1.0)
        return result

    def watch(
        self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False
    ) -> Watch:
        return _LateWatch(
            self, self._inner.watch(key, range_end, start_revision=start_revision, prev_kv=prev_kv)
        )

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> int:
        await self._wait(2.0)
        return await self._inner.lease_grant(ttl_seconds, lease)

    async def lease_revoke(self, lease: int) -> None:
        await self._wait(2.0)
        await self._inner.lease_revoke(lease)

    async def lease_keep_alive(self, lease: int) -> int:
        await self._wait(2.0)
        return await self._inner.lease_keep_alive(lease)

    async def compact(self, revision: int) -> None:
        await self._wait(2.0)
        await self._inner.compact(revision)

    async def news(self) -> None:
        """How late a watch brings its news."""
        if self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.random() ** 4 * 20.0 * self.slow / 1000)


class _LateWatch:
    """A watch whose news come late."""

    def __init__(self, disk: Disk, inner: Watch) -> None:
        self._disk = disk
        self._inner = inner

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchBatch:
        batch = await anext(self._inner)  # type: ignore[call-overload]
        await self._disk.news()
        return batch  # type: ignore[no-any-return]

    def request_progress(self) -> None:
        self._inner.request_progress()

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
