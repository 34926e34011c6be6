"""What was committed, as somebody sees it who misses nothing; and in whose name.

A write in a mandate's name is one that carries its guard. No such write may come after the next mandate's
beginning, and whatever only a leader does must be written in a mandate's name.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestra.mvcc.commands import Command
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import Event, Range, Target, Txn
from orchestra.objects.kinds import ENDPOINT_SLICE, EVENT, NAMESPACE, NODE, POD, Kind
from orchestra.store.leadership import LEADER_KEY
from tests.simulation.cluster.state import State, Violation, controller_uid, title
from tests.simulation.group.record import Record

REGISTRY = b"/registry/"

# A change: its event, the kind, the object before and after.
Saw = Callable[[Event, Kind, Any, Any], None]


@dataclass(frozen=True, slots=True)
class Begun:
    """A mandate, as its key says. moment: when it was committed."""

    name: str
    term: int
    revision: int
    moment: float


class Committed(Record):
    """The record of a cluster. state: every object now. saw: hears of every change, at the moment when the
    first master applied it. failed: hears of what must never be.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.state = State()
        self.mandate: Begun | None = None
        self.mandates = 0
        self.guarded = 0
        self.saw: Saw = lambda event, kind, old, new: None
        self.failed: Callable[[Exception], None] = lambda error: None
        self._command: Command | None = None

    def applied(self, machine: Machine, index: int, command: Command | None, outcome: object) -> None:
        command = _plain(command)
        self._command = command
        try:
            super().applied(machine, index, command, outcome)
        except AssertionError as violation:
            self.failed(violation)

    def _happened(self, machine: Machine) -> None:
        super()._happened(machine)
        guard = _guard(self._command)
        if guard is not None:
            self.guarded += 1
            if self.mandate is None or guard != self.mandate.revision:
                raise Violation(
                    f"a write was made in the name of mandate {guard}; {self.mandate} is in force"
                )
        for event in self.events[machine.revision]:
            if event.kv.key == LEADER_KEY:
                self._began(event)
                continue
            self.state.revision = event.kv.mod_revision
            change = self.state.apply(event)
            if change is None:
                continue
            if guard is None and isinstance(self._command, Txn):
                _check_unguarded(*change)
            self.saw(event, *change)

    def _began(self, event: Event) -> None:
        said = json.loads(event.kv.value)
        before, now = (
            self.mandate,
            Begun(said["name"], said["term"], event.kv.mod_revision, self._now()),
        )
        if before is not None and (
            now.term < before.term or (now.term == before.term and now.name != before.name)
        ):
            raise Violation(f"{now} follows {before}")
        self.mandate = now
        self.mandates += 1

    def has(self, kind: Kind, obj: Any) -> bool:
        """Whether an object was committed as somebody was told."""
        key = kind.key(obj.metadata.namespace, obj.metadata.name).encode()
        found = self.at(key, int(obj.metadata.resourceVersion))
        if found is None or found.mod_revision != int(obj.metadata.resourceVersion):
            return False
        return bool(kind.message.FromString(found.value).metadata.uid == obj.metadata.uid)

    def check(self, machine: Machine) -> None:
        """A machine holds what was committed. Raises: Violation."""
        held = machine.range(Range(REGISTRY, prefix_end(REGISTRY))).kvs
        wanted = self.range(REGISTRY, prefix_end(REGISTRY), self.newest_revision)
        if [(kv.key, kv.mod_revision, kv.value) for kv in held] != [
            (kv.key, kv.mod_revision, kv.value) for kv in wanted
        ]:
            raise Violation(f"a master holds {len(held)} objects, not the {len(wanted)} that were committed")


def _plain(command: Any) -> Any:
    """The same command, equal to one that was read from a log."""
    if not isinstance(command, Txn):
        return command
    success, failure = (tuple(map(_plain, ops)) for ops in (command.success, command.failure))
    return Txn(tuple(command.compare), success, failure)


def _guard(command: Command | None) -> int | None:
    """The revision of the mandate in whose name a command is; None: in nobody's."""
    if not isinstance(command, Txn):
        return None
    for compare in command.compare:
        if compare.key == LEADER_KEY and compare.target is Target.MOD:
            if any(getattr(op, "key", None) == LEADER_KEY for op in command.success):
                return None
            return int(compare.value)  # type: ignore[arg-type]
    return None


def _check_unguarded(kind: Kind, old: Any, new: Any) -> None:
    """What users do, they do in nobody's name; nothing else. Raises: Violation."""
    what = ""
    if kind in (ENDPOINT_SLICE, EVENT):
        what = "is a controller's"
    elif old is None:
        if kind is NODE or controller_uid(new):
            what = "was made"
    elif new is not None and kind is not NAMESPACE:
        if kind is POD and new.spec.nodeName != old.spec.nodeName:
            what = "was bound"
        elif hasattr(new, "status") and new.status != old.status:
            what = "has another status"
    if what:
        raise Violation(f"{title(new if new is not None else old)} {what}, in no mandate's name")
