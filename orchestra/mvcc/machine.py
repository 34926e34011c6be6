"""The machine: one revision for each command that changes something.

What a command does, and what it is refused for, depends on the commands before it and on nothing else.
A refused command changes nothing but the applied index.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, eq, gt, lt, ne

from orchestra.mvcc.alarms import AlarmResult, Alarms
from orchestra.mvcc.checks import check_lease_ttl
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseCheckpoint,
    LeaseExpire,
    LeaseGrant,
    LeaseRevoke,
    decode,
)
from orchestra.mvcc.errors import Compacted, FutureRevision, KeyNotFound, LeaseExists, LeaseNotFound
from orchestra.mvcc.history import History
from orchestra.mvcc.keyindex import KeyIndex
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.model import (
    AlarmMember,
    Compare,
    DeleteRange,
    DeleteResult,
    Event,
    EventType,
    KeyValue,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)
from orchestra.mvcc.selection import answer

FIRST_REVISION = 1
# As etcd has it: one and a half election timeouts, in whole seconds.
MIN_LEASE_TTL_SECONDS = 1

_RESULTS = (eq, gt, lt, ne)
_TARGETS = tuple(map(attrgetter, ("version", "create_revision", "mod_revision", "value", "lease")))
_PUT = EventType.PUT
_DELETE = EventType.DELETE

CommandResult = TxnResult | Lease | AlarmResult | int


class Machine:
    """Keys, leases and history at `revision`, having applied the log up to `applied_index`."""

    def __init__(self) -> None:
        self.applied_index = 0
        self.revision = FIRST_REVISION
        # The oldest revision that can be read or watched from; 0 before any compaction.
        self.compact_revision = 0
        self.history = History()
        self.leases: dict[int, Lease] = {}
        self.alarms = Alarms()
        # What the command under way has changed and history does not have yet.
        self._events: list[Event] = []
        self._current: dict[bytes, KeyValue] = {}
        self._keys = KeyIndex()

    def __len__(self) -> int:
        """How many keys there are now."""
        return len(self._current)

    # The log's side.

    def apply(self, index: int, command: bytes | Command) -> CommandResult:
        """Does the log's next command: a TxnResult, the lease granted, an AlarmResult, or the
        revision after it.

        Raises: Refused; the entry counts as applied then too.
        """
        if isinstance(command, bytes):
            command = decode(command)
        self.skip(index)
        if self.alarms:
            self.alarms.check(command)
        if isinstance(command, Txn):
            return self._write_txn(command)
        match command:
            case LeaseGrant():
                return self._grant(index, command)
            case LeaseRevoke():
                if command.lease not in self.leases:
                    raise LeaseNotFound(command.lease)
                self._end_leases((command.lease,))
            case LeaseExpire():
                self._end_leases([lease for lease in command.leases if lease in self.leases])
            case LeaseCheckpoint():
                for lease, seconds in command.remaining:
                    if lease in self.leases:
                        record = self.leases[lease]
                        record.remaining_seconds = min(max(seconds, 0), record.ttl_seconds)
            case Compact():
                self._compact(command.revision)
            case AlarmActivate():
                return AlarmResult(self.revision, self.alarms.activate(command.alarm))
            case AlarmDeactivate():
                return AlarmResult(self.revision, self.alarms.deactivate(command.alarm))
        return self.revision

    def skip(self, index: int) -> None:
        """Counts the log's next entry as applied: one that says nothing to the machine."""
        if index != self.applied_index + 1:
            raise ValueError(f"entry {index} does not follow {self.applied_index}, the last one applied")
        self.applied_index = index

    # Reading.

    def range(self, request: Range) -> RangeResult:
        """Reads a range. Raises: Compacted, FutureRevision."""
        self._check_revision(request.revision)
        return self._range(request, self.revision)

    def read_txn(self, txn: Txn) -> TxnResult:
        """Does a transaction that only reads. Raises: Compacted, FutureRevision."""
        return self._execute(txn, iter(self._plan(txn)), self.revision)

    def events_since(
        self, revision: int, key: bytes, range_end: bytes = b"", limit: int = 0
    ) -> tuple[list[Event], int | None]:
        """A range's changes at `revision` and later, and the revision the next ones start at (None: no more).

        Bound: ends after `limit` events (0: never), but never within a revision. Raises: Compacted.
        """
        if revision < self.compact_revision:
            raise Compacted(self.compact_revision)
        return self.history.since(revision, key, range_end, limit)

    def lease_ids(self) -> Sequence[int]:
        """Every lease there is, ascending."""
        return sorted(self.leases)

    def lease_keys(self, lease: int) -> Sequence[bytes]:
        """The keys that a lease holds, ascending. Raises: LeaseNotFound."""
        if lease not in self.leases:
            raise LeaseNotFound(lease)
        return sorted(self.leases[lease].keys)

    def _check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if 0 < revision < self.compact_revision:
            raise Compacted(self.compact_revision)

    def _range(self, request: Range, now: int) -> RangeResult:
        key, range_end, revision = request.key, request.range_end, request.revision
        kvs: Iterable[KeyValue]
        if not range_end:
            found = self._at(key, revision) if 0 < revision < now else self._current.get(key)
            kvs, count = ((found,), 1) if found else ((), 0)
        elif 0 < revision < now:
            kvs, count = self._past(revision, key, range_end)
        else:
            count = self._keys.count(key, range_end)
            kvs = map(self._current.__getitem__, self._keys.scan(key, range_end))
        return answer(request, kvs, count, now)

    def _at(self, key: bytes, revision: int) -> KeyValue | None:
        """A key as it was."""
        found = self._current.get(key)
        if found and found.mod_revision <= revision:
            return found
        self._record()
        changed = self.history.first_after(revision, key)
        return changed.prev_kv if changed else found

    def _past(self, revision: int, key: bytes, range_end: bytes) -> tuple[Iterable[KeyValue], int]:
        """A range as it was, and how many keys it had: as it is, with what changed since taken back."""
        self._record()
        since = self.history.changed_since(revision, key, range_end)
        count = self._keys.count(key, range_end) - since.live + since.before
        return since.undone(self._keys.scan(key, range_end), self._current), count

    # Writing.

    def _write_txn(self, txn: Txn) -> TxnResult:
        if len(txn.success) == 1 and not txn.compare and type(put := txn.success[0]) is Put:
            return self._write_put(put)
        path = self._plan(txn)
        main = self.revision + 1
        result = self._execute(txn, iter(path), main)
        self._record()
        if self.history.newest_revision == main:
            self.revision = main
            return result
        return TxnResult(self.revision, result.succeeded, result.responses)

    def _write_put(self, put: Put) -> TxnResult:
        """A transaction of nothing but one put, as most are."""
        self._check_put(put)
        main = self.revision + 1
        previous = self._put(put, main)
        self._record()
        self.revision = main
        return TxnResult(main, True, [PutResult(main, previous if put.prev_kv else None)])

    def _record(self) -> None:
        """Adds what the command under way has changed to the history."""
        events = self._events
        if len(events) == 1:
            self.history.append(self.revision + 1, events.pop())
        elif events:
            self.history.extend(self.revision + 1, events)
            events.clear()

    def _plan(self, txn: Txn) -> list[bool]:
        """Which branch is taken, of this and of every nested transaction in it, in the order met.

        All comparisons see the state before the transaction, and every reason to refuse is found before
        anything is done: first those of puts. Source: etcd's compareToPath and checkRequests.
        """
        path: list[bool] = []
        revisions: list[int] = []
        self._choose(txn, path, revisions)
        for revision in revisions:
            self._check_revision(revision)
        return path

    def _choose(self, txn: Txn, path: list[bool], revisions: list[int]) -> None:
        holds = all(map(self._holds, txn.compare))
        path.append(holds)
        for op in txn.success if holds else txn.failure:
            if type(op) is Put:
                if op.lease or op.ignore_value or op.ignore_lease:
                    self._check_put(op)
            elif type(op) is Range:
                revisions.append(op.revision)
            elif type(op) is Txn:
                self._choose(op, path, revisions)

    def _check_put(self, put: Put) -> None:
        if (put.ignore_value or put.ignore_lease) and put.key not in self._current:
            raise KeyNotFound(put.key)
        if put.lease and put.lease not in self.leases:
            raise LeaseNotFound(put.lease)

    def _holds(self, compare: Compare) -> bool:
        target, holds = _TARGETS[compare.target], _RESULTS[compare.result]
        if compare.range_end:
            kvs = [self._current[key] for key in self._keys.scan(compare.key, compare.range_end)]
        else:
            found = self._current.get(compare.key)
            kvs = [found] if found else []
        if kvs:
            return all(holds(target(kv), compare.value) for kv in kvs)
        # Nothing has no value, not even one that differs; everything else of it is 0.
        return compare.target != Target.VALUE and bool(holds(0, compare.value))

    def _execute(self, txn: Txn, path: Iterator[bool], main: int) -> TxnResult:
        succeeded = next(path)
        responses: list[OpResult] = []
        written = PutResult(main)
        for op in txn.success if succeeded else txn.failure:
            if type(op) is Put:
                previous = self._put(op, main)
                responses.append(PutResult(main, previous) if op.prev_kv and previous else written)
            else:
                responses.append(self._do(op, path, main))
        return TxnResult(main, succeeded, responses)

    def _do(self, op: Op, path: Iterator[bool], main: int) -> OpResult:
        if isinstance(op, Range):
            return self._range(op, self._revision_within(main))
        if isinstance(op, DeleteRange):
            gone = self._delete_range(op.key, op.range_end, main)
            return DeleteResult(self._revision_within(main), len(gone), gone if op.prev_kv else ())
        assert isinstance(op, Txn)
        result = self._execute(op, path, main)
        return TxnResult(self._revision_within(main), result.succeeded, result.responses)

    def _revision_within(self, main: int) -> int:
        """The revision that a transaction's own reads see: its own once it has written."""
        return main if self._events or self.history.newest_revision == main else self.revision

    def _put(self, put: Put, main: int) -> KeyValue | None:
        key, value, lease = put.key, put.value, put.lease
        previous = self._current.get(key)
        if previous is None:
            self._keys.add(key)
            kv = KeyValue(key, value, main, main, 1, lease)
        else:
            # The same bytes for one key, however often it is written.
            key = previous.key
            if put.ignore_value:
                value = previous.value
            if put.ignore_lease:
                lease = previous.lease
            kv = KeyValue(key, value, previous.create_revision, main, previous.version + 1, lease)
            if previous.lease and previous.lease != lease:
                self.leases[previous.lease].keys.discard(key)
        if lease:
            self.leases[lease].keys.add(key)
        self._current[key] = kv
        self._events.append(Event(_PUT, kv, previous))
        return previous

    def _delete_range(self, key: bytes, range_end: bytes, main: int) -> list[KeyValue]:
        keys = self._keys.scan(key, range_end) if range_end else (key,) if key in self._current else ()
        return [self._delete(each, main) for each in tuple(keys)]

    def _delete(self, key: bytes, main: int) -> KeyValue:
        gone = self._current.pop(key)
        self._keys.remove(key)
        if gone.lease:
            self.leases[gone.lease].keys.discard(key)
        self._events.append(Event(_DELETE, KeyValue(gone.key, b"", 0, main, 0), gone))
        return gone

    def _grant(self, index: int, command: LeaseGrant) -> Lease:
        check_lease_ttl(command.ttl_seconds)
        lease = command.lease
        if not lease:
            lease = index
            while lease in self.leases:
                lease += 1
        elif lease in self.leases:
            raise LeaseExists(lease)
        seconds = max(command.ttl_seconds, MIN_LEASE_TTL_SECONDS)
        granted = Lease(lease, seconds, seconds)
        self.leases[lease] = granted
        return granted

    def _end_leases(self, leases: Sequence[int]) -> None:
        """Deletes the leases and all that they hold, in one revision."""
        keys = sorted({key for lease in leases for key in self.leases[lease].keys})
        for key in keys:
            self._delete(key, self.revision + 1)
        for lease in leases:
            del self.leases[lease]
        if keys:
            self._record()
            self.revision += 1

    def _compact(self, revision: int) -> None:
        if revision <= self.compact_revision:
            raise Compacted(self.compact_revision)
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        self.compact_revision = revision
        self.history.compact(revision)

    # The snapshot's side (orchestra.mvcc.snapshot encodes it).

    def base(self) -> Iterator[KeyValue]:
        """The keys as they stood before the history begins, ascending; whatever happens after the call."""
        return self.history.changed_at_all().undone(list(self._keys), self._current.copy())

    @classmethod
    def rebuilt(
        cls,
        *,
        applied_index: int,
        revision: int,
        compact_revision: int,
        leases: Iterable[Lease],
        alarms: Iterable[AlarmMember],
        base: Iterable[KeyValue],
        history: Iterable[KeyValue],
    ) -> "Machine":
        """A machine from the parts of another, which must come in ascending order."""
        machine = cls()
        machine.applied_index = applied_index
        machine.revision = revision
        machine.compact_revision = compact_revision
        machine.leases = {lease.lease: lease for lease in leases}
        for alarm in alarms:
            machine.alarms.activate(alarm)
        current = machine._current = {kv.key: kv for kv in base}
        for kv in history:
            previous = current.get(kv.key)
            if kv.version:
                current[kv.key] = kv
                event = Event(_PUT, kv, previous)
            else:
                current.pop(kv.key, None)
                event = Event(_DELETE, kv, previous)
            machine.history.append(kv.mod_revision, event)
        machine._keys = KeyIndex(sorted(current))
        for kv in current.values():
            if kv.lease:
                machine.leases[kv.lease].keys.add(kv.key)
        return machine
