"""Bugs to be planted in what masters do, to see that clusters by seed bring them to light."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestra.apiserver.gate import AgentsGate
from orchestra.cluster.running import RunningMember
from orchestra.controllers.nodes import NodesReconciler
from orchestra.controllers.plans import nodes as plans
from orchestra.controllers.plans.nodes import Disruption
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import Compare, Txn
from orchestra.store.leadership import LEADER_KEY
from orchestra.store.objects import ObjectStore


def _unguarded(self: ObjectStore, guards: Sequence[Compare]) -> ObjectStore:
    """The controllers write in nobody's name."""
    return ObjectStore(self.store, clock=self.clock, rng=self.rng, decoder=self.decoder)


def _guards_ignored(real: Any) -> Any:
    """The store lets the writes of a mandate pass that is over."""

    def write(self: Machine, txn: Txn, *more: Any, **named: Any) -> Any:
        claims = any(getattr(op, "key", None) == LEADER_KEY for op in txn.success)
        if not claims and any(each.key == LEADER_KEY for each in txn.compare):
            others = tuple(each for each in txn.compare if each.key != LEADER_KEY)
            txn = Txn(others, txn.success, txn.failure)
        return real(self, txn, *more, **named)

    return write


def _no_fresh_grace(self: NodesReconciler, name: str, now_ns: int) -> int:
    """A new leader holds it against nodes that they have not dialled in yet."""
    return 0


def _doors_stay_open(self: AgentsGate) -> None:
    """Who leads no more keeps its agents."""


async def _reads_at_once(self: RunningMember) -> None:
    """Reads come from what has been applied, however old."""


# What is put in the place of what; a function of the real one where it is still needed.
_Patch = tuple[Any, str, Callable[[Any], Any]]
_MUTANTS: dict[str, tuple[_Patch, ...]] = {
    "controllers write without a guard": ((ObjectStore, "guarded", lambda real: _unguarded),),
    "guards are not looked at": ((Machine, "_write_txn", _guards_ignored),),
    "a new leader gives no fresh grace": (
        (NodesReconciler, "_awaited_until_ns", lambda real: _no_fresh_grace),
        (plans, "disruption", lambda real: lambda total, lost: Disruption.NONE),
    ),
    "a deposed leader keeps its agents": ((AgentsGate, "close", lambda real: _doors_stay_open),),
    "reads do not wait": ((RunningMember, "read_barrier", lambda real: _reads_at_once),),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While it lasts, the bug is there."""
    with ExitStack() as stack:
        for owner, attribute, made in _MUTANTS[name]:
            real = getattr(owner, attribute)
            stack.callback(setattr, owner, attribute, real)
            setattr(owner, attribute, made(real))
        yield
