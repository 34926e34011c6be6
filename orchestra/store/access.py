"""The store as the typed layer uses it: every call with a deadline, every write with the guards, and errors
in the API's words.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.errors import Unavailable
from orchestra.mvcc.model import Compare, KeyValue, Op, Range, RangeResult, Txn, TxnResult
from orchestra.store.contract import Store
from orchestra.store.failures import NOT_THE_LEADER, RETRY_AFTER_MS, mapped

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Commit:
    """What a guarded write came to.

    seen: when it was refused, the keys that were to be looked at then, each None if it does not exist.
    """

    revision: int
    succeeded: bool
    seen: Sequence[KeyValue | None] = ()


class Access:
    """Range and transaction on the store, for everything typed.

    guards: conditions that each write takes on, so that a master that was replaced writes nothing.
    """

    def __init__(
        self, store: Store, guards: Sequence[Compare] = (), timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.store = store
        self.guards = tuple(guards)
        self._timeout_seconds = timeout_seconds

    async def range(self, request: Range) -> RangeResult:
        """Raises: Expired, BadRequest (a revision in the future), Unavailable, DeadlineExceeded."""
        try:
            with mapped():
                async with asyncio.timeout(self._timeout_seconds):
                    return await self.store.range(request)
        except Unavailable as error:
            # What reads before it writes has done nothing yet: all that is done by one transaction.
            error.not_done = True
            raise

    async def get(self, key: bytes) -> KeyValue | None:
        """One key, None if it does not exist. Raises: Unavailable, DeadlineExceeded."""
        found = (await self.range(Range(key))).kvs
        return found[0] if found else None

    async def commit(
        self, compare: Sequence[Compare], ops: Sequence[Op], look: Sequence[bytes] = ()
    ) -> Commit:
        """Does `ops` if `compare` and the guards hold; otherwise reads the keys of `look` in the same
        transaction, to tell why not.

        Raises: Unavailable (the store, or a guard that does not hold), DeadlineExceeded.
        """
        failure: list[Op] = [Range(key) for key in look]
        if self.guards:
            failure.append(Txn(compare=self.guards))
        request = Txn(compare=(*compare, *self.guards), success=ops, failure=failure)
        with mapped():
            async with asyncio.timeout(self._timeout_seconds):
                result = await self.store.txn(request)
        if result.succeeded:
            return Commit(result.revision, True)
        if self.guards:
            guarded = result.responses[-1]
            if not (isinstance(guarded, TxnResult) and guarded.succeeded):
                raise Unavailable(NOT_THE_LEADER, retry_after_ms=RETRY_AFTER_MS, not_done=True)
        seen = [
            (response.kvs[0] if response.kvs else None)
            for response in result.responses
            if isinstance(response, RangeResult)
        ]
        return Commit(result.revision, False, seen)

    async def lease_grant(self, ttl_seconds: int) -> int:
        """Raises: Unavailable, DeadlineExceeded."""
        with mapped():
            async with asyncio.timeout(self._timeout_seconds):
                return await self.store.lease_grant(ttl_seconds)
