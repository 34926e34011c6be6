"""A whole cluster on this machine: masters and agents, a process each, started, watched, stopped.

Knows processes and addresses only; what runs inside is `orchestra master` and `orchestra agent`, the same
programs that run on separate machines. Used by `orchestra up`, the demo, the benchmarks and the tests.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestra.aio.backoff import Backoff
from orchestra.aio.supervisor import HEALTHY_SECONDS
from orchestra.base.errors import ApiError, OrchestraError
from orchestra.base.log import get_logger
from orchestra.cli.local_addresses import (
    DEFAULT_PORT,
    ETCD_PORT,
    MASTERS_MAX,
    PEER_PORT,
    Block,
    api_addresses,
    free_port,
    reserve_for_masters,
)
from orchestra.cli.local_process import LocalProcess, descendants

__all__ = ["DEFAULT_PORT", "MASTERS_MAX", "LocalCluster", "LocalProcess", "descendants", "free_port"]

log = get_logger("up")

# Ports of the host for pods, disjoint for each agent, below the node ports and the kernel's ephemeral range.
FIRST_POD_PORT = 10_000
LAST_POD_PORT = 29_999
POD_PORTS_EACH_MAX = 1_000
# A master that ends by itself so often, as on a damaged log, will not run at the next try either.
MASTER_TRIES = 3
MASTER_TRY_SECONDS = 10.0
STOP_SECONDS = 15.0
LEADER_SECONDS = 10.0
# The dead are restarted: a master at once, an agent as late as a machine that boots.
MASTER_RESTART_MS = (50, 5_000)
AGENT_RESTART_MS = (5_000, 30_000)


class LocalCluster:
    """Starts, watches and stops the processes. An async context manager: leaving it stops everything.

    data_dir None: a temporary folder, removed at the end.
    port: where the API of the first master listens on 127.0.0.1; the others follow. 0, or taken and not
    exact_port: ports, for several masters addresses, that are free.
    store: an etcd cluster to keep the state in (etcd://…), instead of in the masters.
    etcd: masters serve etcd's API too. keep: restart what dies by itself.
    """

    def __init__(
        self,
        agents: int = 3,
        *,
        masters: int = 1,
        data_dir: Path | None = None,
        port: int = DEFAULT_PORT,
        exact_port: bool = False,
        capacity: str = "",
        runtime: str = "auto",
        master_flags: Sequence[str] = (),
        agent_flags: Sequence[str] = (),
        store: str = "",
        etcd: bool = False,
        keep: bool = True,
        verbosity: int = 0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._agent_count = agents
        self._master_count = masters
        self._given_dir = data_dir
        self._wanted_port = port
        self._exact_port = exact_port
        self._capacity = capacity
        self._runtime = runtime
        self._master_flags = master_flags
        self._agent_flags = agent_flags
        self._store = store
        self._etcd = etcd
        self._keep = keep
        self._verbosity = verbosity
        self._report = report or log.info
        self._block: Block | None = None
        self.data_dir = Path()
        # The API of every master, as --server takes them, and by name.
        self.server = ""
        self.servers: dict[str, str] = {}
        self._lock = -1
        # Set once so many masters have failed to start, again and again, that the rest is no cluster.
        self.refused = asyncio.Event()
        self._given_up: set[str] = set()
        self.masters: dict[str, LocalProcess] = {}
        self.agents: dict[str, LocalProcess] = {}

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts every process; returns as soon as they run, not when they are ready."""
        if self._given_dir is None:
            self.data_dir = Path(tempfile.mkdtemp(prefix="orchestra-up-"))
        else:
            self.data_dir = self._given_dir.absolute()
            self._take_data_dir()
        count = self._master_count
        self._block = reserve_for_masters(self.data_dir, count)
        self.servers = api_addresses(self._block, count, self._wanted_port, exact=self._exact_port)
        self.server = ",".join(self.servers.values())
        for name in self.servers:
            await self._run(self._master(name))
        for number in range(1, self._agent_count + 1):
            await self._run(self._agent(number))

    @property
    def master(self) -> LocalProcess | None:
        """The first master."""
        return next(iter(self.masters.values()), None)

    def _master(self, name: str, *, join: bool = False) -> LocalProcess:
        """A master's process, not started."""
        assert self._block is not None
        own = self._block.master_address(int(name.removeprefix("m")))
        words = ["master", "--name", name, "--listen", self.servers[name], "--with-parent"]
        if self._store:
            words += ["--store", self._store]
        else:
            words += ["--data-dir", str(self.data_dir / name)]
        if join:
            others = [server for other, server in self.servers.items() if other != name]
            words += ["--peer-listen", f"{own}:{PEER_PORT}", "--join", ",".join(others)]
        elif self._master_count > 1 and not self._store:
            peers = [
                f"m{number}={self._block.master_address(number)}:{PEER_PORT}"
                for number in range(1, self._master_count + 1)
            ]
            words += ["--initial-cluster", ",".join(peers), "--initial-cluster-token", str(self.data_dir)]
        if self._etcd:
            words += ["--etcd-listen", f"{own}:{ETCD_PORT}"]
        if self._verbosity:
            words += ["-v", str(self._verbosity)]
        words += self._master_flags
        made = LocalProcess(name, words, self.data_dir / f"{name}.log", MASTER_RESTART_MS)
        self.masters[name] = made
        return made

    async def join_master(self, name: str) -> LocalProcess:
        """Starts a master, `m4` say, that joins the others by itself; one that was there before, anew."""
        assert self._block is not None
        before = self.masters.get(name)
        if before is not None:
            await self._end(before)
        number = int(name.removeprefix("m"))
        self.servers.setdefault(name, f"{self._block.master_address(number)}:{DEFAULT_PORT}")
        joining = self._master(name, join=True)
        await self._run(joining)
        return joining

    def etcd_address(self, name: str) -> str:
        """Where a master serves etcd's API, with `etcd`."""
        assert self._block is not None
        return f"{self._block.master_address(int(name.removeprefix('m')))}:{ETCD_PORT}"

    async def leader(self, *, but: str = "") -> LocalProcess:
        """The leading master, awaited while there is none, or it is `but`.

        Raises: OrchestraError after ten seconds.
        """
        from orchestra.client import Client

        backoff = Backoff(5, 50)
        async with Client(self.server) as client:
            try:
                async with asyncio.timeout(LEADER_SECONDS):
                    while True:
                        try:
                            name = (await client.status(timeout=1.0)).leader
                        except ApiError as error:
                            log.debug("nobody leads yet", why=error)
                        else:
                            if name in self.masters and name != but:
                                return self.masters[name]
                        await asyncio.sleep(backoff.next_ms() / 1000)
            except TimeoutError:
                raise OrchestraError(f"no master leads after {LEADER_SECONDS:g} s") from None

    def _take_data_dir(self) -> None:
        """One cluster at a time in a directory: a second one would end the first one's pods as its own."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OrchestraError(f"{self.data_dir}: another orchestra up runs there") from None
        except OSError as error:
            raise OrchestraError(
                f"{self.data_dir}: cannot be used as data directory ({error.strerror})"
            ) from error

    def _agent(self, number: int) -> LocalProcess:
        assert self._block is not None
        name = f"n{number}"
        each = min(POD_PORTS_EACH_MAX, (LAST_POD_PORT - FIRST_POD_PORT + 1) // self._agent_count)
        first = FIRST_POD_PORT + (number - 1) * each
        member = LocalProcess(
            name,
            ["agent", "--name", name, "--master", self.server, "--data-dir", str(self.data_dir / name),
             "--address", self._block.address(number), "--runtime", self._runtime,
             "--port-range", f"{first}-{first + each - 1}", "--with-parent", "--stop-pods",
             *(["--capacity", self._capacity] if self._capacity else []),
             *(["-v", str(self._verbosity)] if self._verbosity else []), *self._agent_flags],
            self.data_dir / f"{name}.log",
            AGENT_RESTART_MS,
        )  # fmt: skip
        self.agents[name] = member
        return member

    def address(self, agent: str) -> str:
        """The node address of an agent."""
        assert self._block is not None
        return self._block.address(int(agent.removeprefix("n")))

    async def _run(self, member: LocalProcess) -> None:
        await member.spawn()
        member.keeper = asyncio.create_task(self._watch(member), name=f"up/{member.name}")

    async def _watch(self, member: LocalProcess) -> None:
        low, high = member.restart_ms or (1, 1)
        backoff = Backoff(low, high)
        failures = 0
        while True:
            assert member.process is not None
            since = time.monotonic()
            code = await member.process.wait()
            member.let_go()
            if member.stopping:
                return
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            words = f"; its last words:\n{member.last_words()}" if code > 0 else ""
            self._report(f"{member.name} {how}{words}")
            lived = time.monotonic() - since
            failures = failures + 1 if code > 0 and lived < MASTER_TRY_SECONDS else 0
            if lived > HEALTHY_SECONDS:
                backoff.reset()
            if member.name in self.masters and failures >= MASTER_TRIES:
                self._give_up(member.name)
                return
            if not self._keep or member.restart_ms is None:
                return
            member.started.clear()
            if not await self._again(member, backoff):
                return
            member.restarts += 1
            self._report(f"{member.name} restarted")

    def _give_up(self, name: str) -> None:
        """A master that cannot run: the others may do without."""
        self._given_up.add(name)
        left = len(self.masters) - len(self._given_up)
        if left <= (0 if self._store else len(self.masters) // 2):
            self.refused.set()
        else:
            self._report(f"{name} does not start: the other masters go on without it")

    async def _again(self, member: LocalProcess, backoff: Backoff) -> bool:
        """Starts a dead process once more, trying for ever; False when it is to be stopped meanwhile."""
        while True:
            await asyncio.sleep(backoff.next_ms() / 1000)
            if member.stopping:
                return False
            try:
                await member.spawn()
                return True
            except OSError as error:
                # Out of processes, memory, descriptors: it may pass.
                self._report(f"{member.name} cannot be restarted yet: {error}")

    def kill(self, member: LocalProcess) -> None:
        """kill -9 of the process itself."""
        if member.pid:
            os.kill(member.pid, signal.SIGKILL)

    def kill_machine(self, member: LocalProcess) -> None:
        """kill -9 of the process and of everything it started: what a machine's death takes with it."""
        for pid in (member.pid, *descendants(member.pid)) if member.pid else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pids(self) -> list[int]:
        """Every process of the cluster now, pods' included."""
        members = [member for member in (*self.masters.values(), *self.agents.values()) if member.pid]
        return [pid for member in members for pid in (member.pid, *descendants(member.pid))]

    async def restart(self, member: LocalProcess) -> None:
        """Starts a process that is dead and is not restarted by itself."""
        if member.keeper is not None:
            await member.keeper
        member.restarts += 1
        await self._run(member)

    async def stop(self) -> None:
        """Stops agents, which stop their pods, then the masters; nothing is left.

        Bound: what does not end in 15 s is killed.
        """
        await asyncio.gather(*(self._end(agent) for agent in self.agents.values()))
        await asyncio.gather(*(self._end(master) for master in self.masters.values()))
        await self._clear_leftovers()
        if self._block is not None:
            self._block.lock.close()
            self._block = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._given_dir is None and self.data_dir != Path():
            await asyncio.to_thread(shutil.rmtree, self.data_dir, ignore_errors=True)

    async def _clear_leftovers(self) -> None:
        """Ends what an agent that was killed, and had not come back, left running."""
        from agents.agent import stop_leftovers

        for agent in self.agents.values():
            stopped = await stop_leftovers(self.data_dir / agent.name)
            if stopped:
                log.info("stopped what a killed agent had left", agent=agent.name, processes=stopped)

    async def _end(self, member: LocalProcess) -> None:
        member.stopping = True
        process = member.process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._report(f"{member.name} did not stop in {STOP_SECONDS:g} s: killed")
                process.kill()
                await process.wait()
        if member.keeper is not None:
            member.keeper.cancel()
            await asyncio.wait([member.keeper])
        member.let_go()
