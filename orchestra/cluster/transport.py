"""How members reach each other, as a member sees it: what is sent may be lost, and nothing waits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestra.cluster.messages import PeerMessage

Receive = Callable[[Sequence[PeerMessage]], None]
Lost = Callable[[int], None]


class Transport(Protocol):
    """The links of one member. Messages may be lost, repeated and overtaken; they are never changed.

    Bound: what waits for one peer is bounded in number and bytes; beyond it messages are dropped, which Raft
    makes good.
    """

    def start(self, receive: Receive, lost: Lost, restored: Lost) -> None:
        """Begins. receive: called with what came in, must not block. lost: the way to, or from, a peer has
        just closed (its process may be gone); restored: it is open again.
        """
        ...

    def connect(self, peers: Mapping[int, Sequence[str]]) -> None:
        """The other members are these, at these addresses; links to all others end."""
        ...

    def send(self, messages: Sequence[PeerMessage]) -> None:
        """Sends each to its `to`, in order. Never blocks; what cannot be sent is dropped."""
        ...

    async def close(self) -> None:
        """Ends all links."""
        ...


class NoTransport:
    """For a member that is alone."""

    def start(self, receive: Receive, lost: Lost, restored: Lost) -> None:
        """There is nobody to hear from."""

    def connect(self, peers: Mapping[int, Sequence[str]]) -> None:
        """There is nobody to reach."""

    def send(self, messages: Sequence[PeerMessage]) -> None:
        """There is nobody to send to."""

    async def close(self) -> None:
        """There is nothing to end."""
