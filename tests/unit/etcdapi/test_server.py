"""What clients of the server are told: members, streams without a leader, the end."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import grpc
import grpc.aio
import pytest

from orchestra.etcdapi.calls import LOOK_SECONDS, LOOKS
from orchestra.etcdapi.server import EtcdServer
from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc
from orchestra.pb import etcd_lock_pb2 as lock_pb
from orchestra.pb import etcd_lock_pb2_grpc as lock_grpc
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.pb import etcd_rpc_pb2_grpc as rpc
from tests.unit.etcdapi.alone import MEMBER_ID, Alone

PUT = pb.PutRequest(key=b"a", value=b"1")


@pytest.fixture
def member() -> Alone:
    return Alone()


@pytest.fixture
async def server(member: Alone) -> AsyncIterator[EtcdServer]:
    made = EtcdServer(member)
    yield made
    await made.stop(0)


@pytest.fixture
async def channel(server: EtcdServer) -> AsyncIterator[grpc.aio.Channel]:
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


async def failure(call: "grpc.aio.Call") -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


async def test_a_header_says_who_answers(channel: grpc.aio.Channel, member: Alone) -> None:
    header = (await rpc.KVStub(channel).Put(PUT)).header
    assert (header.cluster_id, header.member_id) == (member.said.cluster, MEMBER_ID)
    assert (header.revision, header.raft_term) == (2, 7)
    member.said.term = 8
    assert (await rpc.KVStub(channel).Put(PUT)).header.raft_term == 8


async def test_members_as_urls(channel: grpc.aio.Channel) -> None:
    stub = cluster_grpc.ClusterStub(channel)
    (only,) = (await stub.MemberList(cluster_pb.MemberListRequest(linearizable=True))).members
    assert (only.ID, only.name) == (MEMBER_ID, "m1")
    assert list(only.peerURLs) == ["http://127.0.0.1:2380"]
    assert list(only.clientURLs) == ["http://127.0.0.1:2379"]


async def test_a_member_is_added_changed_and_removed(channel: grpc.aio.Channel, member: Alone) -> None:
    stub = cluster_grpc.ClusterStub(channel)
    url = "http://127.0.0.1:1"
    added = await stub.MemberAdd(cluster_pb.MemberAddRequest(peerURLs=[url], isLearner=True))
    assert (added.member.ID, added.member.isLearner, len(added.members)) == (5, True, 2)
    again = stub.MemberAdd(cluster_pb.MemberAddRequest(peerURLs=[url], isLearner=True))
    assert (await failure(again))[1] == "etcdserver: too many learner members in cluster"
    await stub.MemberUpdate(cluster_pb.MemberUpdateRequest(ID=5, peerURLs=["http://127.0.0.1:2"]))
    assert member.members[1].peer_addresses == ["127.0.0.1:2"]
    left = await stub.MemberRemove(cluster_pb.MemberRemoveRequest(ID=5))
    assert len(left.members) == 1


async def test_only_the_leader_hands_over(channel: grpc.aio.Channel, member: Alone) -> None:
    stub = cluster_grpc.MaintenanceStub(channel)
    await stub.MoveLeader(cluster_pb.MoveLeaderRequest(targetID=5))
    assert member.moved_to == 5
    member.said.leader = 5
    refused = stub.MoveLeader(cluster_pb.MoveLeaderRequest(targetID=5))
    assert (await failure(refused)) == (grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: not leader")


async def test_a_store_that_is_away(channel: grpc.aio.Channel, member: Alone) -> None:
    await member.store.close()
    said = await failure(rpc.KVStub(channel).Put(PUT))
    assert said == (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out")
    member.said.leader = 0
    said = await failure(rpc.KVStub(channel).Put(PUT))
    assert said == (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")


async def test_streams_that_require_a_leader_end_without_one(
    channel: grpc.aio.Channel, member: Alone
) -> None:
    metadata = (("hasleader", "true"),)
    stream = rpc.WatchStub(channel).Watch(metadata=metadata)
    await stream.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a")))
    assert (await stream.read()).created
    other = rpc.WatchStub(channel).Watch()
    await other.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a")))
    assert (await other.read()).created
    member.said.leader = 0
    async with asyncio.timeout(LOOK_SECONDS * (LOOKS + 4)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.details() == "etcdserver: no leader"
    refused = rpc.WatchStub(channel).Watch(metadata=metadata)
    assert (await failure(refused))[1] == "etcdserver: no leader"
    assert not other.done()


async def test_stopping_ends_streams(channel: grpc.aio.Channel, server: EtcdServer) -> None:
    stream = rpc.WatchStub(channel).Watch()
    await stream.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a")))
    await stream.read()
    await server.stop(0.5)
    assert await failure(stream) == (grpc.StatusCode.UNAVAILABLE, "etcdserver: server stopped")


async def test_who_stops_waiting_for_a_lock_leaves_no_key(channel: grpc.aio.Channel, member: Alone) -> None:
    stub = lock_grpc.LockStub(channel)
    first = await stub.Lock(lock_pb.LockRequest(name=b"lock"))
    waiting = stub.Lock(lock_pb.LockRequest(name=b"lock"))
    with member.store.watch(b"lock/", b"lock0", start_revision=1) as watch:
        async with asyncio.timeout(5):
            keys: set[bytes] = set()
            async for batch in watch:
                keys |= {event.kv.key for event in batch.events}
                if len(keys) == 2:
                    waiting.cancel()
                if any(event.kv.version == 0 for event in batch.events):
                    break
    left = await rpc.KVStub(channel).Range(pb.RangeRequest(key=b"lock/", range_end=b"lock0"))
    assert [kv.key for kv in left.kvs] == [first.key]


async def test_leases_end_by_the_clock_and_say_what_is_left(channel: grpc.aio.Channel, member: Alone) -> None:
    stub = rpc.LeaseStub(channel)
    lease = (await stub.LeaseGrant(pb.LeaseGrantRequest(TTL=30))).ID
    assert lease > 1 << 32
    await rpc.KVStub(channel).Put(pb.PutRequest(key=b"k", lease=lease))
    member.clock.advance(20)
    left = await stub.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=lease, keys=True))
    assert (left.TTL, left.grantedTTL, list(left.keys)) == (10, 30, [b"k"])
    alive = stub.LeaseKeepAlive()
    await alive.write(pb.LeaseKeepAliveRequest(ID=lease))
    assert (await alive.read()).TTL == 30
    member.clock.advance(31)
    await member.store.expire_due()
    await alive.write(pb.LeaseKeepAliveRequest(ID=lease))
    assert (await alive.read()).TTL == 0
    assert (await stub.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=lease))).TTL == -1
    alive.cancel()


async def test_a_snapshot_comes_in_pages_and_with_its_digest(channel: grpc.aio.Channel) -> None:
    call = cluster_grpc.MaintenanceStub(channel).Snapshot(cluster_pb.SnapshotRequest())
    *blobs, digest = [response.blob async for response in call]
    data = b"".join(blobs)
    assert len(data) == -(-70_103 // 512) * 512
    assert digest == sha256(data).digest()


async def test_what_is_no_request(channel: grpc.aio.Channel) -> None:
    for method in ("KV/Put", "KV/Txn", "KV/Range", "Lease/LeaseGrant", "Cluster/MemberRemove"):
        call = channel.unary_unary(f"/etcdserverpb.{method}")(b"\xff\xff")
        assert (await failure(call))[0] == grpc.StatusCode.INTERNAL
    for request in (b"\x18\x64", b"\x08\x07"):
        call = channel.unary_unary("/etcdserverpb.Maintenance/Alarm")(request)
        assert (await failure(call))[0] == grpc.StatusCode.INVALID_ARGUMENT
