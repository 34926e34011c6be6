"""The store on a machine in this process.

Reads come from the machine, writes go through a Proposer, which is all that differs between the store for
tests, one member on its log, and a member of a Raft group.
"""

from collections.abc import Callable
from typing import Protocol

from orchestra.mvcc.alarms import AlarmResult
from orchestra.mvcc.checks import MAX_COMMAND_BYTES, check_lease_ttl, check_range, check_txn
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    encode,
)
from orchestra.mvcc.errors import EmptyKey, RequestTooLarge
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.model import Put, Range, RangeResult, Txn, TxnResult
from orchestra.store.watch import HistoryWatch, WatchHub


class Proposer(Protocol):
    """The way into the log."""

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        """Answers when the command is durable and applied to the machine.

        decoded: what `command` says, if that is at hand: then nobody has to decode it.
        Raises: Refused by the machine; StoreUnavailable, NoSpace.
        """
        ...

    async def read_barrier(self) -> None:
        """Returns when the machine has applied every write answered before the call, by any member.

        Raises: StoreUnavailable.
        """
        ...

    async def keep_alive(self, lease: int) -> int:
        """Has the leases' owner start the lease's time anew. Raises: LeaseNotFound, StoreUnavailable."""
        ...


class LocalStore:
    """Serves the Store contract. Who applies commands to the machine calls `applied()` afterwards."""

    def __init__(self, machine: Machine, proposer: Proposer) -> None:
        self._machine = machine
        self._proposer = proposer
        self._watches = WatchHub(machine)

    @property
    def revision(self) -> int:
        """The newest revision applied here."""
        return self._machine.revision

    @property
    def machine(self) -> Machine:
        """The machine itself, for who looks at what the Store contract does not show; not to be changed."""
        return self._machine

    @property
    def told_revision(self) -> int:
        """What watches have been told of; the machine may be ahead for a moment."""
        return self._watches.revision

    @property
    def compact_revision(self) -> int:
        """The oldest revision that can be read; 0 before any compaction."""
        return self._machine.compact_revision

    async def range(self, request: Range) -> RangeResult:
        """Raises: Compacted, FutureRevision, EmptyKey, StoreUnavailable."""
        check_range(request)
        if not request.serializable:
            await self._proposer.read_barrier()
        return self._machine.range(request)

    async def txn(self, request: Txn) -> TxnResult:
        """Raises: Refused, StoreUnavailable, NoSpace."""
        check_txn(request)
        if reads_only(request):
            await self._proposer.read_barrier()
            return self._machine.read_txn(request)
        result = await self._propose(request)
        assert isinstance(result, TxnResult)
        return result

    async def put(self, put: Put, command: bytes) -> TxnResult:
        """A transaction of one put that has been checked, and its command: so most others write.

        Raises: Refused, StoreUnavailable, NoSpace.
        """
        result = await self._proposer.propose(command, Txn((), (put,)))
        assert isinstance(result, TxnResult)
        return result

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = False,
        ready: Callable[[], None] | None = None,
    ) -> HistoryWatch:
        """Watches a range from start_revision on (0: from the next one). Raises: EmptyKey.

        ready: called when there is something to `take`, for who does not iterate.
        """
        if not key:
            raise EmptyKey
        return self._watches.watch(key, range_end, start_revision, prev_kv, ready)

    async def lease_grant(self, ttl_seconds: int, lease: int = 0) -> int:
        """The id of a new lease. Raises: LeaseExists, LeaseTtlTooLarge, StoreUnavailable, NoSpace."""
        check_lease_ttl(ttl_seconds)
        result = await self._propose(LeaseGrant(lease, ttl_seconds))
        assert isinstance(result, Lease)
        return result.lease

    async def lease_revoke(self, lease: int) -> None:
        """Raises: LeaseNotFound, StoreUnavailable, NoSpace."""
        await self._propose(LeaseRevoke(lease))

    async def lease_keep_alive(self, lease: int) -> int:
        """Starts the lease's time anew; its time to live in seconds. Raises: LeaseNotFound."""
        return await self._proposer.keep_alive(lease)

    async def compact(self, revision: int) -> None:
        """Raises: Compacted, FutureRevision, StoreUnavailable, NoSpace."""
        await self._propose(Compact(revision))

    async def alarm(self, command: AlarmActivate | AlarmDeactivate) -> AlarmResult:
        """Raises or ends an alarm. Raises: StoreUnavailable, NoSpace."""
        result = await self._propose(command)
        assert isinstance(result, AlarmResult)
        return result

    async def read_barrier(self) -> None:
        """Returns when everything answered before the call, by any member, is applied here.

        Raises: StoreUnavailable.
        """
        await self._proposer.read_barrier()

    async def _propose(self, command: Command) -> CommandResult:
        data = encode(command)
        if len(data) > MAX_COMMAND_BYTES:
            raise RequestTooLarge(f"request is too large: {len(data)} bytes, at most {MAX_COMMAND_BYTES}")
        return await self._proposer.propose(data, command)

    # For whoever applies commands.

    def applied(self) -> None:
        """The machine has moved: tells the watches."""
        self._watches.advance()

    def replace(self, machine: Machine) -> None:
        """Goes on with a machine that is ahead (a snapshot was installed)."""
        self._machine = machine
        self._watches.replace(machine)

    def fail(self, reason: str) -> None:
        """The store ends: so do its watches, with StoreUnavailable."""
        self._watches.fail(reason)


def reads_only(txn: Txn) -> bool:
    """Whether a transaction has no write in either branch, however deep."""
    return all(
        isinstance(op, Range) or (isinstance(op, Txn) and reads_only(op))
        for branch in (txn.success, txn.failure)
        for op in branch
    )
