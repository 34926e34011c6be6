"""The owner's book of deadlines."""

import pytest

from orchestra.mvcc.errors import LeaseNotFound
from orchestra.mvcc.leases import NS_PER_SECOND, LeaseBook


def test_leases_become_due_in_order_and_once() -> None:
    book = LeaseBook()
    for lease, seconds in ((1, 30), (2, 10), (3, 20)):
        book.start(lease, seconds, 0)
    assert book.next_deadline_ns() == 10 * NS_PER_SECOND
    assert list(book.take_due(10 * NS_PER_SECOND - 1, 10)) == []
    assert list(book.take_due(25 * NS_PER_SECOND, 10)) == [2, 3]
    assert list(book.take_due(25 * NS_PER_SECOND, 10)) == []
    assert book.next_deadline_ns() == 30 * NS_PER_SECOND


def test_a_bounded_number_is_taken_at_a_time() -> None:
    book = LeaseBook()
    for lease in range(5):
        book.start(lease, 1, 0)
    taken = [list(book.take_due(NS_PER_SECOND, 2)) for _ in range(4)]
    assert taken == [[0, 1], [2, 3], [4], []]


def test_a_renewed_lease_is_due_later() -> None:
    book = LeaseBook()
    book.start(1, 10, 0)
    book.renew(1, 10, 9 * NS_PER_SECOND)
    assert list(book.take_due(18 * NS_PER_SECOND, 10)) == []
    assert book.remaining_seconds(1, 18 * NS_PER_SECOND) == 1
    assert list(book.take_due(19 * NS_PER_SECOND, 10)) == [1]


def test_a_lease_whose_end_is_proposed_cannot_be_renewed() -> None:
    book = LeaseBook()
    book.start(1, 1, 0)
    assert list(book.take_due(NS_PER_SECOND, 10)) == [1]
    with pytest.raises(LeaseNotFound):
        book.renew(1, 1, NS_PER_SECOND)
    # The proposal came to nothing.
    book.give_back([1])
    assert list(book.take_due(NS_PER_SECOND, 10)) == [1]
    book.forget(1)
    assert book.next_deadline_ns() is None
    with pytest.raises(LeaseNotFound):
        book.remaining_seconds(1, 0)


def test_renewals_without_end_take_bounded_memory() -> None:
    book = LeaseBook()
    book.start(1, 10, 0)
    for now in range(10_000):
        book.renew(1, 10, now)
    assert len(book._heap) < 100
    assert book.next_deadline_ns() == 9_999 + 10 * NS_PER_SECOND


@pytest.mark.parametrize(("now", "left"), [(0, 10), (1, 10), (NS_PER_SECOND, 9), (10 * NS_PER_SECOND, 0)])
def test_what_is_left_is_rounded_up(now: int, left: int) -> None:
    book = LeaseBook()
    book.start(1, 10, 0)
    assert book.remaining_seconds(1, now) == left
