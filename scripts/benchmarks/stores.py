"""The stores that are measured, each a process of its own: ours, real etcd, and an echo server to stand beside."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc

START_SECONDS = 30.0
POLL_SECONDS = 0.05
_ORCHESTRA = str(Path(sys.executable).with_name("orchestra"))


@dataclass(slots=True)
class Running:
    """addresses: where etcd's API is served, one a member. processes: in the same order."""

    addresses: list[str]
    processes: list[subprocess.Popen[bytes]]
    commands: list[list[str]] = field(default_factory=list)

    def restart(self, at: int) -> None:
        """Starts a member again that was killed."""
        self.processes[at] = _spawn(self.commands[at])

    async def leader(self, seconds: float = START_SECONDS) -> int:
        """Which one leads, once one does."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            for at, address in enumerate(self.addresses):
                if self.processes[at].poll() is None:
                    said = await status(address)
                    if said is not None and said.leader and said.leader == said.header.member_id:
                        return at
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError("no member leads")


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


async def status(address: str) -> cluster_pb.StatusResponse | None:
    """What a member says of itself; None when it does not answer."""
    async with open_channel(address) as channel:
        stub: cluster_grpc.MaintenanceAsyncStub = cluster_grpc.MaintenanceStub(channel)
        try:
            return await stub.Status(cluster_pb.StatusRequest(), timeout=1.0)
        except grpc.aio.AioRpcError:
            return None


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextlib.asynccontextmanager
async def orchestra(members: int) -> AsyncIterator[Running]:
    """Masters with an empty store each on a disk, serving etcd's API."""
    ports = free_ports(3 * members)
    names = [f"m{number}" for number in range(1, members + 1)]
    peers = [f"127.0.0.1:{port}" for port in ports[:members]]
    initial = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
    with tempfile.TemporaryDirectory(prefix="orchestra-bench-") as folder:
        commands, addresses = [], []
        for at, name in enumerate(names):
            etcd = f"127.0.0.1:{ports[2 * members + at]}"
            command = [
                _ORCHESTRA,
                "master",
                "--name",
                name,
                "--data-dir",
                f"{folder}/{name}",
                "--with-parent",
            ]
            command += ["--listen", f"127.0.0.1:{ports[members + at]}", "--etcd-listen", etcd]
            if members > 1:
                command += ["--peer-listen", peers[at], "--initial-cluster", initial]
            commands.append(command)
            addresses.append(etcd)
        async with _started(commands, addresses) as running:
            yield running


@contextlib.asynccontextmanager
async def etcd(members: int) -> AsyncIterator[Running]:
    """Real etcd, as Debian has it."""
    ports = free_ports(2 * members)
    names = [f"e{number}" for number in range(members)]
    peers = [f"http://127.0.0.1:{port}" for port in ports[:members]]
    initial = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
    with tempfile.TemporaryDirectory(prefix="orchestra-bench-") as folder:
        commands, addresses = [], []
        for at, name in enumerate(names):
            address = f"127.0.0.1:{ports[members + at]}"
            command = ["etcd", "--name", name, "--data-dir", f"{folder}/{name}", "--log-level", "error"]
            command += ["--listen-client-urls", f"http://{address}"]
            command += ["--advertise-client-urls", f"http://{address}"]
            command += ["--listen-peer-urls", peers[at], "--initial-advertise-peer-urls", peers[at]]
            commands.append([*command, "--initial-cluster", initial])
            addresses.append(address)
        async with _started(commands, addresses) as running:
            yield running


@contextlib.asynccontextmanager
async def _started(commands: list[list[str]], addresses: list[str]) -> AsyncIterator[Running]:
    processes = [_spawn(command) for command in commands]
    running = Running(addresses, processes, commands)
    try:
        await running.leader()
        yield running
    finally:
        for process in running.processes:
            process.kill()
            process.wait(10)


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """A grpc.aio server that answers with what it is sent; its address."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "scripts.benchmarks.echo_server", str(port)]
    async with _process(command), open_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), START_SECONDS)
        yield f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _process(command: Sequence[str]) -> AsyncIterator[None]:
    process = _spawn(command)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def has_etcd() -> bool:
    """Whether real etcd is on this machine."""
    return shutil.which("etcd") is not None
