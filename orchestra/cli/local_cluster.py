"""A whole cluster on this machine: one master process and several agent processes, started, watched, stopped.

Knows processes and addresses only; what runs inside is `orchestra master` and `orchestra agent`, the same
programs that run on separate machines. Used by `orchestra up`, the demo, the benchmarks and the tests.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestra.aio.backoff import Backoff
from orchestra.aio.supervisor import HEALTHY_SECONDS
from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger

log = get_logger("up")

DEFAULT_PORT = 7070
BLOCKS = 200
# Ports of the host for pods, disjoint for each agent, below the node ports and the kernel's ephemeral range.
FIRST_POD_PORT = 10_000
LAST_POD_PORT = 29_999
POD_PORTS_EACH_MAX = 1_000
# A master that ends by itself so often, as on a damaged log, will not run at the next try either.
MASTER_TRIES = 3
MASTER_TRY_SECONDS = 10.0
STOP_SECONDS = 15.0
LAST_WORDS_BYTES = 64 << 10
# The dead are restarted: a master at once, an agent as late as a machine that boots.
MASTER_RESTART_MS = (50, 5_000)
AGENT_RESTART_MS = (5_000, 30_000)


@dataclass(frozen=True, slots=True)
class Block:
    """Loopback addresses 127.77.<number>.0/24 that this cluster has for itself while `lock` is open."""

    number: int
    lock: socket.socket

    def address(self, agent: int) -> str:
        """The address of agent 1, 2, …"""
        return f"127.77.{self.number}.{10 + agent}"


def reserve_block() -> Block:
    """A block of addresses no other cluster on this machine uses.

    Raises: OrchestraError when all are taken.
    """
    for number in range(BLOCKS):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # An abstract name: the kernel forgets it with the process, however that ends.
            lock.bind(f"\0orchestra-block-{number}")
        except OSError:
            lock.close()
            continue
        return Block(number, lock)
    raise OrchestraError(f"{BLOCKS} clusters run on this machine already: stop one with Ctrl-C")


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there, else one the kernel picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise OrchestraError("no port is free on 127.0.0.1")


def descendants(root: int) -> list[int]:
    """Processes started by `root`, directly or not, from /proc; those whose parent died are not found."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we looked.
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        waiting += (kids := children.get(waiting.pop(), []))
        found += kids
    return found


@dataclass(slots=True)
class Member:
    """One process of the cluster, through its deaths and restarts."""

    name: str
    arguments: Sequence[str]
    log_path: Path
    restart_ms: tuple[int, int] | None
    process: asyncio.subprocess.Process | None = None
    lifeline: int = -1
    stopping: bool = False
    restarts: int = 0
    keeper: asyncio.Task[None] | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        """The process now, 0 if there is none."""
        return self.process.pid if self.process is not None and self.process.returncode is None else 0

    async def spawn(self) -> None:
        """Starts the process. It ends by itself when the write end of its standard input is closed: so
        nothing outlives whoever started the cluster, however that ends."""
        read_end, write_end = os.pipe()
        try:
            with self.log_path.open("ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "orchestra.cli.main",
                    *self.arguments,
                    stdin=read_end,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self.lifeline = write_end
        self.started.set()

    def let_go(self) -> None:
        """Closes the lifeline; the process stops by itself."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def last_words(self, lines: int = 5) -> str:
        """The end of the process's log: the sentence it ended with, if it found one."""
        try:
            with self.log_path.open("rb") as log_file:
                # Of a log that may have grown for days.
                log_file.seek(max(0, log_file.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
                text = log_file.read().decode(errors="replace")
        except OSError:
            return ""
        last = text.splitlines()[-lines:]
        return last[-1] if last and last[-1].startswith("error: ") else "\n".join(last)


class LocalCluster:
    """Starts, watches and stops the processes. An async context manager: leaving it stops everything.

    data_dir None: a temporary folder, removed at the end.
    keep: restart what dies by itself.
    """

    def __init__(
        self,
        agents: int = 3,
        *,
        data_dir: Path | None = None,
        port: int = DEFAULT_PORT,
        exact_port: bool = False,
        capacity: str = "",
        runtime: str = "auto",
        master_flags: Sequence[str] = (),
        agent_flags: Sequence[str] = (),
        keep: bool = True,
        verbosity: int = 0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._agent_count = agents
        self._given_dir = data_dir
        self._wanted_port = port
        self._exact_port = exact_port
        self._capacity = capacity
        self._runtime = runtime
        self._master_flags = master_flags
        self._agent_flags = agent_flags
        self._keep = keep
        self._verbosity = verbosity
        self._report = report or log.info
        self._block: Block | None = None
        self.data_dir = Path()
        self.server = ""
        self._lock = -1
        # Why the master cannot be started, once it has failed too often.
        self.refused = asyncio.Event()
        self.master: Member | None = None
        self.agents: dict[str, Member] = {}

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
        self._block = reserve_block()
        port = free_port(self._wanted_port)
        if self._exact_port and self._wanted_port not in (0, port):
            raise OrchestraError(f"port {self._wanted_port} on 127.0.0.1 is taken: give another, or none")
        self.server = f"127.0.0.1:{port}"
        verbose = ["-v", str(self._verbosity)] if self._verbosity else []
        self.master = Member(
            "m1",
            ["master", "--name", "m1", "--listen", self.server, "--data-dir", str(self.data_dir / "m1"),
             "--with-parent", *verbose, *self._master_flags],
            self.data_dir / "m1.log",
            MASTER_RESTART_MS,
        )  # fmt: skip
        await self._run(self.master)
        for number in range(1, self._agent_count + 1):
            await self._run(self._agent(number))

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

    def _agent(self, number: int) -> Member:
        assert self._block is not None
        name = f"n{number}"
        each = min(POD_PORTS_EACH_MAX, (LAST_POD_PORT - FIRST_POD_PORT + 1) // self._agent_count)
        first = FIRST_POD_PORT + (number - 1) * each
        member = Member(
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

    async def _run(self, member: Member) -> None:
        await member.spawn()
        member.keeper = asyncio.create_task(self._watch(member), name=f"up/{member.name}")

    async def _watch(self, member: Member) -> None:
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
            if member is self.master and failures >= MASTER_TRIES:
                self.refused.set()
                return
            if not self._keep or member.restart_ms is None:
                return
            member.started.clear()
            if not await self._again(member, backoff):
                return
            member.restarts += 1
            self._report(f"{member.name} restarted")

    async def _again(self, member: Member, backoff: Backoff) -> bool:
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

    def kill(self, member: Member) -> None:
        """kill -9 of the process itself."""
        if member.pid:
            os.kill(member.pid, signal.SIGKILL)

    def kill_machine(self, member: Member) -> None:
        """kill -9 of the process and of everything it started: what a machine's death takes with it."""
        for pid in (member.pid, *descendants(member.pid)) if member.pid else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pids(self) -> list[int]:
        """Every process of the cluster now, pods' included."""
        members = [
            member for member in (self.master, *self.agents.values()) if member is not None and member.pid
        ]
        return [pid for member in members for pid in (member.pid, *descendants(member.pid))]

    async def restart(self, member: Member) -> None:
        """Starts a process that is dead and is not restarted by itself."""
        if member.keeper is not None:
            await member.keeper
        member.restarts += 1
        await self._run(member)

    async def stop(self) -> None:
        """Stops agents, which stop their pods, then the master; nothing is left.

        Bound: what does not end in 15 s is killed.
        """
        await asyncio.gather(*(self._end(agent) for agent in self.agents.values()))
        if self.master is not None:
            await self._end(self.master)
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

    async def _end(self, member: Member) -> None:
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
