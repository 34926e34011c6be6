"""An agent that says what a test tells it to, over the real Session stream."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.limits import Keepalive
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import agent_v1_pb2_grpc as agent_grpc
from orchestra.pb import core, meta

SECONDS = 10


class ScriptedAgent:
    """One session. Everything received is kept in order in `received`."""

    def __init__(self, address: str, name: str, instance: str, keepalive: Keepalive | None = None) -> None:
        self.name = name
        self.instance = instance
        self.channel = open_channel(address, session=True, keepalive=keepalive)
        self.stub = agent_grpc.AgentsStub(self.channel)
        self.call: Any = self.stub.Session()
        self.received: list[agent.MasterMessage] = []
        self.pods: dict[str, core.Pod] = {}
        self.others: dict[tuple[str, str], Any] = {}
        self.sequence = 0
        self.synced = False
        self.drained: list[str] = []
        self._unread: deque[agent.MasterMessage] = deque()

    async def send(self, **fields: Any) -> None:
        await self.call.write(agent.AgentMessage(**fields))

    async def register(self, pods: list[agent.PodReport] | None = None, **fields: Any) -> None:
        said = agent.Register(name=self.name, instance=self.instance, pods=pods or [], **fields)
        said.capacity["cpu"].string = "4"
        said.allocatable["cpu"].string = "4"
        said.node_info.architecture = "amd64"
        said.node_info.operatingSystem = "linux"
        said.addresses.add(type="InternalIP", address="127.77.0.10")
        await self.send(register=said)

    async def read(self) -> agent.MasterMessage | None:
        """The next message, taken in; None when the master has ended the session."""
        async with asyncio.timeout(SECONDS):
            message = await self.call.read()
        if not isinstance(message, agent.MasterMessage):
            return None
        self.received.append(message)
        self._take(message)
        return message

    def _take(self, message: agent.MasterMessage) -> None:
        if message.HasField("drained"):
            self.drained.append(message.drained.uid)
        if not message.HasField("orders"):
            return
        assert message.orders.sequence > self.sequence
        self.sequence = message.orders.sequence
        self.synced |= message.orders.synced
        for order in message.orders.orders:
            which = order.object.WhichOneof("object")
            obj = getattr(order.object, which)
            held: Any = self.pods if which == "pod" else self.others
            key: Any = obj.metadata.uid if which == "pod" else (which, obj.metadata.name)
            if order.removed:
                held.pop(key, None)
            else:
                held[key] = obj

    async def until(self, condition: Callable[[], bool]) -> None:
        """Reads until the condition holds."""
        while not condition():
            assert await self.read() is not None, "the session has ended"

    async def connect(self, **fields: Any) -> None:
        """Registers, reads the first full picture and says that it is in force."""
        await self.register(**fields)
        await self.until(lambda: self.synced)
        await self.applied()

    async def applied(self) -> None:
        await self.send(applied=agent.Applied(sequence=self.sequence))

    async def report(self, pod: core.Pod, *, finished: bool = False, **status: Any) -> None:
        said = report_of(pod, finished=finished, **status)
        await self.send(status_report=agent.StatusReport(pods=[said]))

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


def report_of(pod: core.Pod, *, finished: bool = False, **status: Any) -> agent.PodReport:
    return agent.PodReport(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        status=core.PodStatus(**status),
        finished=finished,
    )


@asynccontextmanager
async def agent_of(address: str, name: str = "n1", instance: str = "i1") -> AsyncIterator[ScriptedAgent]:
    made = ScriptedAgent(address, name, instance)
    try:
        yield made
    finally:
        await made.close()


def pod_on(node: str, name: str, **spec: Any) -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default", labels={"app": "web"}))
    made.spec.containers.add(name="main", command=["sleep", "1"])
    if node:
        made.spec.nodeName = node
    for field, value in spec.items():
        setattr(made.spec, field, value)
    return made
