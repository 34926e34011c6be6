"""Locks: whose session has ended while it waited."""

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from orchestra.etcdapi.server import EtcdServer
from orchestra.mvcc.model import Range
from orchestra.pb import etcd_lock_pb2 as lock_pb
from orchestra.pb import etcd_lock_pb2_grpc as lock_grpc
from tests.unit.etcdapi.alone import Alone


@pytest.fixture
def member() -> Alone:
    return Alone()


@pytest.fixture
async def channel(member: Alone) -> AsyncIterator[grpc.aio.Channel]:
    server = EtcdServer(member)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
        yield channel
    await server.stop(0)


async def waits(member: Alone, keys: int) -> None:
    """Until so many are in the queue."""
    with member.store.watch(b"lock/", b"lock0", start_revision=1) as watch:
        async for _ in watch:
            if (await member.store.range(Range(b"lock/", b"lock0"))).count == keys:
                return


async def test_whose_session_ends_while_it_waits_does_not_get_the_lock(
    channel: grpc.aio.Channel, member: Alone
) -> None:
    stub = lock_grpc.LockStub(channel)
    first = await stub.Lock(lock_pb.LockRequest(name=b"lock"))
    lease = await member.store.lease_grant(60)
    second = stub.Lock(lock_pb.LockRequest(name=b"lock", lease=lease))
    await waits(member, 2)
    await member.store.lease_revoke(lease)
    await stub.Unlock(lock_pb.UnlockRequest(key=first.key))
    third = stub.Lock(lock_pb.LockRequest(name=b"lock"))
    with pytest.raises(grpc.aio.AioRpcError, match="mutex: session is expired"):
        await second
    await third
