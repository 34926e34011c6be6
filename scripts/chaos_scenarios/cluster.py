"""The masters and agents of one trial, each a process on a machine of its own."""

import asyncio
import random
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.client import Client
from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc
from scripts.chaos_scenarios.network import Network
from scripts.chaos_scenarios.processes import Program

API, PEER, ETCD = 7070, 7071, 7072
READY_SECONDS = 30.0
STATUS_SECONDS = 1.0
POLL_SECONDS = 0.02
INSIST_SECONDS = 0.1


class Cluster:
    """Programs by name: masters m1…, agents n1…."""

    def __init__(self, network: Network, folder: Path, agents: int, grace: str, rng: random.Random) -> None:
        self._network = network
        self._folder = folder
        self._rng = rng
        self._grace = grace
        self.masters: dict[str, Program] = {}
        self.agents: dict[str, Program] = {}
        first = [f"m{number}" for number in (1, 2, 3)]
        self._initial = ",".join(f"{name}={network.address(name)}:{PEER}" for name in first)
        for name in first:
            self._master(name, ["--initial-cluster", self._initial])
        for number in range(1, agents + 1):
            name = f"n{number}"
            words = ["agent", "--name", name, "--master", self.api(first), "--stop-pods"]
            words += ["--address", network.address(name), "--data-dir", str(folder / name)]
            words += ["--capacity", "cpu=4,memory=4Gi,pods=110"]
            self.agents[name] = self._program(name, words)

    def _master(self, name: str, how: Sequence[str]) -> Program:
        at = self._network.address(name)
        words = ["master", "--name", name, "--data-dir", str(self.data_dir(name))]
        words += ["--listen", f"{at}:{API}", "--peer-listen", f"{at}:{PEER}", "--etcd-listen", f"{at}:{ETCD}"]
        words += [*(["--node-eviction-grace", self._grace] if self._grace else []), *how]
        self.masters[name] = made = self._program(name, words)
        return made

    def _program(self, name: str, words: Sequence[str]) -> Program:
        return Program(name, words, self._network.namespace(name), self._folder / f"{name}.log")

    # Where things are.

    @property
    def programs(self) -> list[Program]:
        """All of them."""
        return [*self.masters.values(), *self.agents.values()]

    @property
    def initial(self) -> str:
        """--initial-cluster of the first three."""
        return self._initial

    def data_dir(self, name: str) -> Path:
        """A program's."""
        return self._folder / name

    def api(self, names: Iterable[str] = ()) -> str:
        """--server for these masters, all of them by default."""
        return ",".join(f"{self._network.address(name)}:{API}" for name in names or self.masters)

    def peer(self, name: str) -> str:
        """Where a master listens for the others."""
        return f"{self._network.address(name)}:{PEER}"

    def etcd(self, name: str) -> str:
        """Where a master serves etcd's API."""
        return f"{self._network.address(name)}:{ETCD}"

    # Life.

    async def start(self) -> None:
        """Starts everything. Raises: TimeoutError when nobody comes to lead."""
        await asyncio.gather(*(program.start() for program in self.programs))
        await self.leader()

    async def stop(self) -> None:
        """Agents with their pods, then the masters."""
        for program in self.programs:
            program.thaw()
        from agents.agent import stop_leftovers

        await asyncio.gather(*(agent.terminate() for agent in self.agents.values()))
        for name in self.agents:
            await stop_leftovers(self.data_dir(name))
        await asyncio.gather(*(master.kill() for master in self.masters.values()))

    async def lose_masters(self) -> None:
        """kill -9 of all masters, and their disks are gone."""
        for name, master in self.masters.items():
            await master.kill()
            await asyncio.to_thread(shutil.rmtree, self.data_dir(name))

    async def restart(self) -> None:
        """Whoever stands still goes on, and whoever is dead lives again."""
        for program in self.programs:
            if program.stopped:
                program.thaw()
            await program.start()

    def forget(self, name: str) -> None:
        """A master is no part of it any more."""
        del self.masters[name]

    async def join(self, name: str, *, learner: bool = False) -> Program:
        """A master enters the running cluster with an empty disk."""
        shutil.rmtree(self.data_dir(name), ignore_errors=True)
        others = [other for other in self.masters if other != name]
        how = ["--join", self.api(others), *(["--learner"] if learner else [])]
        joining = self._master(name, how)
        await joining.start()
        return joining

    # Who leads.

    async def status(self, name: str) -> cluster_pb.StatusResponse | None:
        """What a master says of itself; None when it does not answer."""
        async with open_channel(self.etcd(name)) as channel:
            stub: cluster_grpc.MaintenanceAsyncStub = cluster_grpc.MaintenanceStub(channel)
            try:
                return await stub.Status(cluster_pb.StatusRequest(), timeout=STATUS_SECONDS)
            except grpc.aio.AioRpcError:
                return None

    async def leader(self, *, among: Iterable[str] = (), seconds: float = READY_SECONDS) -> str:
        """Who leads in the newest term, awaited. Raises: TimeoutError."""
        names = list(among or self.masters)
        async with asyncio.timeout(seconds):
            while True:
                said = await asyncio.gather(*(self.status(name) for name in names if self._answers(name)))
                asked = [name for name in names if self._answers(name)]
                leading = [
                    (each.raftTerm, name)
                    for name, each in zip(asked, said, strict=False)
                    if each is not None and each.leader and each.leader == each.header.member_id
                ]
                if leading:
                    return max(leading)[1]
                await asyncio.sleep(POLL_SECONDS)

    def _answers(self, name: str) -> bool:
        program = self.masters[name]
        return bool(program.pid) and not program.stopped

    async def follower(self) -> str:
        """Some master that does not lead."""
        leader = await self.leader()
        return self._rng.choice([name for name in self.masters if name != leader])

    # As an operator types.

    def client(self, names: Iterable[str] = ()) -> Client:
        """The project's own client."""
        return Client(self.api(names), deadline_seconds=10.0)

    async def type(self, *words: str, seconds: float = READY_SECONDS) -> str:
        """`orchestra …`; what it says. Raises: OSError when it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "orchestra.cli.main",
            *words,
            "--server",
            self.api(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(seconds):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        if process.returncode:
            raise OSError(f"orchestra {' '.join(words)}: {said.decode(errors='replace').strip()}")
        return said.decode()

    async def insist(self, *words: str, seconds: float = READY_SECONDS) -> str:
        """The same, again and again while it is refused. Raises: OSError, with the last refusal."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            try:
                return await self.type(*words)
            except OSError:
                if loop.time() > end:
                    raise
            await asyncio.sleep(INSIST_SECONDS)
