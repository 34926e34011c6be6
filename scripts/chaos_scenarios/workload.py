"""Clients of etcd's API at every master, which go on whatever happens."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from orchestra.mvcc.model import Compare, DeleteRange, Op, Put, Range, Result, Target, Txn
from scripts.chaos_scenarios.calls import Book, Endpoint, NoAnswer
from scripts.chaos_scenarios.cluster import Cluster
from scripts.chaos_scenarios.leasing import LeaseHolder
from scripts.chaos_scenarios.watching import Watcher

PREFIX: Final = b"chaos/"
PREFIX_END: Final = b"chaos0"
KEYS: Final = 8
# Between two calls of a client: so that two cores bear it beside three masters.
PAUSE_SECONDS: Final = 0.02
# After one that failed.
RETRY_SECONDS: Final = 0.1


class Workload:
    """For every master a writer, one that compares and writes, a reader, a watcher and a lease's holder."""

    def __init__(self, cluster: Cluster, seed: str, generation: str = "") -> None:
        self.book = Book()
        self.watchers: list[Watcher] = []
        self.holders: list[LeaseHolder] = []
        self._cluster = cluster
        self._seed = seed
        self._generation = generation
        self._actors: list[tuple[Endpoint, asyncio.Task[None]]] = []
        self._watching: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()

    def start(self) -> None:
        """Clients for every master that there is."""
        for name in self._cluster.masters:
            self.attend(name)
        for number, _ in enumerate(self._cluster.masters):
            watcher = Watcher(
                f"watcher {number}", self._cluster, self._rng(f"watcher {number}"), number, self.book
            )
            self.watchers.append(watcher)
            self._watching.append(asyncio.create_task(watcher.run()))

    def attend(self, name: str) -> None:
        """Clients for one master more."""
        self._act(name, "writer", self._write)
        self._act(name, "comparer", self._compare)
        self._act(name, "reader", self._read)
        endpoint = Endpoint(f"{name}/holder", self._cluster.etcd(name), self.book)
        holder = LeaseHolder(self._generation + name, endpoint, self.book, self._ending)
        self.holders.append(holder)
        self._actors.append((endpoint, asyncio.create_task(holder.run())))

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {self._generation} {name}")

    def _act(
        self, name: str, what: str, act: Callable[[Endpoint, random.Random, str, int], Awaitable[None]]
    ) -> None:
        client = f"{self._generation}{name}/{what}"
        endpoint = Endpoint(client, self._cluster.etcd(name), self.book)

        async def run() -> None:
            rng, number = self._rng(client), 0
            while not self._ending.is_set():
                number += 1
                try:
                    await act(endpoint, rng, client, number)
                except NoAnswer:
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    await asyncio.sleep(PAUSE_SECONDS * (0.5 + rng.random()))

        self._actors.append((endpoint, asyncio.create_task(run())))

    async def quiesce(self) -> None:
        """No further calls; those under way are awaited. Leases are kept no more. Watchers go on."""
        self._ending.set()
        for _, task in self._actors:
            await task
        for endpoint, _ in self._actors:
            await endpoint.close()
        self._actors.clear()

    async def told(self, revision: int, seconds: float) -> None:
        """Waits until every watcher knows everything up to a revision. Raises: TimeoutError."""
        async with asyncio.timeout(seconds):
            for watcher in self.watchers:
                await watcher.reached(revision)

    async def stop(self) -> None:
        """Ends everything, whatever is under way."""
        self._ending.set()
        tasks = [*(task for _, task in self._actors), *self._watching]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for endpoint, _ in self._actors:
            await endpoint.close()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # What the clients do, one step each.

    async def _write(self, at: Endpoint, rng: random.Random, client: str, number: int) -> None:
        key = f"chaos/k{rng.randrange(KEYS)}".encode()
        await at.put(Put(key, f"{client} {number}".encode(), prev_kv=rng.random() < 0.5))

    async def _compare(self, at: Endpoint, rng: random.Random, client: str, number: int) -> None:
        """Reads, and writes only if nobody else has meanwhile; sometimes several keys, or a deletion."""
        key = f"chaos/k{rng.randrange(KEYS)}".encode()
        read = await at.read(Range(key))
        revision = read.kvs[0].mod_revision if read.kvs else 0
        success: list[Op] = [Put(key, f"{client} {number} a".encode(), prev_kv=True)]
        dice = rng.random()
        if dice < 0.3:
            success.append(Put(b"chaos/both", f"{client} {number} b".encode()))
        elif dice < 0.45:
            success = [DeleteRange(key, prev_kv=True)]
        compare = Compare(key, Target.MOD, Result.EQUAL, revision)
        failure: list[Op] = [Range(key), Put(b"chaos/lost", f"{client} {number} c".encode())]
        await at.txn(Txn((compare,), tuple(success), tuple(failure if dice < 0.7 else failure[:1])))

    async def _read(self, at: Endpoint, rng: random.Random, client: str, number: int) -> None:
        serializable = rng.random() < 0.4
        if rng.random() < 0.5:
            await at.read(Range(PREFIX, PREFIX_END, serializable=serializable))
        else:
            await at.read(Range(f"chaos/k{rng.randrange(KEYS)}".encode(), serializable=serializable))
