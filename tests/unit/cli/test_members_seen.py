"""Who of several masters runs, when nobody leads: each is asked itself."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from orchestra.aio.rpc.server import RpcServer
from orchestra.cli.printing.members import status
from orchestra.cli.session import Session
from orchestra.cli.verbs.member import members_seen
from orchestra.client import Client
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc

NOBODY = "127.0.0.1:1"


class Leaderless(api_grpc.ClusterServicer):
    """A master that knows two, itself and one that is away, and of no leader."""

    address = ""

    async def Members(self, request: Any, context: Any) -> Any:
        return api.MembersResponse(
            members=[
                api.ClusterMember(id="a1", name="m1", api_address=self.address, started=True),
                api.ClusterMember(id="a2", name="m2", api_address=NOBODY, started=True),
                api.ClusterMember(id="a3", name="m3"),
            ]
        )


async def test_without_a_leader_each_master_is_asked_itself() -> None:
    server, master = RpcServer(), cast(Any, Leaderless)()
    server.add(api_grpc.add_ClusterServicer_to_server, master, "orchestra.api.v1.Cluster")
    master.address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        async with asyncio.timeout(20), Client(master.address) as client:
            seen = await members_seen(cast(Session, SimpleNamespace(client=client)))
    finally:
        await server.stop(0)
    assert [status(member) for member in seen.members] == ["started", "unreachable", "unstarted"]
