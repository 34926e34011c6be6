"""Answering OpenLog: the agent dials PushLog and streams a container's log, as fast as it is taken."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc.aio

from agents.logs import LogFailure, LogQuery, Position, read_positioned, runs_of
from agents.pod_state import ContainerState
from agents.worker import PodWorker
from orchestra.base.log import get_logger
from orchestra.objects.times import ns_of
from orchestra.pb import agent_v1_pb2 as wire
from orchestra.pb import agent_v1_pb2_grpc as rpc
from orchestra.pb import api_v1_pb2 as api

log = get_logger("agent.logs")

STREAMS_MAX = 64
_PIECE = 64 << 10
_Call: TypeAlias = "grpc.aio.StreamUnaryCall[wire.PushLogMessage, wire.PushLogResponse]"
_NS = 1_000_000_000
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def _stamp(wall_ns: int) -> str:
    seconds, nanos = divmod(max(0, wall_ns), _NS)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanos:09d}Z"


def query_of(options: api.LogOptions, wall_ns: int) -> LogQuery:
    """The options as the reader takes them."""
    since = ""
    at = None
    if options.position:
        _, at, since = parse_position(options.position)
    elif options.HasField("since_seconds"):
        since = _stamp(wall_ns - options.since_seconds * _NS)
    elif options.HasField("since_time"):
        since = _stamp(ns_of(options.since_time))
    return LogQuery(
        options.follow,
        options.tail_lines if options.HasField("tail_lines") else -1,
        since,
        options.timestamps,
        options.limit_bytes if options.HasField("limit_bytes") else -1,
        at,
    )


def position_text(run: int, position: Position, since: str) -> str:
    """A position as callers hold it: of which run, where, and from when on it was asked for."""
    return f"{run}/{position.inode}/{position.offset}/{since}"


def parse_position(text: str) -> tuple[int, Position, str]:
    """(run, position, since). Raises: LogFailure."""
    parts = text.split("/", 3)
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts[:3]):
        raise LogFailure(f'"{text[:64]}" is no position in a log: use one that came with it')
    return int(parts[0]), Position(int(parts[1]), int(parts[2])), parts[3]


def _state_of(worker: PodWorker, name: str) -> ContainerState:
    machine = worker.machine
    pod = worker.pod.metadata
    names = [c.plan.name for c in machine.containers]
    if not name:
        name = pod.annotations.get(_DEFAULT_CONTAINER, "")
        if not name and len(machine.mains) == 1:
            name = machine.mains[0].plan.name
    if not name:
        raise LogFailure(
            f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(names)}]"
        )
    state = machine.container(name)
    if state is None:
        raise LogFailure(
            f"container {name} is not valid for pod {pod.name}, choose one of: [{' '.join(names)}]"
        )
    return state


class LogStreams:
    """All open log streams of an agent. Bound: 64."""

    def __init__(self, find: Callable[[str], PodWorker | None]) -> None:
        self._find = find
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, order: wire.OpenLog, stub: rpc.AgentsStub) -> None:
        """Begins one."""
        task = asyncio.get_running_loop().create_task(self._push(order, stub), name=f"log/{order.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends all."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _push(self, order: wire.OpenLog, stub: rpc.AgentsStub) -> None:
        # The generated type of a request-streaming call knows only its iterator form.
        call: _Call = cast(Any, stub).PushLog()
        me = asyncio.current_task()

        # Whoever asked may go while nothing is written: the call's end ends this task.
        def gone(_: Any) -> None:
            if me is not None:
                me.cancel()

        call.add_done_callback(gone)
        try:
            await call.write(wire.PushLogMessage(id=order.id))
            try:
                if len(self._tasks) > STREAMS_MAX:
                    raise LogFailure(f"this node serves {STREAMS_MAX} log streams already: try again later")
                await self._copy(order, call)
            except LogFailure as error:
                await call.write(wire.PushLogMessage(error=str(error)))
            await call.done_writing()
            await call
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            log.debug("a log's reader went away", why=error)
        except asyncio.CancelledError:
            if not call.done():
                call.cancel()
        except Exception as error:  # noqa: BLE001 - nobody waits for this task
            log.error("a log stream failed", error, pod=f"{order.namespace}/{order.pod}")
            call.cancel()

    async def _copy(self, order: wire.OpenLog, call: _Call) -> None:
        worker = self._find(order.uid)
        if worker is None:
            raise LogFailure(f"pod {order.namespace}/{order.pod} is not on this node")
        state = _state_of(worker, order.options.container)
        name = state.plan.name
        runs = runs_of(worker.directory.log(name, 1).parent)
        wanted = state.run - 1 if order.options.previous else state.run
        if order.options.position:
            wanted = parse_position(order.options.position)[0]
        if order.options.previous and (wanted < 1 or wanted not in runs):
            raise LogFailure(f'previous terminated container "{name}" in pod "{order.pod}" not found')
        if wanted not in runs:
            raise LogFailure(f'container "{name}" in pod "{order.pod}" is waiting to start')

        def ended() -> bool:
            return state.run != wanted or not state.live

        query = query_of(order.options, time.time_ns())
        async with aclosing(read_positioned(worker.directory.log(name, wanted), query, ended)) as pieces:
            async for data, position in pieces:
                where = position_text(wanted, position, query.since)
                for start in range(0, max(1, len(data)), _PIECE):
                    last = start + _PIECE >= len(data)
                    await call.write(
                        wire.PushLogMessage(data=data[start : start + _PIECE], position=where if last else "")
                    )
