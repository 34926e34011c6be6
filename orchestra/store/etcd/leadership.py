"""Leadership among masters on an etcd cluster: a key with a lease, as in etcd's own elections.

Whoever creates LEADER_KEY leads until it is gone; the key goes with its lease. Writes carry the revision that
created it, so what a deposed leader still sends is refused by etcd itself, whatever its clock said.
"""

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from orchestra.aio.backoff import Backoff
from orchestra.aio.supervisor import Supervisor
from orchestra.base.clock import NS_PER_SECOND, Clock, SystemClock
from orchestra.base.log import get_logger
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.mvcc.model import Compare, KeyValue, Put, Range, RangeResult, Result, Target, Txn
from orchestra.store.contract import Compacted, Refused, StoreUnavailable
from orchestra.store.etcd.store import EtcdStore
from orchestra.store.leadership import LEADER_KEY, Leader

log = get_logger("store.etcd.leadership")

TTL_SECONDS: Final = 5
RESIGN_SECONDS: Final = 1.0
RETRY_MS: Final = 50
RETRY_MS_MAX: Final = 1000
# Of the lease's time, what is left to other clocks' running faster than this one.
_SAFE_TENTHS: Final = 9


class EtcdMandate:
    """One time of leading."""

    __slots__ = ("_over", "guards", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.guards: Sequence[Compare] = (Compare(LEADER_KEY, Target.CREATE, Result.EQUAL, revision),)
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether it may have ended."""
        return self._over.is_set()

    def end(self) -> None:
        """It may have ended: its holder stops."""
        self._over.set()

    async def over(self) -> None:
        """Returns when the mandate may have ended; its holder has to stop then."""
        await self._over.wait()


class EtcdLeadership:
    """One master's part in the contest, for as long as it is open. `async with`, inside of the store's.

    name, address: what the others learn of this one. ttl_seconds: after a leader's silent death another one
    leads within about that time; 2 at least. Closing resigns, so that the next one leads at once.
    """

    def __init__(
        self,
        store: EtcdStore,
        name: str,
        address: str,
        *,
        ttl_seconds: int = TTL_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._me = Leader(name, address)
        self._ttl_seconds = max(ttl_seconds, 2)
        self._clock = clock or SystemClock()
        self._supervisor = Supervisor("leadership", rng=store.rng)
        self._backoff = Backoff(RETRY_MS, RETRY_MS_MAX, rng=store.rng)
        self._leader: Leader | None = None
        self._mandate: EtcdMandate | None = None
        self._changed = asyncio.Event()
        self._won = asyncio.Event()
        self._closed = False
        self._lease = 0
        self._renewed_ns = 0
        self._led = 0

    async def __aenter__(self) -> Self:
        self._supervisor.start("contest", self._contest)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leaves the contest; a leader resigns. Bound: RESIGN_SECONDS."""
        self._closed = True
        self._end_mandate()
        self._won.set()
        await self._supervisor.stop()
        if self._lease:
            try:
                async with asyncio.timeout(RESIGN_SECONDS):
                    await self._store.lease_revoke(self._lease)
            except (StoreUnavailable, Refused, TimeoutError) as error:
                log.info("could not resign, the lease runs out by itself", why=error)
            self._lease = 0
        self._know(None)

    @property
    def leader(self) -> Leader | None:
        """Who leads now as far as this master knows; itself included."""
        return self._leader

    async def won(self) -> EtcdMandate:
        """Waits until this master leads. Raises: StoreUnavailable once closed."""
        while True:
            if self._closed:
                raise StoreUnavailable("the contest for leadership is closed")
            if self._mandate is not None:
                return self._mandate
            await self._won.wait()

    async def changed(self) -> None:
        """Waits until `leader` is another than at the call."""
        await self._changed.wait()

    def _know(self, leader: Leader | None) -> None:
        if leader != self._leader:
            self._leader = leader
            self._changed.set()
            self._changed = asyncio.Event()

    async def _contest(self) -> None:
        while True:
            try:
                held, revision = await self._held()
                if held is None:
                    self._know(None)
                    await self._stand(revision)
                elif self._lease and held.lease == self._lease:
                    await self._resume(held.create_revision)
                else:
                    self._know(_read(held))
                    await self._gone(revision)
                self._backoff.reset()
            except (StoreUnavailable, LeaseNotFound, Compacted) as error:
                if self._store.closed:
                    self._closed = True
                    self._won.set()
                    return
                wait_ms = self._backoff.next_ms()
                log.info("cannot contest now", why=error, wait_ms=wait_ms)
                await asyncio.sleep(wait_ms / 1000)

    async def _held(self) -> tuple[KeyValue | None, int]:
        found = await self._store.range(Range(LEADER_KEY))
        return (found.kvs[0] if found.kvs else None), found.revision

    async def _stand(self, revision: int) -> None:
        """Tries to become the leader: who creates the key is."""
        if self._lease:
            await self._renew()
        else:
            asked_ns = self._clock.monotonic_ns()
            self._lease = await self._store.lease_grant(self._ttl_seconds)
            self._renewed_ns = asked_ns
        # A number that grows with each mandate: the store's revision does.
        said = {"name": self._me.name, "address": self._me.address, "term": revision}
        nobody = Compare(LEADER_KEY, Target.CREATE, Result.EQUAL, 0)
        put = Put(LEADER_KEY, json.dumps(said).encode(), self._lease)
        # If the answer is lost, the next look at the key tells by its lease.
        done = await self._store.txn(Txn((nobody,), (put,), (Range(LEADER_KEY),)))
        if done.succeeded:
            await self._lead(done.revision)
            return
        seen = done.responses[0]
        if isinstance(seen, RangeResult) and seen.kvs:
            self._know(_read(seen.kvs[0]))

    async def _resume(self, revision: int) -> None:
        """The key is this master's own: the answer to its creation was lost, or the mandate was given up
        though the lease lived on. The latter is not taken up again: its late writes could not be told apart.
        """
        if revision == self._led:
            lease, self._lease = self._lease, 0
            await self._store.lease_revoke(lease)
        else:
            await self._renew()
            await self._lead(revision)

    async def _renew(self) -> None:
        """Keeps the lease alive. Its time starts anew after this is sent, so what is counted here is less.

        Raises: LeaseNotFound, StoreUnavailable.
        """
        asked_ns = self._clock.monotonic_ns()
        try:
            await self._store.lease_keep_alive(self._lease)
        except LeaseNotFound:
            self._lease = 0
            raise
        self._renewed_ns = asked_ns

    async def _lead(self, revision: int) -> None:
        """Leads until the lease may have run out, or the key is gone."""
        self._led = revision
        mandate = self._mandate = EtcdMandate(revision)
        self._know(self._me)
        self._won.set()
        log.info("leads", name=self._me.name, revision=revision)
        tasks = [
            asyncio.ensure_future(self._keep()),
            asyncio.ensure_future(self._gone(revision)),
            asyncio.ensure_future(mandate.over()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end_mandate()
            log.info("leads no longer", name=self._me.name, revision=revision)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    def _end_mandate(self) -> None:
        if self._mandate is not None:
            self._mandate.end()
            self._mandate = None
            self._won = asyncio.Event()
            self._know(None)

    async def _keep(self) -> None:
        """Keeps the lease alive; returns when it may have run out, by this machine's clock."""
        ttl_ns = self._ttl_seconds * NS_PER_SECOND
        while (left_ns := self._renewed_ns + ttl_ns * _SAFE_TENTHS // 10 - self._clock.monotonic_ns()) > 0:
            due_ns = self._renewed_ns + ttl_ns // 3 - self._clock.monotonic_ns()
            if due_ns > 0:
                await asyncio.sleep(due_ns / NS_PER_SECOND)
                continue
            try:
                async with asyncio.timeout(left_ns / NS_PER_SECOND):
                    await self._renew()
            except TimeoutError:
                continue
            except StoreUnavailable as error:
                log.warning("the leader's lease could not be renewed", why=error)
                await asyncio.sleep(min(self._backoff.next_ms() / 1000, left_ns / NS_PER_SECOND))
                continue
            except LeaseNotFound:
                return
            self._backoff.reset()

    async def _gone(self, revision: int) -> None:
        """Waits until something happens to the key after a revision."""
        with self._store.watch(LEADER_KEY, start_revision=revision + 1) as watch:
            async for batch in watch:
                if batch.events:
                    return


def _read(held: KeyValue) -> Leader | None:
    """Who a key says leads; None when it says nothing that is understood."""
    try:
        said = json.loads(held.value)
        return Leader(str(said["name"]), str(said["address"]))
    except (ValueError, KeyError, TypeError) as error:
        log.warning("the leader's key is not readable", why=error)
        return None
