"""The links of a member to its peers, over gRPC.

Each member dials every other one, and says on its own stream what it has to say.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from orchestra.base.log import get_logger
from orchestra.cluster.messages import PeerMessage
from orchestra.cluster.peer_link import Identity, PeerLink
from orchestra.cluster.peers_server import Listener, PeersServer
from orchestra.cluster.transport import Lost, Receive
from orchestra.pb import raft_v1_pb2 as pb

# Who dials without being a peer yet, at most.
CALLERS_MAX = 16

log = get_logger("peers")


def _know_nothing() -> pb.HelloResponse:
    return pb.HelloResponse()


class PeerLinks:
    """A Transport over gRPC's Peers service.

    Listens first (a member's data decides who it is, and is read after), is told who it is by identify(), and
    is then given to the member, which starts it; the last two in any order.
    """

    def __init__(
        self,
        hello: Callable[[], pb.HelloResponse] = _know_nothing,
        *,
        rng: random.Random | None = None,
    ) -> None:
        """hello: what this member knows of the cluster, asked at each Hello."""
        self._server = PeersServer(hello)
        self._rng = rng or random.Random()
        self._identity: Identity | None = None
        self._hooks: tuple[Receive, Lost, Lost] | None = None
        self._peers: dict[int, tuple[str, ...]] = {}
        self._callers: dict[int, tuple[str, ...]] = {}
        self._links: dict[int, PeerLink] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def listen(self, address: str) -> int:
        """Answers Hello, and takes peers' streams once it is started. The port.

        Raises: ListenError, UsageError.
        """
        return await self._server.start(address)

    def identify(self, cluster: str, member: int, addresses: Sequence[str] = ()) -> None:
        """Who this member is, and its addresses: before that nobody is dialled and no stream is taken."""
        self._identity = Identity(cluster, member, tuple(addresses))
        self._begin()

    def start(self, receive: Receive, lost: Lost, restored: Lost) -> None:
        """See Transport."""
        self._hooks = receive, lost, restored
        self._begin()

    def connect(self, peers: Mapping[int, Sequence[str]]) -> None:
        """See Transport."""
        self._peers = {peer: tuple(addresses) for peer, addresses in peers.items()}
        self._link()

    def send(self, messages: Sequence[PeerMessage]) -> None:
        """See Transport."""
        links = self._links
        for message in messages:
            link = links.get(message.to)
            if link is not None:
                link.send(message)

    def standing(self) -> frozenset[int]:
        """The peers that can be sent to now."""
        return frozenset(peer for peer, link in self._links.items() if link.stands)

    async def close(self) -> None:
        """See Transport. Safe to call twice."""
        self._closed = True
        self._peers = {}
        self._link()
        await self._server.stop()
        if self._closing:
            await asyncio.wait(tuple(self._closing))

    def _begin(self) -> None:
        if self._identity is None or self._hooks is None:
            return
        receive, _, _ = self._hooks
        self._server.serve(self._identity, Listener(receive, self._arrived, self._ended))
        self._link()

    def _link(self) -> None:
        """Makes the links what the peers are."""
        identity, hooks = self._identity, self._hooks
        if identity is None or hooks is None:
            return
        _, lost, restored = hooks
        wanted = {} if self._closed else {**self._callers, **self._peers}
        for peer in [peer for peer in self._links if peer not in wanted]:
            closing = asyncio.ensure_future(self._links.pop(peer).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for peer, addresses in wanted.items():
            link = self._links.get(peer)
            if link is None:
                if peer != identity.member:
                    self._links[peer] = PeerLink(
                        identity,
                        peer,
                        addresses,
                        opened=restored,
                        lost=lost,
                        rng=self._rng,
                    )
            elif link.addresses != addresses:
                link.move(addresses)

    def _arrived(self, peer: int, addresses: Sequence[str]) -> None:
        """A peer that dials can be dialled. One that is no peer here as yet is answered where it says it is
        reached: a leader that has joined may be the only one to tell a member that lags of its joining.
        """
        link = self._links.get(peer)
        if link is not None:
            link.wake()
        elif addresses and len(self._callers) < CALLERS_MAX:
            self._callers[peer] = tuple(addresses)
            self._link()

    def _ended(self, peer: int) -> None:
        """The stream from a peer has ended."""
        if self._callers.pop(peer, None) is not None:
            self._link()
        if self._hooks is not None:
            self._hooks[1](peer)
