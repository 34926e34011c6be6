"""The Logs service: finds the agent that has the log and passes on what it pushes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from orchestra.aio.rpc.server import Context
from orchestra.apiserver.agents import AgentHub
from orchestra.apiserver.forwarding import Forwarding
from orchestra.apiserver.gate import AgentsGate
from orchestra.base.errors import BadRequest, Unavailable
from orchestra.objects.kinds import POD, ApiObject
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.store.objects import ObjectStore

_READ = f"/{api.DESCRIPTOR.services_by_name['Logs'].full_name}/Read"


class LogsService(api_grpc.LogsServicer):
    """Containers' output, over gRPC; read at the leading master, whose sessions reach the agents."""

    def __init__(self, objects: ObjectStore, gate: AgentsGate, forwarding: Forwarding) -> None:
        self._objects = objects
        self._gate = gate
        self._forwarding = forwarding

    async def Read(self, request: api.LogRequest, context: Context) -> AsyncGenerator[Any, None]:
        hub = self._gate.hub
        chunks = (
            self._forwarding.stream(_READ, request.SerializeToString(), context)
            if hub is None
            else self._read(hub, request)
        )
        async with aclosing(chunks) as found:
            async for chunk in found:
                yield chunk

    async def _read(self, hub: AgentHub, request: api.LogRequest) -> AsyncGenerator[Any, None]:
        pod = await self._objects.get(POD, request.namespace, request.pod)
        options = api.LogOptions()
        options.CopyFrom(request.options)
        options.container = container_meant(pod, options.container)
        _check(options)
        node = pod.spec.nodeName
        if not node:
            raise BadRequest(f'pod "{request.pod}" is not on a node yet: it has no log', kind="pods")
        session = hub.session(node)
        if session is None:
            raise Unavailable(
                f'the log of pod "{request.pod}" is on node "{node}", whose agent is not connected',
                kind="nodes",
                name=node,
            )
        relays = hub.relays
        relay = relays.open(node)
        try:
            wanted = agent.OpenLog(
                id=relay.id,
                namespace=request.namespace,
                pod=request.pod,
                uid=pod.metadata.uid,
                options=options,
            )
            session.send(agent.MasterMessage(open_log=wanted))
            async for chunk in relay.pieces():
                yield chunk
        finally:
            relays.close(relay)


def container_meant(pod: ApiObject, asked: str) -> str:
    """The container whose log is wanted.

    Raises: BadRequest, with the choices, when the pod has several and none is named, or none of that name.
    """
    spec = pod.spec
    names: list[str] = [container.name for container in spec.containers]
    init: list[str] = [container.name for container in spec.initContainers]
    if not asked and len(names) == 1:
        return names[0]
    if asked in names or asked in init:
        return asked
    choices = f"one of: [{' '.join(names)}]" + (
        f" or one of the init containers: [{' '.join(init)}]" if init else ""
    )
    name = pod.metadata.name
    if not asked:
        raise BadRequest(
            f"a container name must be specified for pod {name}, choose {choices}", kind="pods", name=name
        )
    raise BadRequest(
        f"container {asked} is not valid for pod {name}: choose {choices}", kind="pods", name=name
    )


def _check(options: api.LogOptions) -> None:
    for field in ("tail_lines", "since_seconds", "limit_bytes"):
        if options.HasField(field) and getattr(options, field) < 0:
            raise BadRequest(f"{field} must not be negative: {getattr(options, field)}")
    if options.HasField("since_seconds") and options.HasField("since_time"):
        raise BadRequest("at most one of since_seconds and since_time may be given")
