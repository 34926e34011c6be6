"""Leadership of the masters, as a member of the group sees it: whoever leads the log, proved by a key.

The contest begins when somebody wants to win it. A leader writes its name to LEADER_KEY; the revision of that
write is its mandate's guard, so the next leader's write ends it in the store itself.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from orchestra.aio.backoff import Backoff
from orchestra.base.log import get_logger
from orchestra.mvcc.commands import encode
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.model import Compare, KeyValue, Put, Range, Result, Target, Txn, TxnResult
from orchestra.store.contract import StoreUnavailable
from orchestra.store.leadership import LEADER_KEY, Leader, Mandate

_RETRY_MS = 50
_RETRY_MS_MAX = 1000

log = get_logger("cluster.leadership")


class Position(Protocol):
    """What a member knows of who leads the log, and of itself."""

    @property
    def machine(self) -> Machine: ...

    @property
    def leading_term(self) -> int:
        """The term that this member leads with all before it applied; else 0."""
        ...

    @property
    def leader_name(self) -> str:
        """Who leads the log, "" when nobody does or it is not known."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def api_address(self) -> str: ...

    async def propose_once(self, command: bytes) -> CommandResult:
        """As the leader of the present term, or not at all. Raises: StoreUnavailable."""
        ...


class MemberMandate:
    """One time of leading."""

    def __init__(self, term: int, revision: int) -> None:
        self.term = term
        self.revision = revision
        self._over = asyncio.Event()

    @property
    def guards(self) -> Sequence[Compare]:
        """That the leader's key is the one written for this mandate."""
        return (Compare(LEADER_KEY, Target.MOD, Result.EQUAL, self.revision),)

    async def over(self) -> None:
        """Returns when the member does not lead any more, or the key is another's."""
        await self._over.wait()

    def end(self) -> None:
        """It is over."""
        self._over.set()


class MemberLeadership:
    """A Leadership. `look` is called whenever something may have changed."""

    def __init__(
        self,
        position: Position,
        ended: Callable[[asyncio.Task[None]], None],
        rng: random.Random | None = None,
    ) -> None:
        """ended: hears of the death of its task."""
        self._rng = rng
        self._position = position
        self._ended = ended
        self._mandate: MemberMandate | None = None
        self._leader: Leader | None = None
        self._key: KeyValue | None = None
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._closed: str | None = None

    @property
    def leader(self) -> Leader | None:
        """Who leads, once it has said so."""
        return self._leader

    async def won(self) -> Mandate:
        """Waits until this member leads and has said so. Call `Member.publish` before: the address is said
        too. Raises: StoreUnavailable when the store has ended.
        """
        if self._task is None and self._closed is None:
            self._task = asyncio.create_task(self._contest(), name="leadership")
            self._task.add_done_callback(self._ended)
        while self._mandate is None:
            await self._changed()
        return self._mandate

    async def changed(self) -> None:
        """Waits until `leader` is another than at the call. Raises: StoreUnavailable."""
        before = self._leader
        while self._leader == before:
            await self._changed()

    async def _changed(self) -> None:
        if self._closed is not None:
            raise StoreUnavailable(self._closed)
        await asyncio.shield(self._news)

    def look(self) -> None:
        """Finds out where things stand."""
        position = self._position
        kvs = position.machine.range(Range(LEADER_KEY)).kvs
        key = kvs[0] if kvs else None
        mandate = self._mandate
        if mandate is not None and (
            mandate.term != position.leading_term or key is None or key.mod_revision != mandate.revision
        ):
            mandate.end()
            self._mandate = None
            self._tell()
        said = _said(key)
        leader = said if said is not None and said.name == position.leader_name else None
        if leader != self._leader or key is not self._key:
            self._leader, self._key = leader, key
            self._tell()

    def stir(self) -> None:
        """This member has begun to lead, or its address is known now."""
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    async def _contest(self) -> None:
        """Writes the key whenever this member leads and it does not say so."""
        backoff = Backoff(_RETRY_MS, _RETRY_MS_MAX, rng=self._rng)
        while self._closed is None:
            term = self._position.leading_term
            if not term or self._mandate is not None:
                await asyncio.shield(self._news)
                continue
            try:
                await self._claim(term)
                backoff.reset()
            except StoreUnavailable as error:
                log.debug("could not say who leads", why=error)
                await asyncio.sleep(backoff.next_ms() / 1000)

    async def _claim(self, term: int) -> None:
        position = self._position
        before = position.machine.range(Range(LEADER_KEY)).kvs
        unchanged = Compare(LEADER_KEY, Target.MOD, Result.EQUAL, before[0].mod_revision if before else 0)
        said = {"name": position.name, "address": position.api_address, "term": term}
        put = Put(LEADER_KEY, json.dumps(said, sort_keys=True).encode())
        result = await position.propose_once(encode(Txn((unchanged,), (put,))))
        assert isinstance(result, TxnResult)
        if result.succeeded and position.leading_term == term:
            self._mandate = MemberMandate(term, result.revision)
            log.info("leads the cluster", term=term)
            self._tell()
            # The key may have been written again meanwhile.
            self.look()

    def fail(self, reason: str) -> None:
        """The store ends: so does every mandate, and who waits is told."""
        if self._closed is not None:
            return
        self._closed = reason
        if self._mandate is not None:
            self._mandate.end()
            self._mandate = None
        self._leader = None
        self._tell()

    async def close(self, reason: str) -> None:
        """The same, and ends its work."""
        self.fail(reason)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))


def _said(key: KeyValue | None) -> Leader | None:
    if key is None:
        return None
    try:
        said = json.loads(key.value)
        return Leader(str(said["name"]), str(said["address"]))
    except (ValueError, KeyError, TypeError):
        return None
