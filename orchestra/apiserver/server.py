"""The API server: the services, composed."""

from orchestra.aio.rpc.limits import SESSION_KEEPALIVE, Keepalive
from orchestra.aio.rpc.server import RpcServer
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.cluster_info import ClusterService, MasterInfo
from orchestra.apiserver.logs import LogsService
from orchestra.apiserver.objects import ObjectsService
from orchestra.base.errors import Unavailable
from orchestra.controllers.liveness import Liveness
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import agent_v1_pb2_grpc as agent_grpc
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.store.contract import StoreUnavailable
from orchestra.store.events import Recorder
from orchestra.store.informer import Informers
from orchestra.store.objects import ObjectStore


class ApiServer:
    """All gRPC services of a master on one port: Objects, Logs, Cluster, Agents, health, reflection.

    `recorder` records what agents tell (component "agent"). The caller runs it and `informers`.
    """

    def __init__(
        self,
        objects: ObjectStore,
        informers: Informers,
        liveness: Liveness,
        recorder: Recorder,
        info: MasterInfo,
        *,
        keepalive: Keepalive = SESSION_KEEPALIVE,
    ) -> None:
        self.hub = AgentHub(objects, informers, liveness, recorder, master=info.name)
        self.objects = ObjectsService(objects)
        self._server = RpcServer(translate={StoreUnavailable: Unavailable}, keepalive=keepalive)
        services, agents = api.DESCRIPTOR.services_by_name, agent.DESCRIPTOR.services_by_name
        self._server.add(api_grpc.add_ObjectsServicer_to_server, self.objects, services["Objects"].full_name)
        self._server.add(
            api_grpc.add_LogsServicer_to_server,
            LogsService(objects, self.hub),
            services["Logs"].full_name,
        )
        self._server.add(
            api_grpc.add_ClusterServicer_to_server,
            ClusterService(objects, liveness, info),
            services["Cluster"].full_name,
        )
        self._server.add(agent_grpc.add_AgentsServicer_to_server, self.hub, agents["Agents"].full_name)

    async def start(self, listen: str) -> int:
        """Serves on HOST:PORT (port 0: a free one). The port.

        Raises: ListenError, UsageError.
        """
        self.hub.start()
        return await self._server.start(listen)

    async def stop(self, grace_seconds: float) -> None:
        """Ends sessions and watches at once, and gives other calls the grace. Safe to call twice."""
        self.hub.stop()
        await self._server.stop(grace_seconds)
