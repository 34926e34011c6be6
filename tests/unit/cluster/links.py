"""Links between members of one process: with delays, losses and cuts."""

import asyncio
import random
from collections.abc import Mapping, Sequence

from orchestra.cluster.messages import PeerMessage
from orchestra.cluster.transport import Lost, Receive


class Network:
    """All links of a group. Delivers in order from one member to another unless told to be bad."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.ends: dict[int, LinkEnd] = {}
        # Members that nothing reaches and who reach nobody.
        self.cut: set[int] = set()
        self.drop = 0.0
        self.repeat = 0.0
        self.delay_seconds = 0.0

    def end(self, member: int) -> "LinkEnd":
        """The transport of a member that is about to start."""
        return LinkEnd(self, member)

    def isolate(self, member: int) -> None:
        """Cuts a member off, silently: no link says that it is closed."""
        self.cut.add(member)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cut.clear()
        for end in self.ends.values():
            for peer in end.peers:
                end.restored(peer)

    def carry(self, message: PeerMessage) -> None:
        """Brings a message to its end, after a while, perhaps."""
        if self.drop and self.rng.random() < self.drop:
            return
        for _ in range(2 if self.repeat and self.rng.random() < self.repeat else 1):
            delay = self.rng.random() * self.delay_seconds
            asyncio.get_running_loop().call_later(delay, self._arrive, message)

    def _arrive(self, message: PeerMessage) -> None:
        end = self.ends.get(message.to)
        if end is not None and not {message.frm, message.to} & self.cut and message.frm in self.ends:
            end.receive((message,))


class LinkEnd:
    """The Transport of one member."""

    def __init__(self, network: Network, member: int) -> None:
        self._network = network
        self._member = member
        self.peers: Mapping[int, Sequence[str]] = {}
        self.receive: Receive
        self.lost: Lost
        self.restored: Lost

    def start(self, receive: Receive, lost: Lost, restored: Lost) -> None:
        self.receive, self.lost, self.restored = receive, lost, restored
        self._network.ends[self._member] = self

    def connect(self, peers: Mapping[int, Sequence[str]]) -> None:
        self.peers = peers

    def send(self, messages: Sequence[PeerMessage]) -> None:
        for message in messages:
            if message.to in self.peers and self._network.ends.get(self._member) is self:
                self._network.carry(message)

    def break_off(self) -> None:
        """The process is gone: the others' links to it close."""
        if self._network.ends.get(self._member) is self:
            del self._network.ends[self._member]
            for end in self._network.ends.values():
                end.lost(self._member)

    async def close(self) -> None:
        self.break_off()
