"""The Peers service: what other members say to this one comes in here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from orchestra.aio.rpc.limits import PEER_BYTES_MAX, PEER_KEEPALIVE
from orchestra.aio.rpc.server import Context, RpcServer, end_call
from orchestra.base.errors import BadRequest, PreconditionFailed, Unavailable
from orchestra.base.log import get_logger
from orchestra.cluster.peer_encoding import decode
from orchestra.cluster.peer_link import ADDRESSES_KEY, CLUSTER_KEY, FROM_KEY, TAKEN_KEY, TO_KEY, Identity
from orchestra.cluster.transport import Lost, Receive
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.pb import raft_v1_pb2_grpc as pb_grpc

log = get_logger("peers")


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of what comes in, of a peer whose stream stands (and where it is reached), and of one whose
    stream has ended.
    """

    receive: Receive
    arrived: Callable[[int, Sequence[str]], None]
    lost: Lost


class PeersServer(pb_grpc.PeersServicer):
    """The incoming half of a member's links: one stream from each peer, the newest counts.

    hello: what this member knows of the cluster, asked at each Hello. Streams are refused until serve().
    """

    def __init__(self, hello: Callable[[], pb.HelloResponse]) -> None:
        self._hello = hello
        self._identity: Identity | None = None
        self._listener: Listener | None = None
        # The last refusal: whoever is refused dials again and again.
        self._said = ""
        self._streams: dict[int, asyncio.Task[Any]] = {}
        self._server = RpcServer(keepalive=PEER_KEEPALIVE, request_bytes_max=PEER_BYTES_MAX)
        name = pb.DESCRIPTOR.services_by_name["Peers"].full_name
        self._server.add(pb_grpc.add_PeersServicer_to_server, self, name)

    async def start(self, listen: str) -> int:
        """Listens on HOST:PORT (port 0: a free one). The port. Raises: ListenError, UsageError."""
        return await self._server.start(listen)

    def serve(self, identity: Identity, listener: Listener) -> None:
        """From now on peers' streams are taken."""
        self._identity, self._listener = identity, listener

    async def stop(self) -> None:
        """Ends every stream. Safe to call twice."""
        self._listener = None
        await self._server.stop(0)

    async def Talk(self, requests: AsyncIterator[pb.PeerMessages], context: Context) -> pb.TalkEnd:
        listener = self._listener
        if self._identity is None or listener is None:
            raise Unavailable("this member is not ready yet, or is stopping: dial again", retry_after_ms=100)
        said = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        frm, to = self._identified(self._identity, said), self._identity.member
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        before, self._streams[frm] = self._streams.get(frm), task
        if before is not None:
            end_call(before)
        await context.send_initial_metadata(((TAKEN_KEY, "yes"),))
        listener.arrived(frm, [each for each in said.get(ADDRESSES_KEY, "").split(",") if each])
        try:
            async for messages in requests:
                listener.receive(decode(messages, frm, to))
        finally:
            if self._streams.get(frm) is task:
                del self._streams[frm]
                if self._listener is not None:
                    listener.lost(frm)
        return pb.TalkEnd()

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloResponse:
        answer = self._hello()
        if request.cluster and answer.cluster and request.cluster != answer.cluster:
            raise PreconditionFailed(_other_cluster(request.cluster, answer.cluster))
        return answer

    def _identified(self, own: Identity, said: Mapping[str, str]) -> int:
        """Who calls. Raises: PreconditionFailed when it means another cluster, or another member."""
        try:
            cluster, frm, to = said[CLUSTER_KEY], int(said[FROM_KEY], 16), int(said[TO_KEY], 16)
        except (KeyError, ValueError):
            raise BadRequest("a stream between members says its cluster, who it is from and for") from None
        wrong = ""
        if cluster != own.cluster:
            wrong = _other_cluster(cluster, own.cluster)
        elif to != own.member:
            wrong = (
                f"this is member {own.member:x}, not {to:x}: the address in the membership is not that "
                "member's any more (orchestra member list shows them)"
            )
        elif frm == own.member:
            wrong = f"member {frm:x} calls itself: two members run with the same data, or share an address"
        if wrong:
            if wrong != self._said:
                self._said = wrong
                log.warning("a peer is refused", peer=f"{frm:x}", why=wrong)
            raise PreconditionFailed(wrong)
        return frm


def _other_cluster(theirs: str, ours: str) -> str:
    return f'this member belongs to cluster "{ours}", the caller to "{theirs}": is the address right?'
