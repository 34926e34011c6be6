"""etcd's Lease service."""

from typing import Final, Protocol

import grpc.aio

from orchestra.aio.rpc.server import Context
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.header import Headers
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.pb import etcd_rpc_pb2 as pb

# What etcd with its default election timeout gives at least.
TTL_SECONDS_MIN: Final = 2


class Bits(Protocol):
    """What lease ids are drawn from."""

    def getrandbits(self, bits: int, /) -> int: ...


def new_lease_id(rng: Bits) -> int:
    """An id that nobody has: 63 bits, as etcd gives them."""
    return rng.getrandbits(63) or 1


class LeaseService:
    """Each method answers one request. Raises: what the store raises."""

    def __init__(self, backend: Backend, headers: Headers, rng: Bits) -> None:
        self._rng = rng
        self._backend = backend
        self._store = backend.store
        self._headers = headers

    async def grant(self, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        ttl_seconds = max(request.TTL, TTL_SECONDS_MIN)
        lease = await self._store.lease_grant(ttl_seconds, request.ID or new_lease_id(self._rng))
        return pb.LeaseGrantResponse(header=self._headers.now(), ID=lease, TTL=ttl_seconds)

    async def revoke(self, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        await self._store.lease_revoke(request.ID)
        return pb.LeaseRevokeResponse(header=self._headers.now())

    async def keep_alive(self, _: object, context: Context) -> None:
        """Answers each request of the stream in turn; TTL 0 where there is no such lease."""
        while True:
            request = await context.read()
            if request is grpc.aio.EOF:
                return
            # Made before the lease is renewed: at no revision that is newer than the renewal.
            response = pb.LeaseKeepAliveResponse(header=self._headers.now(), ID=request.ID)
            try:
                response.TTL = await self._store.lease_keep_alive(request.ID)
            except LeaseNotFound:
                response.TTL = 0
            await context.write(response.SerializeToString())

    async def time_to_live(self, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """TTL -1 where there is no such lease."""
        try:
            remaining = await self._backend.lease_remaining(request.ID)
            # Granted by another member, it may not have been applied here yet.
            await self._store.read_barrier()
        except LeaseNotFound:
            remaining = -1
        record = self._store.machine.leases.get(request.ID)
        response = pb.LeaseTimeToLiveResponse(header=self._headers.now(), ID=request.ID, TTL=-1)
        if record is not None and remaining >= 0:
            response.TTL = remaining
            response.grantedTTL = record.ttl_seconds
            if request.keys:
                response.keys.extend(sorted(record.keys))
        return response

    async def leases(self, request: pb.LeaseLeasesRequest) -> pb.LeaseLeasesResponse:
        """The leases, ascending."""
        await self._store.read_barrier()
        response = pb.LeaseLeasesResponse(header=self._headers.now())
        for lease in sorted(self._store.machine.leases):
            response.leases.add(ID=lease)
        return response
