"""Members' links over real gRPC: order, loss, refusals, addresses that change, and how soon a death is noticed."""

import asyncio
import contextlib
import logging
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from orchestra.base.errors import PreconditionFailed, Unavailable
from orchestra.cluster.hello import ask_hello
from orchestra.cluster.messages import PeerMessage, Propose
from orchestra.cluster.peer_link import QUEUED_BYTES_MAX, QUEUED_MAX
from orchestra.cluster.peers import PeerLinks
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import Heartbeat

SECONDS = 5
LOCAL = "127.0.0.1:0"


class End:
    """One member's links, and everything that they told it."""

    def __init__(self, member: int, cluster: str = "c1") -> None:
        self.member, self.cluster = member, cluster
        self.received: list[PeerMessage] = []
        self.lost: list[int] = []
        self.restored: list[int] = []
        self.turned = asyncio.Event()
        self.links = PeerLinks(
            lambda: pb.HelloResponse(cluster=cluster, member=member), rng=random.Random(member)
        )
        self.address = ""

    async def open(self, address: str = LOCAL) -> "End":
        self.address = f"127.0.0.1:{await self.links.listen(address)}"
        self.links.start(
            lambda messages: self._tell(self.received, messages),
            lambda peer: self._tell(self.lost, [peer]),
            lambda peer: self._tell(self.restored, [peer]),
        )
        self.links.identify(self.cluster, self.member, [self.address])
        return self

    def _tell(self, what: list, said: Sequence) -> None:  # type: ignore[type-arg]
        what.extend(said)
        self.turned.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                self.turned.clear()
                await self.turned.wait()

    def say(self, to: int, *rounds: int) -> None:
        self.links.send([Heartbeat(self.member, to, 1, 0, round=number) for number in rounds])

    def rounds(self) -> list[int]:
        return [message.round for message in self.received if isinstance(message, Heartbeat)]


