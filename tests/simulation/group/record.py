"""What was committed: every entry that any member's machine has applied, with what it did and when.

A member that applies another command at an index, or comes to another result, is found out at once. The
record outlives compaction: it knows every event since the beginning, and so any state that ever was.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from orchestra.mvcc.commands import Command, Compact, LeaseExpire, LeaseGrant, LeaseRevoke, decode
from orchestra.mvcc.errors import Refused
from orchestra.mvcc.keyindex import in_range
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.model import Event, KeyValue
from orchestra.raft.log import RaftLog


class Violation(AssertionError):
    """A guarantee did not hold."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One entry, as the first member that applied it did."""

    index: int
    command: Command | None
    outcome: object
    revision: int
    moment: float


class Record:
    """All that was applied, by index; all that happened, by revision."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.entries: dict[int, Applied] = {}
        self.revisions: list[int] = []
        self.events: dict[int, Sequence[Event]] = {}
        self.lease_ends: list[tuple[float, int, bool]] = []
        self.newest_index = 0
        self.newest_revision = 1
        self.compacted = 0
        self._by_key: dict[bytes, list[KeyValue]] = {}
        self._now = now

    def applied(self, machine: Machine, index: int, command: Command | None, outcome: object) -> None:
        """Called after a machine has applied an entry. Raises: Violation when another did otherwise."""
        known = self.entries.get(index)
        said = Applied(index, command, outcome, machine.revision, self._now())
        if known is not None:
            if (known.command, known.outcome, known.revision) != (command, outcome, machine.revision):
                raise Violation(
                    f"entry {index} was applied as {known} by one member and as {said} by another"
                )
            return
        if index != self.newest_index + 1 and self.newest_index:
            raise Violation(f"entry {index} was applied after {self.newest_index}: what is between is lost")
        self.entries[index] = said
        self.newest_index = index
        if isinstance(outcome, Refused):
            return
        if isinstance(command, Compact):
            self.compacted = max(self.compacted, command.revision)
        if isinstance(command, LeaseExpire):
            self.lease_ends += [(said.moment, lease, True) for lease in command.leases]
        elif isinstance(command, LeaseRevoke):
            self.lease_ends.append((said.moment, command.lease, False))
        if machine.revision > self.newest_revision:
            self._happened(machine)

    def _happened(self, machine: Machine) -> None:
        revision = machine.revision
        if revision != self.newest_revision + 1:
            raise Violation(f"revision {revision} follows {self.newest_revision}")
        self.newest_revision = revision
        events, _ = machine.events_since(revision, b"\0", b"\0")
        self.revisions.append(revision)
        self.events[revision] = tuple(events)
        for event in events:
            self._by_key.setdefault(event.kv.key, []).append(event.kv)

    # What it tells.

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """A key as it was at a revision."""
        versions = self._by_key.get(key, [])
        at = bisect_right(versions, revision, key=lambda kv: kv.mod_revision)
        found = versions[at - 1] if at else None
        return found if found is not None and found.version else None

    def range(self, key: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
        """A range as it was at a revision."""
        if not range_end:
            found = self.at(key, revision)
            return [found] if found else []
        keys = sorted(each for each in self._by_key if in_range(each, key, range_end))
        return [kv for each in keys if (kv := self.at(each, revision)) is not None]

    def events_between(self, first: int, last: int, key: bytes, range_end: bytes) -> list[Event]:
        """A range's events of these revisions, both included."""
        return [
            event
            for revision in range(max(first, 2), min(last, self.newest_revision) + 1)
            for event in self.events.get(revision, ())
            if (in_range(event.kv.key, key, range_end) if range_end else event.kv.key == key)
        ]


@contextmanager
def recording(record: Record) -> Iterator[None]:
    """While it lasts, every machine of the process tells the record what it applies."""
    apply, skip = Machine.apply, Machine.skip
    # apply counts its entry by skip.
    applying = 0

    def recorded(self: Machine, index: int, command: bytes | Command) -> CommandResult:
        nonlocal applying
        decoded = decode(command) if isinstance(command, bytes) else command
        applying += 1
        try:
            result = apply(self, index, decoded)
        except Refused as refusal:
            record.applied(self, index, decoded, _Refusal(type(refusal).__name__, str(refusal)))
            raise
        finally:
            applying -= 1
        granted = (result.lease, result.ttl_seconds) if isinstance(result, Lease) else result
        record.applied(self, index, decoded, granted)
        return result

    def skipped(self: Machine, index: int) -> None:
        skip(self, index)
        if not applying:
            record.applied(self, index, None, None)

    Machine.apply, Machine.skip = recorded, skipped  # type: ignore[method-assign]
    try:
        yield
    finally:
        Machine.apply, Machine.skip = apply, skip  # type: ignore[method-assign]


@contextmanager
def watching_commits(committing: Callable[[RaftLog, int], None]) -> Iterator[None]:
    """While it lasts, every commit index of the process that is about to move is shown first."""
    commit_to = RaftLog.commit_to

    def shown(self: RaftLog, index: int) -> bool:
        if index > self.commit:
            committing(self, index)
        return commit_to(self, index)

    RaftLog.commit_to = shown  # type: ignore[method-assign]
    try:
        yield
    finally:
        RaftLog.commit_to = commit_to  # type: ignore[method-assign]


class _Refusal(Refused):
    """A refusal that equals another of the same words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.said = (kind, words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Refusal) and other.said == self.said

    def __hash__(self) -> int:
        return hash(self.said)


__all__ = ["Applied", "LeaseGrant", "Record", "Violation", "recording", "watching_commits"]
