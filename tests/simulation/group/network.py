"""The network between members: it delays, drops, repeats, overtakes, and is cut one way or both."""

import random
from collections.abc import Mapping, Sequence

from orchestra.cluster.messages import PeerMessage
from orchestra.cluster.transport import Lost, Receive
from orchestra.raft.model import VoteRequest, VoteResponse
from tests.simulation.group.record import Violation
from tests.simulation.processes import Process, Timeline

# A broken link is noticed after so long, when its process is gone.
NOTICE_SECONDS = 0.002


class Network:
    """Every link of the world. Weather: `drop`, `repeat` are shares of messages, `delay` seconds at most."""

    def __init__(self, timeline: Timeline, rng: random.Random) -> None:
        self.timeline = timeline
        self.drop = 0.0
        self.repeat = 0.0
        self.usual_delay = self.delay = 0.002
        # Messages that take a hundred times as long, and so are overtaken by many.
        self.late = 0.0
        self.cuts: set[tuple[int, int]] = set()
        self.sent = 0
        # Who was given a vote, by voter and term: one each, whatever became of the message (paper §5.2).
        self.votes: dict[tuple[int, int], int] = {}
        self._rng = rng
        self._transports: dict[int, SimTransport] = {}

    def attach(self, node: int, transport: "SimTransport") -> None:
        """A process is up: everyone else finds the links open again."""
        self._transports[node] = transport

    def detach(self, node: int) -> None:
        """A process is gone: those who can hear it notice, unless the way is cut."""
        self._transports.pop(node, None)
        for other in sorted(self._transports):
            if (node, other) not in self.cuts:
                self._transports[other].tell_lost(node, self.timeline.now + NOTICE_SECONDS)

    def opened(self, node: int) -> None:
        """Tells everyone that can be reached, and the node itself."""
        for other in sorted(self._transports):
            if other != node and (node, other) not in self.cuts and (other, node) not in self.cuts:
                self._transports[other].tell_restored(node, self.timeline.now + NOTICE_SECONDS)
                if node in self._transports:
                    self._transports[node].tell_restored(other, self.timeline.now + NOTICE_SECONDS)

    def cut(self, frm: int, to: int) -> None:
        """Nothing gets from one to the other. Nobody is told: packets just vanish."""
        self.cuts.add((frm, to))

    def break_off(self, one: int, other: int) -> None:
        """The links between two break, and both notice; nothing gets through until `mend`."""
        self.cuts |= {(one, other), (other, one)}
        for here, there in ((one, other), (other, one)):
            if here in self._transports:
                self._transports[here].tell_lost(there, self.timeline.now + NOTICE_SECONDS)

    def mend(self) -> None:
        """All ways are open."""
        self.cuts.clear()
        for node in sorted(self._transports):
            self.opened(node)

    def calm(self) -> None:
        """Fair weather."""
        self.drop = self.repeat = self.late = 0.0
        self.delay = self.usual_delay

    def carry(self, frm: int, to: int, messages: Sequence[PeerMessage]) -> None:
        """Brings messages, or not."""
        rng = self._rng
        self.sent += len(messages)
        for message in messages:
            self._check_vote(message)
            if (frm, to) in self.cuts or rng.random() < self.drop:
                continue
            for _ in range(2 if rng.random() < self.repeat else 1):
                most = self.delay * (100 if rng.random() < self.late else 1)
                moment = self.timeline.now + 0.0001 + rng.random() * most
                target = self._transports.get(to)
                if target is not None:
                    target.process.loop.call_at_moment(moment, self._arrive, frm, to, target, message)

    def _check_vote(self, message: PeerMessage) -> None:
        if isinstance(message, VoteRequest) and not message.pre:
            candidate = message.frm
        elif isinstance(message, VoteResponse) and message.granted and not message.pre:
            candidate = message.to
        else:
            return
        given = self.votes.setdefault((message.frm, message.term), candidate)
        if given != candidate:
            raise Violation(
                f"{message.frm:016x} votes for {given:016x} and for {candidate:016x} in term {message.term}"
            )

    def _arrive(self, frm: int, to: int, target: "SimTransport", message: PeerMessage) -> None:
        if self._transports.get(to) is target and (frm, to) not in self.cuts:
            target.arrived(message)


class SimTransport:
    """The Transport of one life of a member."""

    def __init__(self, network: Network, node: int, process: Process) -> None:
        self.process = process
        self._network = network
        self._node = node
        self._peers: frozenset[int] = frozenset()
        # Who has spoken to this life can be answered, peer or not.
        self._heard: set[int] = set()
        self._receive: Receive | None = None
        self._lost: Lost | None = None
        self._restored: Lost | None = None

    def start(self, receive: Receive, lost: Lost, restored: Lost) -> None:
        self._receive, self._lost, self._restored = receive, lost, restored
        self._network.attach(self._node, self)
        self._network.opened(self._node)

    def connect(self, peers: Mapping[int, Sequence[str]]) -> None:
        self._peers = frozenset(peers)

    def send(self, messages: Sequence[PeerMessage]) -> None:
        if not self.process.alive:
            return
        for message in messages:
            assert message.frm == self._node, f"{message} sent by {self._node}"
            if message.to in self._peers or message.to in self._heard:
                self._network.carry(self._node, message.to, (message,))

    async def close(self) -> None:
        self._receive = None
        self._network.detach(self._node)

    # For the network.

    def arrived(self, message: PeerMessage) -> None:
        if self._receive is not None and self.process.alive:
            self._heard.add(message.frm)
            self._receive((message,))

    def tell_lost(self, node: int, moment: float) -> None:
        self.process.loop.call_at_moment(moment, self._tell, self._lost, node)

    def tell_restored(self, node: int, moment: float) -> None:
        self.process.loop.call_at_moment(moment, self._tell, self._restored, node)

    def _tell(self, told: Lost | None, node: int) -> None:
        if told is not None and self._receive is not None and self.process.alive and node in self._peers:
            told(node)
