"""The checks of chaos find what they look for."""

import time

import pytest

from orchestra.mvcc.model import (
    Event,
    EventType,
    KeyValue,
    Put,
    PutResult,
    Range,
    RangeResult,
    Txn,
    TxnResult,
)
from orchestra.store.contract import WatchBatch
from scripts.chaos_scenarios.calls import Book, longest_gap
from scripts.chaos_scenarios.history import Findings, Told, check_calls, check_leases, check_watches
from scripts.chaos_scenarios.leasing import Held
from scripts.chaos_scenarios.watching import PREFIX, PREFIX_END
from tests.simulation.group.history import Call
from tests.simulation.group.record import Violation
from tests.simulation.group.watches import Watched

KEY = b"chaos/k"


def kv(revision: int, value: bytes) -> KeyValue:
    return KeyValue(KEY, value, 2, revision, revision - 1)


def put(revision: int) -> Event:
    return Event(EventType.PUT, kv(revision, b"%d" % revision), None)


def told(*revisions: int) -> Told:
    record = Told()
    record.took([put(revision) for revision in revisions])
    return record


def wrote(revision: int, value: bytes, asked: float) -> Call:
    result = TxnResult(revision, True, (PutResult(revision),))
    return Call("c", Txn((), (Put(KEY, value),)), asked, asked + 0.1, result)


def read(revision: int, asked: float) -> Call:
    return Call(
        "c", Range(KEY), asked, asked + 0.1, RangeResult(revision, (kv(revision, b"%d" % revision),), 1)
    )


def found(record: Told, *calls: Call) -> list[str]:
    book, findings = Book(), Findings()
    book.history.calls += calls
    check_calls([book], record, findings)
    return findings.violations


WRITES = (wrote(2, b"2", 1.0), wrote(3, b"3", 2.0))


def test_what_happened_as_it_was_told_is_no_violation() -> None:
    assert found(told(2, 3), *WRITES, read(3, 3.0)) == []


@pytest.mark.parametrize(
    ("record", "calls", "says"),
    [
        (told(2), WRITES, "nothing was"),
        (told(2, 3), (*WRITES, read(2, 3.0)), "answered from the past"),
        (told(2, 3), WRITES[:1], "was written by nobody"),
    ],
    ids=["an acknowledged write is lost", "a stale read", "an invented write"],
)
def test_of_calls(record: Told, calls: tuple[Call, ...], says: str) -> None:
    assert any(says in violation for violation in found(record, *calls))


def test_a_write_that_was_done_twice() -> None:
    record = Told()
    record.took([put(2), Event(EventType.PUT, kv(3, b"2"), None)])
    assert any("more than once" in violation for violation in found(record, WRITES[0]))


def test_a_refused_write_that_was_done() -> None:
    refused = Call("c", WRITES[1].request, 2.0, refused="no", void=True)
    assert any("said not to be done" in each for each in found(told(2, 3), WRITES[0], refused))


@pytest.mark.parametrize("revisions", [(3,), (2, 4), (2, 3, 2)])
def test_a_history_with_a_hole_or_out_of_turn(revisions: tuple[int, ...]) -> None:
    with pytest.raises(Violation):
        told(*revisions)


def test_a_watch_that_missed_an_event() -> None:
    watched, findings = Watched("w", PREFIX, PREFIX_END, False, 1), Findings()
    watched.took(WatchBatch(3, [put(3)]))
    check_watches([watched], told(2, 3), 1, findings)
    assert findings.violations


@pytest.mark.parametrize("early", [False, True])
def test_a_lease_that_ended_while_it_was_kept_alive(early: bool) -> None:
    book, findings, now = Book(), Findings(), time.monotonic()
    book.gone[KEY, 5] = now
    check_leases([Held(1, KEY, now + (0.5 if early else -0.5))], book, findings)
    assert bool(findings.violations) is early


def test_the_longest_gap() -> None:
    assert longest_gap([1.0, 2.0, 5.0], 0.5, 6.0) == 3.0
