"""Calls of etcd's API at one master, each recorded with its times and its outcome."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import grpc
import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.aio.rpc.limits import FAILOVER_KEEPALIVE
from orchestra.mvcc.model import Put, Range, RangeResult, Txn, TxnResult
from orchestra.pb import etcd_rpc_pb2_grpc as rpc
from scripts.chaos_scenarios import wire
from tests.simulation.group.history import Call, History

_T = TypeVar("_T")

CALL_SECONDS: Final = 2.5
# The words of gRPC's C core for a call that found no connection to be sent on.
_NOT_SENT: Final = "failed to connect"
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
# What a server that works must never say.
_DEFECTS: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})


class NoAnswer(Exception):
    """The call was refused, or what became of it is not known. void: it was certainly not done."""

    def __init__(self, why: str, *, void: bool) -> None:
        super().__init__(why)
        self.void = void


@dataclass(slots=True)
class Book:
    """All calls of a trial, and what was odd about the answers."""

    history: History = field(default_factory=History)
    outcomes: Counter[str] = field(default_factory=Counter)
    whys: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    # When writes were acknowledged; when the last one of them that was asked was asked.
    writes: list[float] = field(default_factory=list)
    newest_asked: float = 0.0
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    # When a deletion, by key and revision, was first seen by any watcher.
    gone: dict[tuple[bytes, int], float] = field(default_factory=dict)


def longest_gap(writes: Sequence[float], since: float, until: float) -> float:
    """Seconds without an acknowledged write."""
    moments = [since, *(at for at in sorted(writes) if since < at < until), until]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


class Endpoint:
    """A client of one master."""

    def __init__(self, client: str, address: str, book: Book) -> None:
        self._client = client
        self._book = book
        self.channel = open_channel(address, keepalive=FAILOVER_KEEPALIVE)
        self._kv: rpc.KVAsyncStub = rpc.KVStub(self.channel)
        self.leases: rpc.LeaseAsyncStub = rpc.LeaseStub(self.channel)
        self.watches: rpc.WatchAsyncStub = rpc.WatchStub(self.channel)

    async def close(self) -> None:
        """Ends the connection."""
        await self.channel.close()

    async def read(self, ask: Range) -> RangeResult:
        """Raises: NoAnswer."""
        call = self._book.history.begin(self._client, ask, time.monotonic())
        answer = await self.ask(self._kv.Range(wire.range_request(ask), timeout=CALL_SECONDS), call)
        call.returned = time.monotonic()
        call.result = result = wire.range_result(answer)
        return result

    async def put(self, put: Put) -> TxnResult:
        """Raises: NoAnswer."""
        call = self._book.history.begin(self._client, Txn((), (put,)), time.monotonic())
        answer = await self.ask(self._kv.Put(wire.put_request(put), timeout=CALL_SECONDS), call)
        return self._wrote(call, wire.put_result(answer))

    async def txn(self, txn: Txn) -> TxnResult:
        """Raises: NoAnswer."""
        call = self._book.history.begin(self._client, txn, time.monotonic())
        answer = await self.ask(self._kv.Txn(wire.txn_request(txn), timeout=CALL_SECONDS), call)
        return self._wrote(call, wire.txn_result(answer))

    def _wrote(self, call: Call, result: TxnResult) -> TxnResult:
        call.returned = time.monotonic()
        call.result = result
        self._book.writes.append(call.returned)
        self._book.newest_asked = max(self._book.newest_asked, call.invoked)
        self._book.wrote.set()
        return result

    async def ask(self, answer: Awaitable[_T], call: Call | None = None) -> _T:
        """Awaits an answer and counts its outcome. Raises: NoAnswer."""
        try:
            given = await answer
        except grpc.aio.AioRpcError as error:
            raise self._counted(error, call) from None
        except asyncio.CancelledError:
            # By whoever ends the workload: it may be done all the same.
            self._book.outcomes["unknown"] += 1
            raise
        self._book.outcomes["ok"] += 1
        return given

    def _counted(self, error: grpc.aio.AioRpcError, call: Call | None) -> NoAnswer:
        code, words = error.code(), error.details() or ""
        void = code in _REFUSALS or (code is grpc.StatusCode.UNAVAILABLE and words.startswith(_NOT_SENT))
        self._book.outcomes["refused" if void else "unknown"] += 1
        self._book.whys[f"{code.name}: {words[:80]}"] += 1
        if code in _DEFECTS:
            self._book.defects.append(f"{self._client} was told {code.name}: {words}")
        if call is not None:
            call.refused, call.void = words, void
        return NoAnswer(f"{code.name}: {words}", void=void)
