"""Asking other members what they know of the cluster, before this one starts for the first time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.limits import PEER_KEEPALIVE
from orchestra.aio.rpc.status import from_rpc_error
from orchestra.base.errors import ApiError
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.pb import raft_v1_pb2_grpc as pb_grpc

HELLO_SECONDS = 2.0


async def ask_hello(
    addresses: Sequence[str], *, cluster: str = "", member: int = 0, timeout_seconds: float = HELLO_SECONDS
) -> Mapping[str, pb.HelloResponse | ApiError]:
    """What each address answers, or why it does not, all asked at once.

    cluster: the cluster that is meant, "" for any; one that belongs to another answers PreconditionFailed.
    """
    request = pb.HelloRequest(cluster=cluster, member=member)
    answers = await asyncio.gather(*(_ask(address, request, timeout_seconds) for address in addresses))
    return dict(zip(addresses, answers, strict=True))


async def _ask(address: str, request: pb.HelloRequest, seconds: float) -> pb.HelloResponse | ApiError:
    async with open_channel(address, keepalive=PEER_KEEPALIVE) as channel:
        stub: Any = pb_grpc.PeersStub(channel)
        try:
            answer: pb.HelloResponse = await stub.Hello(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, address)
        return answer
