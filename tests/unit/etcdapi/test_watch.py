"""Streams of watches: order, pieces, progress, and a client that does not read."""

import asyncio
import random
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from orchestra.etcdapi.encoding import RESPONSE_BYTES, EventEncoder
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.server import EtcdServer
from orchestra.etcdapi.watch import WatchService
from orchestra.mvcc.model import DeleteRange, Put, Txn
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.pb import etcd_rpc_pb2_grpc as rpc
from orchestra.store.watch import BATCH_EVENTS
from tests.unit.etcdapi.alone import Alone

PROGRESS_SECONDS = 0.05
BIG = bytes(1024 * 1024)


@pytest.fixture
def member() -> Alone:
    return Alone()


@pytest.fixture
async def stub(member: Alone) -> AsyncIterator[rpc.WatchStub]:
    server = EtcdServer(member, progress_seconds=PROGRESS_SECONDS)
    port = await server.start("127.0.0.1:0")
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield rpc.WatchStub(channel)
    await server.stop(0)


def create(**fields: object) -> pb.WatchRequest:
    return pb.WatchRequest(create_request=pb.WatchCreateRequest(**fields))  # type: ignore[arg-type]


async def put(member: Alone, key: bytes, value: bytes = b"1") -> int:
    return (await member.store.txn(Txn((), (Put(key, value),)))).revision


@pytest.fixture(autouse=True)
async def within_seconds() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


async def test_every_watch_of_a_stream_hears_of_its_keys(stub: rpc.WatchStub, member: Alone) -> None:
    stream = stub.Watch()
    for id, key in ((1, b"a"), (2, b"b"), (3, b"a")):
        await stream.write(create(key=key, watch_id=id))
        assert (await stream.read()).watch_id == id
    await put(member, b"a")
    assert sorted([(await stream.read()).watch_id for _ in range(2)]) == [1, 3]
    await put(member, b"b")
    response = await stream.read()
    assert (response.watch_id, response.header.revision) == (2, 3)
    stream.cancel()


async def test_a_long_past_comes_in_order_and_whole(stub: rpc.WatchStub, member: Alone) -> None:
    for number in range(3000):
        await put(member, b"key/%d" % (number % 7), b"%d" % number)
    stream = stub.Watch()
    await stream.write(create(key=b"key/", range_end=b"key0", start_revision=1))
    found: list[bytes] = []
    async for response in stream:
        found += [event.kv.value for event in response.events]
        if len(found) >= 3000:
            break
    assert found == [b"%d" % number for number in range(3000)]
    stream.cancel()


async def test_a_large_revision_is_cut_only_for_who_asks(stub: rpc.WatchStub, member: Alone) -> None:
    # Puts of one transaction, of one revision; larger than etcd takes at once, so not over the wire.
    machine = member.store.machine
    machine.apply(machine.applied_index + 1, Txn((), [Put(b"big/%d" % at, BIG) for at in range(4)]))
    member.store.applied()
    stream = stub.Watch()
    await stream.write(create(key=b"big/", range_end=b"big0", start_revision=1, fragment=True))
    assert (await stream.read()).created
    fragments = [await stream.read() for _ in range(4)]
    assert [len(each.events) for each in fragments] == [1, 1, 1, 1]
    assert [each.fragment for each in fragments] == [True, True, True, False]
    await stream.write(create(key=b"big/", range_end=b"big0", start_revision=1))
    assert (await stream.read()).created
    whole = await stream.read()
    assert (len(whole.events), whole.fragment) == (4, False)
    stream.cancel()


async def test_revisions_are_not_gathered_beyond_a_bound(stub: rpc.WatchStub, member: Alone) -> None:
    for at in range(6):
        await put(member, b"big", BIG)
        await put(member, b"small/%d" % at)
    stream = stub.Watch()
    await stream.write(create(key=b"\0", range_end=b"\0", start_revision=1))
    assert (await stream.read()).created
    seen: list[int] = []
    while len(seen) < 12:
        response = await stream.read()
        assert response.ByteSize() <= RESPONSE_BYTES + len(BIG) + 1024
        seen += [event.kv.mod_revision for event in response.events]
        assert response.header.revision >= seen[-1]
    assert seen == sorted(seen) == list(range(2, 14))
    stream.cancel()