class Said(logging.Handler):
    """The reasons that the log gives."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.both = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        values = getattr(record, "values", {})
        if "why" in values:
            self.words.append(values["why"])
        if len(self.words) == 2:
            self.both.set()


@contextlib.asynccontextmanager
async def ends(*members: End) -> AsyncIterator[list[End]]:
    try:
        for each in members:
            await each.open()
        for each in members:
            each.links.connect({other.member: [other.address] for other in members if other is not each})
        for each in members:
            await each.until(lambda each=each: len(each.links.standing()) == len(members) - 1)  # type: ignore[misc]
        yield list(members)
    finally:
        for each in members:
            await each.links.close()


async def test_messages_arrive_in_order_from_whoever_sent_them() -> None:
    async with ends(End(1), End(2), End(3)) as (one, two, three):
        assert sorted(one.restored) == [2, 3]
        one.say(3, *range(200))
        two.say(3, *range(1000, 1200))
        await three.until(lambda: len(three.received) == 400)
        assert [m.round for m in three.received if m.frm == 1] == list(range(200))  # type: ignore[union-attr]
        assert [m.round for m in three.received if m.frm == 2] == list(range(1000, 1200))  # type: ignore[union-attr]
        assert {m.to for m in three.received} == {3}
        assert not one.received
        assert not three.lost


async def test_a_large_message_arrives_whole() -> None:
    async with ends(End(1), End(2)) as (one, two):
        large = Propose(1, 2, 1, 0, [1], [bytes(6 * 1024 * 1024)], 0)
        one.links.send([large])
        await two.until(lambda: bool(two.received))
        assert two.received == [large]


async def test_the_end_of_a_peer_is_told_and_its_return_too() -> None:
    async with ends(End(1), End(2)) as (one, two):
        await two.links.close()
        await one.until(lambda: 2 in one.lost and not one.links.standing())
        one.say(2, 1)
        again = await End(2).open(two.address)
        again.links.connect({1: [one.address]})
        try:
            await one.until(lambda: one.restored == [2, 2])
            one.say(2, 7)
            await again.until(lambda: 7 in again.rounds())
        finally:
            await again.links.close()


async def test_a_peer_that_is_killed_is_missed_within_milliseconds() -> None:
    one = await End(1).open()
    body = (
        "import asyncio, sys\n"
        "from orchestra.cluster.peers import PeerLinks\n"
        "async def main():\n"
        "    links = PeerLinks()\n"
        "    port = await links.listen('127.0.0.1:0')\n"
        "    links.start(lambda _: None, lambda _: None, lambda _: print(port, flush=True))\n"
        "    links.identify('c1', 2)\n"
        "    links.connect({1: [sys.argv[1]]})\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", body, one.address, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        one.links.connect({2: [f"127.0.0.1:{port}"]})
        await one.until(lambda: one.links.standing() == {2})
        began = time.monotonic()
        process.send_signal(signal.SIGKILL)
        await one.until(lambda: bool(one.lost))
        # Keep-alive alone would take three seconds.
        assert time.monotonic() - began < 1
        await one.until(lambda: len(one.lost) == 2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # To the end of its output: the pipe is to be closed, too.
        await process.communicate()
        await one.links.close()


async def test_a_caller_that_is_no_peer_yet_can_be_answered() -> None:
    """A member that lags does not know who has joined since; if that one leads, it has to be answered."""
    leader, laggard = await End(1).open(), await End(2).open()
    try:
        leader.links.connect({2: [laggard.address]})
        await leader.until(lambda: leader.restored == [2])
        await laggard.until(lambda: laggard.restored == [1])
        laggard.say(1, 7)
        await leader.until(lambda: leader.rounds() == [7])
        # The answering ends with the asking.
        leader.links.connect({})
        await laggard.until(lambda: laggard.lost == [1])
        assert laggard.links.standing() == frozenset()
    finally:
        await leader.links.close()
        await laggard.links.close()


async def test_an_address_that_changes_is_followed() -> None:
    async with ends(End(1), End(2)) as (one, two):
        moved = await End(2).open()
        try:
            one.links.connect({2: [moved.address]})
            await one.until(lambda: one.restored == [2, 2])
            one.say(2, 3)
            await moved.until(lambda: bool(moved.received))
            assert moved.rounds() == [3]
            assert not two.received
        finally:
            await moved.links.close()


async def test_of_several_addresses_one_that_answers_is_found() -> None:
    async with ends(End(1), End(2)) as (one, two):
        one.links.connect({})
        assert not one.links.standing()
        one.links.connect({2: ["127.0.0.1:1", two.address]})
        await one.until(lambda: one.links.standing() == {2})


async def test_a_peer_no_longer_named_is_left_without_a_word() -> None:
    async with ends(End(1), End(2)) as (one, two):
        one.links.connect({})
        one.say(2, 1)
        await two.until(lambda: 1 in two.lost)
        assert not one.lost
        assert not two.received


@pytest.mark.parametrize(
    ("cluster", "dialled_as", "why"),
    [("c2", 2, 'belongs to cluster "c1", the caller to "c2"'), ("c1", 9, "this is member 2, not 9")],
)
async def test_strangers_are_refused(cluster: str, dialled_as: int, why: str) -> None:
    said = Said()
    logging.getLogger("orchestra.peers").addHandler(said)
    two = await End(2).open()
    stranger = await End(1, cluster).open()
    try:
        stranger.links.connect({dialled_as: [two.address]})
        async with asyncio.timeout(SECONDS):
            await said.both.wait()
        assert all(why in each for each in said.words)
        assert not stranger.restored
        assert not two.lost
    finally:
        logging.getLogger("orchestra.peers").removeHandler(said)
        await stranger.links.close()
        await two.links.close()


async def test_what_waits_is_bounded() -> None:
    """The peer takes the stream and then nothing off it."""
    release = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    one = await End(1).open()
    try:
        one.links.connect({2: [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]})
        link = one.links._links[2]
        one.say(2, *range(QUEUED_MAX + 10))
        assert link.dropped == 10
        one.links.connect({})
        one.links.connect({2: [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]})
        link = one.links._links[2]
        for _ in range(5):
            one.links.send([Propose(1, 2, 1, 0, [1], [bytes(QUEUED_BYTES_MAX // 4)], 0)])
        assert link.dropped == 2
    finally:
        release.set()
        await one.links.close()
        server.close()


async def test_hello_is_answered_before_there_is_an_identity() -> None:
    links = PeerLinks(lambda: pb.HelloResponse(cluster="c1", member=2, leader=3))
    address = f"127.0.0.1:{await links.listen(LOCAL)}"
    try:
        answers = await ask_hello([address, "127.0.0.1:1"], member=1)
        found, away = answers[address], answers["127.0.0.1:1"]
        assert isinstance(found, pb.HelloResponse)
        assert (found.cluster, found.member, found.leader) == ("c1", 2, 3)
        assert isinstance(away, Unavailable)
        (other,) = (await ask_hello([address], cluster="c2")).values()
        assert isinstance(other, PreconditionFailed)
    finally:
        await links.close()
