"""The store for fast tests: the real machine and the real watches, with the log left out.

There is no fake that could drift: what differs from a member is that a write is applied at once and forgotten
with the process.
"""

from orchestra.base.clock import Clock, SystemClock
from orchestra.mvcc.commands import Command, LeaseGrant, LeaseRevoke, decode, encode
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.retention import Retention, plan_compaction
from orchestra.store.contract import StoreUnavailable
from orchestra.store.leases import LeaseOwner
from orchestra.store.local import LocalStore


class MemoryStore(LocalStore):
    """A store in memory. Leases end when the test says so (move the clock, then `await expire_due()`), or
    while `run()` is under way."""

    def __init__(self, *, clock: Clock | None = None, retention: Retention | None = None) -> None:
        machine = Machine()
        self._log = _ImmediateLog(self, machine, clock or SystemClock(), retention or Retention())
        super().__init__(machine, self._log)

    @property
    def machine(self) -> Machine:
        """The machine itself, for tests that look inside."""
        return self._machine

    async def expire_due(self) -> int:
        """Ends the leases that are over by the clock; how many there were."""
        return await self._log.leases.expire_due()

    async def run(self) -> None:
        """Ends leases as they become due, for ever, as a member does by itself."""
        await self._log.leases.run()

    async def close(self) -> None:
        """Ends the store and its watches."""
        self._log.closed = True
        self.fail("the store is closed")


class _ImmediateLog:
    """A Proposer that applies at once."""

    def __init__(self, store: LocalStore, machine: Machine, clock: Clock, retention: Retention) -> None:
        self.closed = False
        self.leases = LeaseOwner(machine, clock, self.propose)
        self._store = store
        self._machine = machine
        self._retention = retention

    async def propose(self, command: bytes, decoded: Command | None = None) -> CommandResult:
        """Applies what a log would have kept. Raises: Refused, StoreUnavailable once closed."""
        await self.read_barrier()
        decoded = decode(command)
        result = self._machine.apply(self._machine.applied_index + 1, decoded)
        if isinstance(decoded, LeaseGrant):
            assert isinstance(result, Lease)
            self.leases.granted(result)
        elif isinstance(decoded, LeaseRevoke):
            self.leases.revoked(decoded.lease)
        self._store.applied()
        compact = plan_compaction(self._machine, self._retention)
        if compact is not None:
            self._machine.apply(self._machine.applied_index + 1, encode(compact))
        return result

    async def read_barrier(self) -> None:
        """Raises: StoreUnavailable once closed."""
        if self.closed:
            raise StoreUnavailable("the store is closed")

    async def keep_alive(self, lease: int) -> int:
        """Starts the lease's time anew. Raises: LeaseNotFound."""
        await self.read_barrier()
        return await self.leases.keep_alive(lease)
