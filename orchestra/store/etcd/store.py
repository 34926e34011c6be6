"""The Store contract on an etcd cluster."""

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from orchestra.aio.supervisor import Supervisor
from orchestra.mvcc.checks import check_lease_ttl, check_range, check_txn
from orchestra.mvcc.errors import EmptyKey, FutureRevision, LeaseExists, LeaseNotFound, RequestTooLarge
from orchestra.mvcc.model import (
    DeleteRange,
    KeyValue,
    Op,
    Put,
    Range,
    RangeResult,
    SortOrder,
    SortTarget,
    Txn,
    TxnResult,
)
from orchestra.pb import etcd_rpc_pb2 as rpc
from orchestra.store.contract import Compacted, StoreUnavailable
from orchestra.store.etcd import words
from orchestra.store.etcd.changes import ChangeStream
from orchestra.store.etcd.connection import NEEDS_LEADER, Connection, Endpoint
from orchestra.store.etcd.failures import asked_revision
from orchestra.store.etcd.watch import EtcdWatch, EtcdWatches

TIMEOUT_SECONDS: Final = 5.0
# Keys a page: of middling objects about a MiB, well below what gRPC takes; halved for larger ones.
PAGE_KEYS: Final = 1000


class EtcdStore:
    """A store whose members are etcd's. Open it where it is used; closing ends its watches.

    Every call has a deadline, timeout_seconds; what may be asked twice is asked of the next member when one
    does not answer. Bound: a range is read in pages of about a MiB.
    """

    def __init__(self, connection: Connection, revision: int, cluster: int) -> None:
        """Not to be called: see open()."""
        self._connection = connection
        self._revision = revision
        self._cluster = cluster
        self._page_keys = PAGE_KEYS
        self._compacted_at = 0
        self._watches = EtcdWatches(revision, lambda: self._revision, self._open_stream)
        self._supervisor = Supervisor("etcd", rng=connection.rng)
        self._supervisor.start("changes", self._watches.run)
        self._supervisor.start("changes/watchdog", self._watches.watch_over)

    @classmethod
    async def open(
        cls,
        addresses: Sequence[str],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        rng: random.Random | None = None,
    ) -> Self:
        """A store on the cluster with these members (HOST:PORT each), once one of them has answered.

        Raises: StoreUnavailable when none does within timeout_seconds; UsageError for what is no address.
        """
        connection = Connection(addresses, timeout_seconds=timeout_seconds, rng=rng)
        try:
            request = rpc.RangeRequest(key=b"\0", range_end=b"\0", count_only=True, limit=1)
            answer = await connection.call(
                lambda endpoint, left: endpoint.kv.Range(request, timeout=left), repeatable=True
            )
        except BaseException:
            await connection.close()
            raise
        store = cls(connection, answer.header.revision, answer.header.cluster_id)
        try:
            async with asyncio.timeout(timeout_seconds):
                await store._watches.ready()
        except BaseException as error:
            await store.close()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"etcd at {', '.join(addresses)} tells no changes") from error
            raise
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the store, its watches and its connections."""
        await self._supervisor.stop()
        await self._connection.close()
        self._watches.fail("the store is closed")

    @property
    def revision(self) -> int:
        """The newest revision that an answer or a change has shown."""
        return self._revision

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._connection.closed

    @property
    def address(self) -> str:
        """The member that is asked now."""
        return self._connection.endpoint.address

    @property
    def rng(self) -> random.Random:
        """The chance that its waits are jittered by."""
        return self._connection.rng

    def _seen(self, header: rpc.ResponseHeader) -> None:
        if header.cluster_id != self._cluster:
            raise StoreUnavailable(
                f"another etcd cluster answers ({header.cluster_id:x}, it was {self._cluster:x}): its past "
                "is not this one's; start the master anew if that is meant"
            )
        if header.revision > self._revision:
            self._revision = header.revision
            self._watches.noticed()

    def _open_stream(self, start_revision: int) -> ChangeStream:
        return ChangeStream(self._connection, start_revision, self._seen)

    async def range(self, request: Range) -> RangeResult:
        """Reads in pages, all at one revision.

        Raises: Compacted, FutureRevision, EmptyKey, StoreUnavailable.
        """
        check_range(request)
        if not _pageable(request):
            return words.range_result(
                await self._range(request, request.limit, request.key, request.revision)
            )
        kvs: list[KeyValue] = []
        count = 0
        first: rpc.RangeResponse | None = None
        key, revision = request.key, request.revision
        while True:
            left = request.limit - len(kvs) if request.limit else 0
            page = await self._page(request, left, key, revision)
            kvs += map(words.key_value, page.kvs)
            if first is None:
                first, count = page, page.count
                revision = revision or page.header.revision
            if not page.more or (request.limit and len(kvs) >= request.limit):
                return RangeResult(first.header.revision, kvs, count, page.more)
            key = page.kvs[-1].key + b"\0" if page.kvs else request.range_end

    async def _page(self, request: Range, left: int, key: bytes, revision: int) -> rpc.RangeResponse:
        while True:
            keys = min(left or self._page_keys, self._page_keys)
            try:
                page = await self._range(request, keys, key, revision)
            except RequestTooLarge:
                if keys == 1:
                    raise
                self._page_keys = max(keys // 4, 1)
                continue
            if self._page_keys < PAGE_KEYS:
                self._page_keys = min(self._page_keys + self._page_keys // 8 + 1, PAGE_KEYS)
            return page

    async def _range(self, request: Range, limit: int, key: bytes, revision: int) -> rpc.RangeResponse:
        message = words.range_request(request)
        message.limit, message.key, message.revision = limit, key, revision
        needs = () if request.serializable else NEEDS_LEADER
        try:
            answer = await self._connection.call(
                lambda endpoint, left: endpoint.kv.Range(message, timeout=left, metadata=needs),
                repeatable=True,
                asked=request,
            )
        except FutureRevision as error:
            raise FutureRevision(asked_revision(request), self._revision) from error
        except Compacted as error:
            raise await self._compacted() from error
        self._seen(answer.header)
        return answer

    async def txn(self, request: Txn) -> TxnResult:
        """Raises: Refused, StoreUnavailable, NoSpace."""
        check_txn(request)
        message = words.txn_request(request)
        try:
            answer = await self._connection.call(
                lambda endpoint, left: endpoint.kv.Txn(message, timeout=left, metadata=NEEDS_LEADER),
                repeatable=not _writes(request),
                asked=request,
            )
        except FutureRevision as error:
            raise FutureRevision(asked_revision(request), self._revision) from error
        except Compacted as error:
            raise await self._compacted() from error
        self._seen(answer.header)
        return words.txn_result(answer)

    def watch(
        self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False
    ) -> EtcdWatch:
        """Watches a range from start_revision on (0: from the next after `revision`). Raises: EmptyKey."""
        if not key:
            raise EmptyKey
        return self._watches.watch(key, range_end, start_revision, prev_kv)

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> int:
        """The id of a new lease. Raises: LeaseExists, LeaseTtlTooLarge, StoreUnavailable, NoSpace."""
        check_lease_ttl(ttl_seconds)
        request = rpc.LeaseGrantRequest(TTL=ttl_seconds, ID=lease)
        try:
            # Without a name it may be granted twice: nobody will keep the other one alive.
            answer = await self._connection.call(
                lambda endpoint, left: endpoint.lease.LeaseGrant(
                    request, timeout=left, metadata=NEEDS_LEADER
                ),
                repeatable=not lease,
            )
        except LeaseExists as error:
            raise LeaseExists(lease) from error
        self._seen(answer.header)
        return answer.ID

    async def lease_revoke(self, lease: int) -> None:
        """Raises: LeaseNotFound, StoreUnavailable."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        try:
            answer = await self._connection.call(
                lambda endpoint, left: endpoint.lease.LeaseRevoke(
                    request, timeout=left, metadata=NEEDS_LEADER
                ),
                repeatable=False,
            )
        except LeaseNotFound as error:
            raise LeaseNotFound(lease) from error
        self._seen(answer.header)

    async def lease_keep_alive(self, lease: int) -> int:
        """Starts the lease's time anew; its time to live in seconds. Raises: LeaseNotFound."""
        request = rpc.LeaseKeepAliveRequest(ID=lease)

        async def once(endpoint: Endpoint, left: float) -> rpc.LeaseKeepAliveResponse:
            call = endpoint.lease.LeaseKeepAlive(iter([request]), timeout=left, metadata=NEEDS_LEADER)
            async for answer in call:
                call.cancel()
                return answer
            raise StoreUnavailable(f"etcd at {endpoint.address} has ended the keep-alive")

        answer = await self._connection.call(once, repeatable=True)
        self._seen(answer.header)
        if answer.TTL <= 0:
            raise LeaseNotFound(lease)
        return answer.TTL

    async def compact(self, revision: int) -> None:
        """Raises: Compacted, FutureRevision, StoreUnavailable."""
        request = rpc.CompactionRequest(revision=revision)
        try:
            answer = await self._connection.call(
                lambda endpoint, left: endpoint.kv.Compact(request, timeout=left, metadata=NEEDS_LEADER),
                repeatable=False,
            )
        except FutureRevision as error:
            raise FutureRevision(revision, self._revision) from error
        except Compacted as error:
            raise await self._compacted() from error
        self._seen(answer.header)
        self._compacted_at = max(self._compacted_at, revision)
        self._watches.compacted(revision)

    async def _compacted(self) -> Compacted:
        """The refusal with the revision that etcd leaves out."""
        # Only a watch is told.
        stream = self._open_stream(1)
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                await stream.read()
        except Compacted as told:
            self._compacted_at = max(self._compacted_at, told.compact_revision)
        except (TimeoutError, StoreUnavailable):
            pass
        finally:
            stream.close()
        return Compacted(self._compacted_at)


def _pageable(request: Range) -> bool:
    """Whether its keys come in order, so that one page begins where the last one ended.

    For one with filters etcd looks at all keys anyhow; it does that once only.
    """
    filters = (
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
    unsorted = request.sort_order == SortOrder.NONE and request.sort_target == SortTarget.KEY
    return bool(request.range_end) and unsorted and not request.count_only and not any(filters)


def _writes(txn: Txn) -> bool:
    """Whether a transaction may change anything, in either branch."""
    ops: tuple[Op, ...] = (*txn.success, *txn.failure)
    return any(isinstance(op, Put | DeleteRange) or (isinstance(op, Txn) and _writes(op)) for op in ops)