async def test_progress_is_told_when_asked_and_after_a_quiet_time(stub: rpc.WatchStub, member: Alone) -> None:
    stream = stub.Watch()
    await stream.write(create(key=b"a", start_revision=1))
    assert (await stream.read()).created
    for _ in range(5):
        await put(member, b"other")
    await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
    told = await stream.read()
    assert (told.watch_id, told.header.revision, len(told.events)) == (-1, 6, 0)
    await stream.write(create(key=b"b", progress_notify=True, watch_id=8))
    assert (await stream.read()).created
    told = await stream.read()
    assert (told.watch_id, told.header.revision, len(told.events)) == (8, 6, 0)
    stream.cancel()


async def test_progress_waits_for_watches_that_catch_up(stub: rpc.WatchStub, member: Alone) -> None:
    for number in range(2500):
        await put(member, b"a", b"%d" % number)
    stream = stub.Watch()
    await stream.write(create(key=b"a", start_revision=1))
    await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
    events = 0
    async for response in stream:
        if response.watch_id == -1:
            break
        events += len(response.events)
    assert events == 2500
    stream.cancel()


async def test_a_client_that_does_not_read_costs_no_memory(stub: rpc.WatchStub, member: Alone) -> None:
    stream = stub.Watch()
    await stream.write(create(key=b"a"))
    assert (await stream.read()).created
    for number in range(2000):
        await put(member, b"a", b"%06d" % number + bytes(4096))
        if number % 50 == 0:
            await asyncio.sleep(0)
    hub = member.store._watches
    (watch,) = hub._all()
    assert not hasattr(watch, "__dict__")
    found = 0
    while found < 2000:
        found += len((await stream.read()).events)
    assert found == 2000
    stream.cancel()


async def test_a_failed_store_ends_the_stream(stub: rpc.WatchStub, member: Alone) -> None:
    stream = stub.Watch()
    await stream.write(create(key=b"a"))
    assert (await stream.read()).created
    await member.store.close()
    assert await stream.code() == grpc.StatusCode.UNAVAILABLE


async def test_an_event_is_encoded_once(member: Alone) -> None:
    await put(member, b"a", b"1")
    await put(member, b"a", b"2")
    events, _ = member.store.machine.events_since(1, b"a")
    encoder = EventEncoder()
    assert encoder.encoded(events[1], False) is encoder.encoded(events[1], False)
    assert encoder.encoded(events[1], True) is encoder.encoded(events[1], True)
    plain, with_prev = (
        pb.WatchResponse.FromString(encoder.encoded(events[1], prev)).events[0] for prev in (False, True)
    )
    assert (plain.kv.value, plain.HasField("prev_kv")) == (b"2", False)
    assert with_prev.prev_kv.value == b"1"


async def test_what_the_encoder_keeps_is_bounded(member: Alone) -> None:
    for _ in range(20):
        await put(member, b"a", BIG)
    events, _ = member.store.machine.events_since(1, b"a")
    encoder = EventEncoder()
    for event in events:
        encoder.encoded(event, False)
    assert len(encoder._plain) <= 4


class OneClient:
    """A client that asks for one watch, and reads all that comes. turns: of the loop, when each came."""

    def __init__(self, request: pb.WatchRequest) -> None:
        self.requests = [request]
        self.turns = 0
        self.came: list[tuple[int, pb.WatchResponse]] = []
        self.enough = asyncio.Event()

    async def read(self) -> object:
        if self.requests:
            return self.requests.pop()
        return await asyncio.get_running_loop().create_future()

    async def write(self, encoded: bytes) -> None:
        response = pb.WatchResponse.FromString(encoded)
        self.came.append((self.turns, response))
        if response.events:
            self.enough.set()

    async def count(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def test_others_run_while_a_long_past_is_filtered_out(member: Alone) -> None:
    batches = 6
    for number in range(batches * BATCH_EVENTS):
        await put(member, b"k%d" % (number % 3))
    await member.store.txn(Txn((), (DeleteRange(b"k0"),)))
    wanted = pb.WatchCreateRequest(
        key=b"k", range_end=b"l", start_revision=1, filters=[pb.WatchCreateRequest.NOPUT]
    )
    client = OneClient(pb.WatchRequest(create_request=wanted))
    service = WatchService(member, Headers(member), rng=random.Random(1))
    tasks = [
        asyncio.ensure_future(client.count()),
        asyncio.ensure_future(service.watch(None, client)),  # type: ignore[arg-type]
    ]
    async with asyncio.timeout(10):
        await client.enough.wait()
    (created, _), (told, response) = client.came
    assert [event.kv.key for event in response.events] == [b"k0"]
    assert told - created >= batches
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
