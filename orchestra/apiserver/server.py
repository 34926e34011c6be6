"""The API server: the services, composed."""

from collections.abc import Callable

from orchestra.aio.rpc.limits import SESSION_KEEPALIVE, Keepalive
from orchestra.aio.rpc.server import RpcServer
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.cluster_info import ClusterService, MasterInfo
from orchestra.apiserver.forwarding import Forwarding
from orchestra.apiserver.gate import AgentsGate, Changed
from orchestra.apiserver.logs import LogsService
from orchestra.apiserver.members import Masters
from orchestra.apiserver.objects import ObjectsService
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import agent_v1_pb2_grpc as agent_grpc
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.store.contract import StoreUnavailable
from orchestra.store.failures import api_error
from orchestra.store.leadership import Leader
from orchestra.store.objects import ObjectStore


def _nobody() -> Leader | None:
    return None


class ApiServer:
    """All gRPC services of a master on one port: Objects, Logs, Cluster, Agents, health, reflection.

    It lives as long as the process, whether this master leads or not. objects: carries no mandate's guards.
    leader: who leads, this master included; with serve_agents() called it is this one, whatever that says.
    leader_changed: waits until that is another than at the call (Leadership.changed).
    members: the masters, where the store is their own.
    """

    def __init__(
        self,
        objects: ObjectStore,
        info: MasterInfo,
        *,
        leader: Callable[[], Leader | None] = _nobody,
        leader_changed: Changed | None = None,
        members: Masters | None = None,
        keepalive: Keepalive = SESSION_KEEPALIVE,
    ) -> None:
        self.objects = ObjectsService(objects)
        self._gate = AgentsGate(info.name, leader, leader_changed)
        self._forwarding = Forwarding(info.name, leader)
        self._server = RpcServer(translate={StoreUnavailable: api_error}, keepalive=keepalive)
        services, agents = api.DESCRIPTOR.services_by_name, agent.DESCRIPTOR.services_by_name
        self._server.add(api_grpc.add_ObjectsServicer_to_server, self.objects, services["Objects"].full_name)
        self._server.add(
            api_grpc.add_LogsServicer_to_server,
            LogsService(objects, self._gate, self._forwarding),
            services["Logs"].full_name,
        )
        self._server.add(
            api_grpc.add_ClusterServicer_to_server,
            ClusterService(objects, self._gate, self._forwarding, info, leader, members),
            services["Cluster"].full_name,
        )
        self._server.add(agent_grpc.add_AgentsServicer_to_server, self._gate, agents["Agents"].full_name)

    @property
    def hub(self) -> AgentHub | None:
        """The hub of the mandate in force, None while this master does not lead."""
        return self._gate.hub

    def serve_agents(self, hub: AgentHub) -> None:
        """This master leads: agents are let in to the hub, which is started here. May come before start().

        The caller runs what the hub was made of (its informers, which are to be in sync, its recorder), and
        makes a new hub with new Liveness for each mandate.
        """
        self._gate.open(hub)

    def stop_agents(self) -> None:
        """The mandate is over: every session ends; agents are sent to whoever leads. Safe to call twice."""
        self._gate.close()

    async def start(self, listen: str) -> int:
        """Serves on HOST:PORT (port 0: a free one). The port.

        Raises: ListenError, UsageError.
        """
        return await self._server.start(listen)

    async def stop(self, grace_seconds: float) -> None:
        """Ends sessions and watches at once, and gives other calls the grace. Safe to call twice."""
        self._gate.close()
        await self._server.stop(grace_seconds)
        await self._forwarding.close()
