"""The masters themselves: who they are, who joins and leaves, and the whole store as one stream."""

from collections.abc import AsyncGenerator, Sequence

import grpc.aio

from orchestra.aio.rpc.status import never_sent
from orchestra.base.errors import ApiError, Unavailable
from orchestra.client.connection import Connection
from orchestra.pb import api_v1_pb2 as api

# A change of members waits for the cluster to agree, twice.
CHANGE_SECONDS = 15.0
SNAPSHOT_SECONDS = 600.0


class MastersCalls:
    """The part of the client that is about the masters."""

    _connection: Connection

    async def members(self, *, timeout: float | None = None) -> api.MembersResponse:
        """The masters of the embedded store, and who leads. Raises: NotSupported on an etcd cluster."""
        return await self._connection.unary(
            lambda peer: peer.cluster.Members, api.MembersRequest(), write=False, timeout=timeout
        )

    async def add_member(
        self, name: str, peer_addresses: Sequence[str], *, learner: bool = True, timeout: float | None = None
    ) -> api.MembersResponse:
        """Makes room for a master that is to start; `added` in the answer is its id.

        Raises: AlreadyExists, PreconditionFailed.
        """
        request = api.AddMemberRequest(name=name, peer_addresses=peer_addresses, learner=learner)
        return await self._connection.unary(
            lambda peer: peer.cluster.AddMember, request, write=True, timeout=timeout or CHANGE_SECONDS
        )

    async def remove_member(self, member: str, *, timeout: float | None = None) -> api.MembersResponse:
        """Takes a master, by its name or id, out of the cluster for good. Raises: NotFound."""
        return await self._connection.unary(
            lambda peer: peer.cluster.RemoveMember,
            api.MemberRequest(member=member),
            write=True,
            timeout=timeout or CHANGE_SECONDS,
        )

    async def promote_member(self, member: str, *, timeout: float | None = None) -> api.MembersResponse:
        """Gives a learner its vote. Raises: NotFound, PreconditionFailed while it has not caught up."""
        return await self._connection.unary(
            lambda peer: peer.cluster.PromoteMember,
            api.MemberRequest(member=member),
            write=True,
            timeout=timeout or CHANGE_SECONDS,
        )

    async def move_leader(self, member: str = "", *, timeout: float | None = None) -> api.MembersResponse:
        """Has another master lead: `member`, or whoever is the most up to date."""
        return await self._connection.unary(
            lambda peer: peer.cluster.MoveLeader,
            api.MemberRequest(member=member),
            write=True,
            timeout=timeout or CHANGE_SECONDS,
        )

    async def snapshot(self, *, timeout: float = SNAPSHOT_SECONDS) -> AsyncGenerator[bytes, None]:
        """The whole store, as it is written to a backup file; from the next master while none has begun."""
        attempts = self._connection.attempts(timeout)
        said: ApiError | None = None
        while True:
            peer = self._connection.peer()
            peer.began()
            call = peer.cluster.Snapshot(api.SnapshotRequest(), timeout=attempts.seconds_left())
            begun = False
            try:
                async for part in call:
                    begun = True
                    yield part.data
                return
            except grpc.aio.AioRpcError as error:
                meant, unsent = self._connection.meant(error), never_sent(error)
                if begun or not isinstance(meant, Unavailable):
                    raise meant from None
            finally:
                call.cancel()
                peer.ended()
            said = meant if said is None or not unsent else said
            self._connection.leave(peer)
            if not await attempts.again(answered=not unsent):
                raise said from None
