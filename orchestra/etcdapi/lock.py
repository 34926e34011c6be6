"""etcd's Lock service."""

from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.errors import SESSION_EXPIRED, EtcdError
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.lease import Bits
from orchestra.etcdapi.locking import (
    created_at,
    first_created,
    range_in,
    release,
    session_lease,
    take_back,
    through_a_client,
    wait_turn,
)
from orchestra.mvcc.model import Put, Range, Txn
from orchestra.pb import etcd_lock_pb2 as pb


class LockService:
    """Each method answers one request. Raises: what the store raises."""

    def __init__(self, backend: Backend, headers: Headers, rng: Bits) -> None:
        self._rng = rng
        self._store = backend.store
        self._headers = headers

    async def lock(self, request: pb.LockRequest) -> pb.LockResponse:
        """Waits for the lock, as long as the caller does. Locking twice with one lease is locking once.

        Raises: EtcdError when the session ended meanwhile: its key is gone, and the lock is another's.
        Source: Mutex.Lock of etcd 3.5; before, etcd gave two the lock then.
        """
        lease = await session_lease(self._store, request.lease, self._rng)
        prefix = request.name + b"/"
        key = prefix + format(lease, "x").encode()
        owner = first_created(prefix)
        with through_a_client():
            result = await self._store.txn(
                Txn((created_at(key, 0),), (Put(key, b"", lease), owner), (Range(key), owner))
            )
        mine = result.revision if result.succeeded else range_in(result, 0).kvs[0].create_revision
        owners = range_in(result, 1).kvs
        revision = result.revision
        if owners and owners[0].create_revision != mine:
            try:
                await wait_turn(self._store, prefix, mine)
                found = await self._store.range(Range(key))
                revision = found.revision
                if not found.kvs or found.kvs[0].create_revision != mine:
                    raise EtcdError(SESSION_EXPIRED)
            except BaseException:
                await take_back(self._store, release(key), guards=(created_at(key, mine),))
                raise
        return pb.LockResponse(header=self._headers.at(revision), key=key)

    async def unlock(self, request: pb.UnlockRequest) -> pb.UnlockResponse:
        with through_a_client():
            result = await self._store.txn(Txn((), (release(request.key),)))
        return pb.UnlockResponse(header=self._headers.at(result.revision))
