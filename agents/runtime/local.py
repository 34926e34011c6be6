"""The Runtime over the node's spawner process, with namespaces or without.

Both isolations are the same code path: the spawner leaves out namespaces and mounts where the machine does
not allow them. The spawner outlives this process; `Local.open` finds a living one by its socket in the data
directory, and clears away what a dead one left.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.runtime.contract import (
    CommandResult,
    ContainerSpec,
    Exit,
    Launch,
    Recovered,
    RuntimeFailure,
    RuntimeLost,
    SandboxSpec,
    Usage,
)
from agents.runtime.spawner import tree
from orchestra.base.log import get_logger

log = get_logger("agent.runtime")

_FRAME_MAX = 8 << 20
_REQUEST_TIMEOUT_S = 30.0
# Killing a tree can take a while on a machine that swaps.
_CLOSE_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 10.0
# Its last connection is gone: it has nothing more to do but end.
_REAP_TIMEOUT_S = 2.0
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from agents.runtime.spawner.main import main; sys.exit(main(sys.argv[2:]))"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """The spawner's files in the data directory."""

    directory: Path

    @property
    def endpoint(self) -> Path:
        return self.directory / "spawner.sock"

    @property
    def tag(self) -> Path:
        return self.directory / "spawner.tag"

    def node_tag(self) -> int:
        """The node's random number, made at the first start."""
        try:
            return int(self.tag.read_text())
        except (OSError, ValueError):
            made = tree.new_node_tag()
            partial = self.tag.with_suffix(".partial")
            partial.write_text(str(made))
            partial.replace(self.tag)
            return made

    @contextlib.contextmanager
    def address(self) -> Any:
        """The socket's path in a form that is never too long for a socket address."""
        fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{fd}/{self.endpoint.name}"
        finally:
            os.close(fd)

    def connect(self) -> socket.socket | None:
        """A connection to a living spawner, None if there is none."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self.address() as address:
                link.connect(address)
        except OSError:
            link.close()
            return None
        link.setblocking(False)
        return link


def clear_leftovers(data_dir: Path) -> int:
    """Kills every process that a dead spawner of this data directory left. The number of them."""
    place = _Place(data_dir)
    if not place.tag.exists():
        return 0
    node_tag = place.node_tag()
    count = 0
    for _ in range(100):
        found = tree.leftovers(node_tag)
        if not found:
            break
        count += len(found)
        for pid in found:
            tree.kill(pid, node_tag)
    return count


def _launch(place: _Place, runtime: str, linger_s: float) -> int:
    """Starts a spawner; its pid. subprocess forks in C without running Python: safe beside gRPC's threads."""
    with contextlib.suppress(FileNotFoundError):
        place.endpoint.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with place.address() as address:
        listener.bind(address)
    place.endpoint.chmod(0o600)
    listener.listen(4)
    ready_r, ready_w = os.pipe()
    root = str(Path(__file__).resolve().parents[2])
    words = [str(listener.fileno()), str(place.node_tag()), runtime, str(linger_s), str(ready_w)]
    try:
        with (place.directory / "spawner.log").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, root, *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                pass_fds=(listener.fileno(), ready_w),
                start_new_session=True,
            )
        os.close(ready_w)
        ready_w = -1
        answer = os.read(ready_r, 1024).decode(errors="replace")
    finally:
        os.close(ready_r)
        if ready_w >= 0:
            os.close(ready_w)
        listener.close()
    # It is nobody's to wait for: this process may be replaced while it lives on.
    process.returncode = 0
    if answer != "+":
        said_path = place.directory / "spawner.log"
        raise RuntimeFailure(answer.removeprefix("!") or f"the spawner did not start: see {said_path}")
    return process.pid


