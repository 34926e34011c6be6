"""etcd's Election service."""

from orchestra.aio.rpc.server import Context
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.errors import (
    ELECTION_NO_LEADER,
    ELECTION_NOT_LEADER,
    MISSING_LEADER_KEY,
    EtcdError,
)
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
from orchestra.etcdapi.responses import kv_message
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import Event, EventType, KeyValue, Put, Range, Txn
from orchestra.pb import etcd_election_pb2 as pb
from orchestra.store.contract import StoreUnavailable, Watch


class ElectionService:
    """Each method answers one request. Raises: EtcdError and what the store raises."""

    def __init__(self, backend: Backend, headers: Headers, rng: Bits) -> None:
        self._rng = rng
        self._store = backend.store
        self._headers = headers

    async def campaign(self, request: pb.CampaignRequest) -> pb.CampaignResponse:
        """Waits until the caller leads, as long as the caller does."""
        lease = await session_lease(self._store, request.lease, self._rng)
        prefix = request.name + b"/"
        key = prefix + format(lease, "x").encode()
        with through_a_client():
            result = await self._store.txn(
                Txn((created_at(key, 0),), (Put(key, request.value, lease),), (Range(key),))
            )
        mine = result.revision
        try:
            if not result.succeeded:
                standing = range_in(result, 0).kvs[0]
                mine = standing.create_revision
                if standing.value != request.value:
                    await self._proclaim(key, mine, lease, request.value)
            await wait_turn(self._store, prefix, mine)
        except BaseException:
            await take_back(self._store, release(key), guards=(created_at(key, mine),))
            raise
        leader = pb.LeaderKey(name=request.name, key=key, rev=mine, lease=lease)
        return pb.CampaignResponse(header=self._headers.at(result.revision), leader=leader)

    async def proclaim(self, request: pb.ProclaimRequest) -> pb.ProclaimResponse:
        if not request.HasField("leader"):
            raise EtcdError(MISSING_LEADER_KEY)
        leader = request.leader
        lease = await session_lease(self._store, leader.lease, self._rng)
        revision = await self._proclaim(leader.key, leader.rev, lease, request.value)
        return pb.ProclaimResponse(header=self._headers.at(revision))

    async def leader(self, request: pb.LeaderRequest) -> pb.LeaderResponse:
        found = await self._store.range(first_created(request.name + b"/"))
        if not found.kvs:
            raise EtcdError(ELECTION_NO_LEADER)
        return pb.LeaderResponse(header=self._headers.at(found.revision), kv=kv_message(found.kvs[0]))

    async def resign(self, request: pb.ResignRequest) -> pb.ResignResponse:
        """Does nothing where the caller leads no more."""
        if not request.HasField("leader"):
            raise EtcdError(MISSING_LEADER_KEY)
        leader = request.leader
        with through_a_client():
            result = await self._store.txn(Txn((created_at(leader.key, leader.rev),), (release(leader.key),)))
        return pb.ResignResponse(header=self._headers.at(result.revision))

    async def observe(self, request: pb.LeaderRequest, context: Context) -> None:
        """Tells each leader and what it proclaims, for ever; not everything, but always the newest."""
        prefix = request.name + b"/"
        while True:
            found = await self._store.range(first_created(prefix))
            if found.kvs:
                kv, revision = found.kvs[0], found.revision
            else:
                kv = await self._first_put(prefix, found.revision)
                revision = kv.mod_revision
            await self._tell(context, kv, revision)
            with self._store.watch(kv.key, start_revision=revision + 1) as watch:
                await self._follow(watch, context)

    async def _follow(self, watch: Watch, context: Context) -> None:
        """Until the key is deleted."""
        async for batch in watch:
            for event in batch.events:
                if event.type is EventType.DELETE:
                    return
                await self._tell(context, event.kv, batch.revision)
        raise StoreUnavailable("the watch has ended")

    async def _first_put(self, prefix: bytes, revision: int) -> KeyValue:
        with self._store.watch(prefix, prefix_end(prefix), start_revision=revision) as watch:
            async for batch in watch:
                put: Event | None = next((each for each in batch.events if each.type is EventType.PUT), None)
                if put is not None:
                    return put.kv
        raise StoreUnavailable("the watch has ended")

    async def _tell(self, context: Context, kv: KeyValue, revision: int) -> None:
        await context.write(pb.LeaderResponse(header=self._headers.at(revision), kv=kv_message(kv)))

    async def _proclaim(self, key: bytes, create_revision: int, lease: int, value: bytes) -> int:
        with through_a_client():
            result = await self._store.txn(
                Txn((created_at(key, create_revision),), (Put(key, value, lease),))
            )
        if not result.succeeded:
            raise EtcdError(ELECTION_NOT_LEADER)
        return result.revision
