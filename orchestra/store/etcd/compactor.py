"""Who forgets etcd's history: the leading master, as much and as seldom as a member of its own does."""

import asyncio
from collections import deque
from typing import Final

from orchestra.aio.backoff import Backoff
from orchestra.base.log import get_logger
from orchestra.mvcc.retention import Retention
from orchestra.store.contract import Compacted, FutureRevision, StoreUnavailable
from orchestra.store.etcd.store import EtcdStore

log = get_logger("store.etcd.compactor")

RETRY_MS: Final = 500
RETRY_MS_MAX: Final = 30_000


class Written:
    """How much etcd has been seen to write, to decide what it need not keep. Pure.

    Counts what it is told of; what was before it began counts by its revisions only.
    Bound: a mark for each hundredth of what is kept.
    """

    def __init__(self, retention: Retention, revision: int) -> None:
        self._retention = retention
        self._compacted = 0
        self._revision = revision
        self._bytes = 0
        self._marks: deque[tuple[int, int]] = deque([(revision, 0)])

    def wrote(self, revision: int, value_bytes: int) -> None:
        """Values of that many bytes were written up to a revision."""
        self._revision = revision
        self._bytes += value_bytes
        marked, marked_bytes = self._marks[-1]
        far = revision - marked >= max(self._retention.revisions // 100, 1)
        if far or self._bytes - marked_bytes >= self._retention.value_bytes // 100:
            self._marks.append((revision, self._bytes))

    def plan(self) -> int | None:
        """The revision to compact to, if that is due: a tenth, or half of the bytes, at a time."""
        keep = self._retention.revisions
        if self._revision - self._compacted > keep + max(keep // 10, 1):
            return self._revision - keep
        limit = self._retention.value_bytes
        if self._bytes - self._marks[0][1] <= limit:
            return None
        fitting = [revision for revision, total in self._marks if self._bytes - total <= limit // 2]
        return fitting[0] if fitting and fitting[0] > self._compacted else None

    def compacted(self, revision: int) -> None:
        """That has been done."""
        self._compacted = max(self._compacted, revision)
        while len(self._marks) > 1 and self._marks[1][0] <= revision:
            self._marks.popleft()


class EtcdCompactor:
    """Run by the leading master while it leads. A deposed one does no harm: all keep the same."""

    def __init__(self, store: EtcdStore, retention: Retention | None = None) -> None:
        self._store = store
        self._written = Written(retention or Retention(), store.revision)

    async def run(self) -> None:
        """Compacts whenever enough has been written, never because time passed; for ever."""
        backoff = Backoff(RETRY_MS, RETRY_MS_MAX, rng=self._store.rng)
        while True:
            try:
                await self._follow(backoff)
            except Compacted:
                # Somebody else keeps less than this one; goes on from now.
                log.info("etcd was compacted by somebody else")
            except StoreUnavailable as error:
                log.info("cannot follow etcd's history now", why=error)
            await asyncio.sleep(backoff.next_ms() / 1000)

    async def _follow(self, backoff: Backoff) -> None:
        await self._compact()
        with self._store.watch(b"\0", b"\0") as watch:
            async for batch in watch:
                backoff.reset()
                self._written.wrote(batch.revision, sum(len(event.kv.value) for event in batch.events))
                await self._compact()

    async def _compact(self) -> None:
        revision = self._written.plan()
        if revision is None:
            return
        try:
            await self._store.compact(revision)
            log.info("compacted etcd's history", revision=revision)
        except Compacted as error:
            self._written.compacted(error.compact_revision)
        except FutureRevision as error:
            log.warning("etcd is behind what was seen of it", why=error)
        except StoreUnavailable as error:
            log.info("could not compact, will try again", why=error)
            return
        self._written.compacted(revision)
