"""What a watcher was told, and whether it is what happened.

etcd's guarantees: filtered, ordered, unique, reliable, atomic, resumable, bookmarkable, with the value before.
"""

from dataclasses import dataclass, field

from orchestra.mvcc.model import Event
from orchestra.store.contract import WatchBatch
from tests.simulation.group.record import Record, Violation


@dataclass(slots=True)
class Watched:
    """One watcher over all its connections, from `start` on. `told`: everything up to it has come."""

    name: str
    key: bytes
    range_end: bytes
    prev_kv: bool
    start: int
    told: int = 0
    events: list[Event] = field(default_factory=list)
    # Revisions that were forgotten before they were told.
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.told = self.start - 1

    def took(self, batch: WatchBatch) -> None:
        """A batch has come. Raises: Violation, for what can be seen from here."""
        for event in batch.events:
            if event.kv.mod_revision <= self.told:
                raise Violation(f"{self.name}: told of {event} after everything up to {self.told}")
            if event.kv.mod_revision > batch.revision:
                raise Violation(f"{self.name}: told of {event} in a batch up to {batch.revision}")
        if batch.revision < self.told:
            raise Violation(f"{self.name}: a bookmark {batch.revision} after {self.told}")
        self.events += batch.events
        self.told = batch.revision

    def forgotten(self, oldest: int) -> None:
        """The store keeps nothing before `oldest`: goes on from there."""
        self.gaps.append((self.told + 1, oldest - 1))
        self.told = max(self.told, oldest - 1)

    def check(self, record: Record) -> None:
        """Raises: Violation unless it was told all of it, once, in order."""
        want = [
            event
            for event in record.events_between(self.start, self.told, self.key, self.range_end)
            if not any(first <= event.kv.mod_revision <= last for first, last in self.gaps)
        ]
        if len(want) != len(self.events):
            told = [event.kv.mod_revision for event in self.events]
            raise Violation(
                f"{self.name}: {len(self.events)} events where {len(want)} happened from {self.start} to "
                f"{self.told}\n told {told}\n want {[event.kv.mod_revision for event in want]}"
            )
        for got, wanted in zip(self.events, want, strict=True):
            if (got.type, got.kv) != (wanted.type, wanted.kv):
                raise Violation(f"{self.name}: told of {got} where {wanted} happened")
            if self.prev_kv and got.prev_kv is not None:
                before = record.at(got.kv.key, got.kv.mod_revision - 1)
                if got.prev_kv != before:
                    raise Violation(f"{self.name}: {got} replaced {before}")
        if any(last > record.compacted for _, last in self.gaps):
            raise Violation(f"{self.name}: {self.gaps} was said to be forgotten, {record.compacted} is")
