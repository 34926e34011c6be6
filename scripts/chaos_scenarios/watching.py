"""A watcher that moves from master to master and goes on where it was."""

import asyncio
import contextlib
import random
import time
from typing import Final

import grpc.aio

from orchestra.mvcc.model import EventType
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.store.contract import WatchBatch
from scripts.chaos_scenarios import wire
from scripts.chaos_scenarios.calls import Book, Endpoint
from scripts.chaos_scenarios.cluster import Cluster
from tests.simulation.group.watches import Watched

PREFIX: Final = b"chaos/"
PREFIX_END: Final = b"chaos0"
# How long it stays with one master at most.
STAY_SECONDS: Final = 3.0
CREATE_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 0.05


async def next_of(
    stream: "grpc.aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]",
) -> pb.WatchResponse | None:
    """The next answer; None when the stream has ended."""
    answer = await stream.read()
    return answer if isinstance(answer, pb.WatchResponse) else None


class Watcher:
    """Watches the workload's keys from the beginning, with the values before."""

    def __init__(self, name: str, cluster: Cluster, rng: random.Random, at: int, book: Book) -> None:
        self.watched = Watched(name, PREFIX, PREFIX_END, True, 1)
        self.resumed = 0
        self._cluster = cluster
        self._rng = rng
        self._at = at
        self._book = book
        self._more = asyncio.Event()

    async def reached(self, revision: int) -> None:
        """Waits until everything up to the revision was told."""
        while self.watched.told < revision:
            self._more.clear()
            await self._more.wait()

    async def run(self) -> None:
        """Until cancelled. Raises: Violation."""
        while True:
            names = list(self._cluster.masters)
            name = names[self._at % len(names)]
            self._at += 1
            endpoint = Endpoint(self.watched.name, self._cluster.etcd(name), self._book)
            try:
                await self._watch(endpoint)
            except grpc.aio.AioRpcError as error:
                self._book.whys[f"watch {error.code().name}: {(error.details() or '')[:80]}"] += 1
                await asyncio.sleep(RETRY_SECONDS)
            except TimeoutError:
                # It has stayed for long enough, or was not let in.
                pass
            finally:
                await endpoint.close()
            self.resumed += 1

    async def _watch(self, endpoint: Endpoint) -> None:
        create = pb.WatchCreateRequest(
            key=PREFIX, range_end=PREFIX_END, start_revision=self.watched.told + 1, prev_kv=True
        )
        stream = endpoint.watches.Watch()
        asking: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CREATE_SECONDS):
                await stream.write(pb.WatchRequest(create_request=create))
                created = await next_of(stream)
            if created is None or not created.created or created.canceled:
                raise TimeoutError
            asking = asyncio.create_task(self._ask_for_progress(stream))
            async with asyncio.timeout(STAY_SECONDS * (0.3 + self._rng.random())):
                while True:
                    response = await next_of(stream)
                    if response is None or response.canceled:
                        return
                    self._took(response)
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
            stream.cancel()

    async def _ask_for_progress(
        self, stream: "grpc.aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]"
    ) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await asyncio.sleep(0.2)
                await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def _took(self, response: pb.WatchResponse) -> None:
        events = [wire.event(each) for each in response.events]
        # What comes with events may be behind the header; a response without says how far it is.
        revision = events[-1].kv.mod_revision if events else response.header.revision
        if not events and revision < self.watched.told:
            # etcd promises nothing of a progress below what was asked from: told at another master.
            return
        self.watched.took(WatchBatch(revision, events))
        for event in events:
            if event.type is EventType.DELETE:
                self._book.gone.setdefault((event.kv.key, event.kv.mod_revision), time.monotonic())
        self._more.set()
