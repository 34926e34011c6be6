"""What a member has only while it leads: the leases' time, and the duty to keep history bounded."""

import asyncio
import random
from collections.abc import Callable

from orchestra.base.clock import Clock
from orchestra.base.log import get_logger
from orchestra.cluster.proposals import Proposals
from orchestra.mvcc.commands import encode
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.retention import Retention, plan_compaction
from orchestra.store.contract import StoreUnavailable
from orchestra.store.leases import LeaseOwner

log = get_logger("cluster.tenure")


class Tenure:
    """From the first entry of a leader's term being applied to the end of its leading.

    What it proposes is for its own term only: a lease's end, concluded by its clock, must not come true under
    a successor that has let the lease live on.
    """

    def __init__(
        self,
        term: int,
        machine: Machine,
        clock: Clock,
        proposals: Proposals,
        wake: Callable[[], None],
        ended: Callable[[asyncio.Task[None]], None],
        rng: random.Random | None = None,
    ) -> None:
        """ended: hears of the death of its task."""
        self.term = term
        self._machine = machine
        self._proposals = proposals
        self._wake = wake
        self._compacting = False
        self.leases = LeaseOwner(machine, clock, self._propose, rng)
        self._task = asyncio.get_running_loop().create_task(self.leases.run())
        self._task.add_done_callback(ended)

    async def _propose(self, command: bytes) -> CommandResult:
        answer = self._proposals.add(command, once=True)
        self._wake()
        return await answer

    def compact(self, retention: Retention) -> None:
        """Proposes the compaction that is due, if one is."""
        compaction = None if self._compacting else plan_compaction(self._machine, retention)
        if compaction is None:
            return
        try:
            answer = self._proposals.add(encode(compaction), compaction, once=True)
        except StoreUnavailable:
            return
        self._compacting = True
        answer.add_done_callback(self._compacted)

    def _compacted(self, answer: asyncio.Future[CommandResult]) -> None:
        self._compacting = False
        if not answer.cancelled() and (error := answer.exception()) is not None:
            log.debug("a compaction came to nothing", cause=error)

    def end(self) -> asyncio.Task[None]:
        """It leads no more; the task that is ending."""
        self._task.cancel()
        return self._task
