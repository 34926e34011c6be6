"""Whom this member is connected to, as the membership changes."""

import asyncio
from collections.abc import Sequence

from orchestra.cluster.membership import addresses
from orchestra.cluster.messages import PeerMessage
from orchestra.cluster.transport import Transport
from orchestra.raft.model import Configuration


class Links:
    """The transport, connected to everyone in the configuration, and for a while to who has just left it: a
    removed member has to be told so.
    """

    def __init__(self, own: int, transport: Transport, farewell_seconds: float) -> None:
        self._own = own
        self._transport = transport
        self._farewell_seconds = farewell_seconds
        self._loop = asyncio.get_running_loop()
        self._configuration: Configuration | None = None
        self._peers: dict[int, Sequence[str]] = {}
        self._leaving: dict[int, tuple[float, Sequence[str]]] = {}

    def send(self, messages: Sequence[PeerMessage]) -> None:
        """Sends each to its `to`."""
        if messages:
            self._transport.send(messages)

    def follow(self, configuration: Configuration) -> None:
        """The newest configuration."""
        if configuration is self._configuration:
            return
        self._configuration = configuration
        peers = addresses(configuration, self._own)
        until = self._loop.time() + self._farewell_seconds
        for peer, at in self._peers.items():
            if peer not in peers and peer not in self._leaving:
                self._leaving[peer] = until, at
        for peer in peers:
            self._leaving.pop(peer, None)
        self._peers = peers
        self._connect()

    def tick(self) -> None:
        """Ends what has lasted long enough."""
        if self._leaving:
            now = self._loop.time()
            gone = [peer for peer, (until, _) in self._leaving.items() if until <= now]
            for peer in gone:
                del self._leaving[peer]
            if gone:
                self._connect()

    def _connect(self) -> None:
        leaving = {peer: at for peer, (_, at) in self._leaving.items()}
        self._transport.connect({**leaving, **self._peers})
