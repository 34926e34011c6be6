"""Which master an agent dials next, and how soon."""

import random

from agents.masters import Masters

A, B, C = "10.0.0.1:7070", "10.0.0.2:7070", "10.0.0.3:7070"


def masters(*own: str) -> Masters:
    return Masters(own or (A, B, C), random.Random(1))


def test_each_is_tried_before_there_is_a_rest() -> None:
    ways = masters()
    waits = []
    for expected in (A, B, C, A):
        assert ways.take() == expected
        waits.append(ways.failed(expected))
    assert waits[:2] == [0, 0]
    assert 0 < waits[2] <= 50
    assert waits[3] == 0


def test_silence_is_met_with_growing_waits() -> None:
    ways = masters(A)
    waits = [ways.failed(ways.take()) for _ in range(12)]
    assert max(waits) > 900
    assert all(0 < wait <= 2000 for wait in waits)


def test_the_one_that_was_lost_is_dialled_at_once_and_then_the_others_hear_of_it() -> None:
    ways = masters()
    ways.take()
    ways.welcomed([])
    ways.synced()
    assert ways.ended(A, synced=True) == 0
    assert ways.take() == A
    assert ways.connect_seconds() == 0.3
    assert ways.failed(A) == 0
    assert ways.take() == B
    assert ways.connect_seconds() == 3.0
    assert ways.lost == A
    assert ways.redirected(C) == 0
    assert ways.take() == C
    ways.welcomed([])
    assert ways.lost == ""


def test_a_session_that_never_came_to_anything_is_no_success() -> None:
    ways = masters(A)
    ways.take()
    assert ways.ended(A, synced=False) > 0


def test_masters_that_do_not_agree_are_given_time() -> None:
    ways = masters()
    waits = []
    for leader in (B, A, B, A, B):
        ways.take()
        waits.append(ways.redirected(leader))
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= 200 for wait in waits[3:])


def test_while_nobody_leads_the_wait_is_short_and_jittered() -> None:
    ways = masters()
    waits = [ways.refused(100) for _ in range(50)]
    assert all(25 <= wait <= 200 for wait in waits)
    assert len(set(waits)) > 10
    assert ways.refused(1000) == 1000


def test_what_a_master_tells_is_known_from_then_on_and_what_is_no_address_is_not() -> None:
    ways = masters(A)
    assert ways.take() == A
    assert ways.connect_seconds() is None
    ways.welcomed([A, B, "nonsense"])
    ways.ended(A, synced=True)
    assert [ways.take() for _ in range(4)] == [A, B, A, B]
    ways.welcomed([C])
    assert {ways.take() for _ in range(4)} == {A, C}
    assert ways.redirected("nonsense") > 0