class Local:
    """A connection to the spawner. One reader task resolves replies and queues exits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, child: int = 0) -> None:
        # The spawner's pid if this process started it, and so has to wait for its end.
        self._child = child
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        # Bound: one exit a container, and containers are bounded by the node's pods.
        self._exits: asyncio.Queue[Exit | None] = asyncio.Queue()
        self._isolation = "host"
        self._lost: str = ""
        self._task = asyncio.get_running_loop().create_task(self._read(), name="spawner-link")

    @classmethod
    async def open(cls, data_dir: Path, runtime: str = "auto", linger_s: float = -1.0) -> "Local":
        """Connects to the data directory's spawner, starting one where none lives.

        runtime: `auto`, `host` or `namespaces`. linger_s: how long a spawner without an agent keeps its
        containers, negative: for ever.
        Raises: RuntimeFailure when the machine does not allow what is asked for.
        """
        place = _Place(data_dir)
        data_dir.mkdir(parents=True, exist_ok=True)
        link = place.connect()
        child = 0
        if link is None:
            cleared = await asyncio.to_thread(clear_leftovers, data_dir)
            if cleared:
                log.warning("killed processes that a dead spawner left", processes=cleared)
            child = await asyncio.to_thread(_launch, place, runtime, linger_s)
            link = place.connect()
        if link is None:
            raise RuntimeFailure(
                f"the spawner at {place.endpoint} does not answer: see spawner.log beside it"
            )
        reader, writer = await asyncio.open_unix_connection(sock=link, limit=_FRAME_MAX)
        return cls(reader, writer, child)

    @classmethod
    async def connect(cls, data_dir: Path) -> "Local | None":
        """Connects to a living spawner of the data directory, None if there is none."""
        if not data_dir.is_dir():
            return None
        link = _Place(data_dir).connect()
        if link is None:
            return None
        reader, writer = await asyncio.open_unix_connection(sock=link, limit=_FRAME_MAX)
        return cls(reader, writer)

    @property
    def isolation(self) -> str:
        return self._isolation

    async def _read(self) -> None:
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                message = json.loads(await self._reader.readexactly(size))
                if message.get("event") == "exit":
                    self._exits.put_nowait(_exit_of(message))
                    continue
                waiting = self._waiting.pop(message["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
        except (asyncio.IncompleteReadError, OSError) as error:
            self._lose(f"the spawner is gone ({error})")
        except (ValueError, KeyError) as error:
            # Whoever waits must hear of it, or would wait for ever.
            self._lose(f"the spawner says what nobody understands ({error!r})")

    def _lose(self, why: str) -> None:
        self._lost = why
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(RuntimeLost(why))
        self._waiting.clear()
        self._exits.put_nowait(None)

    async def _ask(self, op: str, timeout_s: float = _REQUEST_TIMEOUT_S, **words: Any) -> dict[str, Any]:
        if self._lost:
            raise RuntimeLost(self._lost)
        number = next(self._ids)
        frame = json.dumps({"op": op, "id": number, **words}).encode()
        if len(frame) > _FRAME_MAX:
            raise RuntimeFailure("command and environment together are larger than 8 MiB")
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._writer.write(len(frame).to_bytes(4, "big") + frame)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await waiting
        except TimeoutError:
            if op == "start":
                # It may be started yet, and nobody would know of it: requests are answered in their order.
                kill = json.dumps({"op": "kill", "id": next(self._ids), "container": words["container"]})
                self._writer.write(len(kill).to_bytes(4, "big") + kill.encode())
            raise RuntimeFailure(f"the spawner did not answer {op} within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if not reply["ok"]:
            raise RuntimeFailure(reply["error"], reply.get("errno", 0), reply.get("stage", ""))
        return reply

    async def open_sandbox(self, spec: SandboxSpec) -> None:
        await self._ask(
            "open",
            pod=spec.pod,
            hostname=spec.hostname,
            share_pids=spec.share_pids,
            tmpfs=[list(item) for item in spec.memory_volumes],
            blob=spec.checkpoint,
        )

    async def remember(self, pod: str, checkpoint: str) -> None:
        await self._ask("remember", pod=pod, blob=checkpoint)

    async def start(self, spec: ContainerSpec) -> Launch:
        reply = await self._ask(
            "start",
            container=spec.container,
            pod=spec.pod,
            argv=list(spec.argv),
            env=dict(spec.environment),
            cwd=spec.working_directory,
            log=spec.log_path,
            log_bytes_max=spec.log_bytes_max,
            log_files_max=spec.log_files_max,
            scratch=spec.scratch,
            mounts=[[m.source, m.target, m.read_only, m.volume] for m in spec.mounts],
        )
        return Launch(reply["pid"], reply["started_ns"])

    async def signal(self, container: str, number: int) -> None:
        await self._ask("signal", container=container, signal=number)

    async def kill(self, container: str) -> None:
        await self._ask("kill", container=container)

    async def execute(self, container: str, argv: Sequence[str], timeout_s: float) -> CommandResult:
        reply = await self._ask(
            "execute",
            timeout_s=timeout_s + _REQUEST_TIMEOUT_S,
            container=container,
            argv=list(argv),
            timeout_ms=max(1, int(timeout_s * 1000)),
        )
        return CommandResult(reply["code"], reply["output"], reply["timed_out"])

    async def stats(self, pod: str) -> Mapping[str, Usage]:
        reply = await self._ask("stats", pod=pod)
        return {name: Usage(*found) for name, found in reply["usage"].items()}

    async def close_sandbox(self, pod: str) -> None:
        await self._ask("close", timeout_s=_CLOSE_TIMEOUT_S, pod=pod)

    async def recover(self) -> Recovered:
        reply = await self._ask("list")
        self._isolation = "namespaces" if reply["isolated"] else "host"
        running: dict[str, Launch] = {}
        exits: list[Exit] = []
        for found in reply["containers"]:
            if found["ended"]:
                exits.append(_exit_of(found))
                await self._ask("acknowledge", container=found["container"])
            else:
                running[found["container"]] = Launch(found["pid"], found["started_ns"])
        return Recovered({p["pod"]: p["blob"] for p in reply["pods"]}, running, tuple(exits))

    async def exits(self) -> AsyncIterator[Exit]:
        while True:
            found = await self._exits.get()
            if found is None:
                raise RuntimeLost(self._lost)
            yield found
            if not self._lost:
                try:
                    await self._ask("acknowledge", container=found.container)
                except RuntimeFailure as error:
                    # It will be told once more, to the next agent; that the spawner is lost, the queue says.
                    log.warning("an end is not acknowledged", container=found.container, why=error)

    async def close(self, *, stop: bool) -> None:
        """Ends the connection; with `stop`, every container and the spawner first."""
        if stop and not self._lost:
            with contextlib.suppress(RuntimeFailure):
                await self._ask("shutdown", timeout_s=_START_TIMEOUT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._task), _CLOSE_TIMEOUT_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        if self._child and self._lost:
            await _reap(self._child)


async def _reap(child: int) -> None:
    """Waits for the spawner's end. Bound: 2 s; one that only let go of this agent may live on."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    fd = os.pidfd_open(child)
    loop.add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(_REAP_TIMEOUT_S):
            await ended.wait()
        await asyncio.to_thread(os.waitpid, child, 0)
    except (TimeoutError, ChildProcessError):
        log.warning("the spawner let go of this agent and lives on", pid=child)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _exit_of(message: Mapping[str, Any]) -> Exit:
    return Exit(
        message["container"],
        message["pod"],
        message["code"],
        message["signal"],
        message["started_ns"],
        message["exited_ns"],
    )
