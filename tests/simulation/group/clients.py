"""Clients of one member's process: they write, read, watch and hold leases, and write down what they see."""

import asyncio
import random
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from orchestra.mvcc.errors import Refused
from orchestra.mvcc.model import Compare, DeleteRange, Op, Put, Range, Result, Target, Txn
from orchestra.store.contract import Compacted, LeaseNotFound, Store, StoreUnavailable
from tests.simulation.group.watches import Watched

if TYPE_CHECKING:
    from tests.simulation.group.world import World

T = TypeVar("T")

CALL_SECONDS = 4.0
KEYS = tuple(f"k/{number:02}".encode() for number in range(8))
_PREFIX, _PREFIX_END = b"k/", b"k0"


_WHAT = ("put", "swap", "delete", "two", "get", "range", "lease", "compact")
_MIXES = {
    "mixed": (45, 15, 6, 6, 14, 9, 3.5, 1.5),
    "reads": (20, 5, 2, 3, 55, 14, 1, 0.5),
    "swaps": (20, 50, 6, 6, 10, 6, 1, 1),
    "leases": (25, 10, 5, 5, 10, 5, 40, 0),
    "compactions": (50, 10, 10, 10, 5, 10, 1, 8),
}


class Client:
    """One client, in the process of a member."""

    def __init__(self, world: "World", name: str, store: Store, rng: random.Random) -> None:
        self._world = world
        self._name = name
        self._store = store
        self._rng = rng
        self._numbers = 0

    async def run(self, pause_seconds: float) -> None:
        """Calls after call while the world is busy."""
        rng, world = self._rng, self._world
        while not world.quiet:
            await asyncio.sleep(rng.random() ** 2 * pause_seconds)
            (what,) = rng.choices(_WHAT, _MIXES[world.theme])
            if what == "put":
                await self._call(Txn(success=(self._put(),)))
            elif what == "swap":
                await self._call(self._compare_and_swap())
            elif what == "delete":
                await self._call(Txn(success=(DeleteRange(rng.choice(KEYS), prev_kv=True),)))
            elif what == "two":
                await self._call(Txn(success=(self._put(), Put(b"k/other", self._value()))))
            elif what == "get":
                await self._call(Range(rng.choice(KEYS), serializable=rng.random() < 0.2))
            elif what == "range":
                await self._call(self._read_range())
            elif what == "lease":
                await self._lease()
            else:
                await self._compact()

    def _value(self) -> bytes:
        self._numbers += 1
        return f"{self._name}#{self._numbers}".encode()

    def _put(self) -> Put:
        return Put(self._rng.choice(KEYS), self._value(), prev_kv=self._rng.random() < 0.3)

    def _compare_and_swap(self) -> Txn:
        key, newest = self._rng.choice(KEYS), self._store.revision
        target = self._rng.choice((Target.MOD, Target.VERSION))
        value = self._rng.randint(0, 3) if target is Target.VERSION else self._rng.randint(newest - 5, newest)
        compare = Compare(key, target, Result.EQUAL if value < newest - 2 else Result.LESS, max(value, 0))
        kept: tuple[Op, ...] = (Range(key),) if self._rng.random() < 0.5 else ()
        return Txn((compare,), (Put(key, self._value()),), kept)

    def _read_range(self) -> Range:
        rng = self._rng
        revision = 0
        if rng.random() < 0.3:
            revision = max(self._store.revision - rng.randint(0, 20), 1)
        return Range(
            _PREFIX,
            _PREFIX_END,
            limit=rng.choice((0, 0, 3)),
            revision=revision,
            count_only=rng.random() < 0.1,
        )

    async def _bounded(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(CALL_SECONDS):
            return await work

    async def _call(self, request: Txn | Range) -> None:
        world = self._world
        call = world.history.begin(self._name, request, world.timeline.now)
        try:
            if isinstance(request, Txn):
                call.result = await self._bounded(self._store.txn(request))
            else:
                call.result = await self._bounded(self._store.range(request))
            call.returned = world.timeline.now
            world.answered += 1
        except Refused as refusal:
            call.returned, call.refused = world.timeline.now, str(refusal)
            call.void = True
        except (StoreUnavailable, TimeoutError) as error:
            call.refused = f"{type(error).__name__}: {error}"

    async def _compact(self) -> None:
        newest = self._store.revision
        try:
            await self._bounded(self._store.compact(max(newest - self._rng.randint(5, 60), 1)))
        except (Refused, StoreUnavailable, TimeoutError):
            return

    async def _lease(self) -> None:
        world, rng = self._world, self._rng
        lease, ttl = rng.getrandbits(40) + 1, rng.randint(1, 4)
        invoked = world.timeline.now
        try:
            await self._bounded(self._store.lease_grant(ttl, lease))
            world.promises.promised(lease, invoked, ttl)
            for _ in range(rng.randint(0, 12)):
                if world.quiet:
                    return
                if rng.random() < 0.4:
                    await self._call(Txn(success=(Put(rng.choice(KEYS), self._value(), lease),)))
                await asyncio.sleep(ttl * rng.uniform(0.02, 0.6))
                invoked = world.timeline.now
                left = await self._bounded(self._store.lease_keep_alive(lease))
                world.promises.promised(lease, invoked, left)
            if rng.random() < 0.3:
                world.promises.revoking.add(lease)
                await self._bounded(self._store.lease_revoke(lease))
        except (LeaseNotFound, StoreUnavailable, TimeoutError):
            return


class Watcher:
    """Watches a range for as long as the world lasts, moving on when its member dies."""

    def __init__(self, world: "World", watched: Watched, rng: random.Random) -> None:
        self.watched = watched
        self._world = world
        self._rng = rng

    async def run(self, store: Store) -> None:
        """Watches at one store until its end."""
        watched = self.watched
        try:
            with store.watch(
                watched.key, watched.range_end, start_revision=watched.told + 1, prev_kv=watched.prev_kv
            ) as watch:
                if self._rng.random() < 0.3:
                    watch.request_progress()
                async for batch in watch:
                    watched.took(batch)
                    if self._rng.random() < 0.1:
                        # A slow reader.
                        await asyncio.sleep(self._rng.random() * 2.0)
                    if self._rng.random() < 0.1:
                        watch.request_progress()
        except Compacted as error:
            watched.forgotten(error.compact_revision)
        except StoreUnavailable:
            await asyncio.sleep(0.1)
