"""The Cluster service: what the master is and how it fares."""

import platform
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestra import __version__
from orchestra.aio.rpc.server import Context
from orchestra.aio.supervisor import ActorStatus
from orchestra.apiserver.forwarding import Forwarding
from orchestra.apiserver.gate import AgentsGate
from orchestra.apiserver.members import Masters
from orchestra.base.errors import NotSupported
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import Range
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.store.leadership import Leader
from orchestra.store.objects import ObjectStore

# Where every kind's objects stand in the store.
REGISTRY: Final = b"/registry/"
_STATUS: Final = f"/{api.DESCRIPTOR.services_by_name['Cluster'].full_name}/Status"


@dataclass(frozen=True, slots=True)
class MasterInfo:
    """What the master's other parts tell about it; each reading is taken when it is asked for.

    name: the master's. started_seconds: Unix time.
    """

    name: str
    started_seconds: int = 0
    disk_bytes_written: Callable[[], int] = field(default=lambda: 0)
    actors: Callable[[], Sequence[ActorStatus]] = field(default=lambda: ())


class ClusterService(api_grpc.ClusterServicer):
    """Version, Status and the members, over gRPC. The status is the leading master's.

    members: None where the store is not the masters' own.
    """

    def __init__(
        self,
        objects: ObjectStore,
        gate: AgentsGate,
        forwarding: Forwarding,
        info: MasterInfo,
        leader: Callable[[], Leader | None],
        members: Masters | None = None,
    ) -> None:
        self._objects = objects
        self._gate = gate
        self._forwarding = forwarding
        self._info = info
        self._leader = leader
        self._masters = members

    async def Version(self, request: api.VersionRequest, context: Context) -> Any:
        return api.VersionResponse(
            version=__version__,
            python=platform.python_version(),
            platform=f"{platform.system().lower()}/{platform.machine()}",
        )

    async def Status(self, request: api.ClusterStatusRequest, context: Context) -> Any:
        info, hub = self._info, self._gate.hub
        if hub is None:
            return await self._forwarding.unary(_STATUS, request.SerializeToString(), context)
        leader = self._leader()
        stored = await self._objects.store.range(
            Range(REGISTRY, prefix_end(REGISTRY), count_only=True, serializable=True)
        )
        return api.ClusterStatusResponse(
            master=info.name,
            revision=self._objects.store.revision,
            objects=stored.count,
            agents_connected=hub.liveness.connected_count(),
            actors=[
                api.ActorStatus(
                    name=actor.name,
                    running=actor.running,
                    restarts=actor.restarts,
                    last_error=actor.last_error,
                    queue_length=actor.queue_length,
                )
                for actor in info.actors()
            ],
            disk_bytes_written=info.disk_bytes_written(),
            started_seconds=info.started_seconds,
            leader=info.name,
            leader_address=leader.address if leader is not None and leader.name == info.name else "",
        )

    @property
    def _members(self) -> Masters:
        if self._masters is None:
            raise NotSupported(
                "this master keeps its state in an etcd cluster: list and change that cluster's members, "
                "and save its snapshots, with etcdctl"
            )
        return self._masters

    async def Members(self, request: api.MembersRequest, context: Context) -> Any:
        return self._members.listed()

    async def AddMember(self, request: api.AddMemberRequest, context: Context) -> Any:
        return await self._members.add(request)

    async def RemoveMember(self, request: api.MemberRequest, context: Context) -> Any:
        return await self._members.remove(request)

    async def PromoteMember(self, request: api.MemberRequest, context: Context) -> Any:
        return await self._members.promote(request)

    async def MoveLeader(self, request: api.MemberRequest, context: Context) -> Any:
        return await self._members.move_leader(request)

    async def Snapshot(
        self, request: api.SnapshotRequest, context: Context
    ) -> AsyncGenerator[api.SnapshotPart, None]:
        async for data in self._members.snapshot():
            yield api.SnapshotPart(data=data)
