"""When etcd's history is compacted, and how far."""

from orchestra.mvcc.retention import Retention
from orchestra.store.etcd.compactor import Written


def test_a_tenth_too_many_revisions() -> None:
    written = Written(Retention(revisions=100), 0)
    planned = []
    for revision in range(1, 400):
        written.wrote(revision, 1)
        if (plan := written.plan()) is not None:
            planned.append((revision, plan))
            written.compacted(plan)
    assert planned == [(at, at - 100) for at in range(111, 400, 11)]


def test_what_was_there_before_counts_by_its_revisions() -> None:
    assert Written(Retention(revisions=100), 5000).plan() == 4900
    assert Written(Retention(revisions=100), 90).plan() is None


def test_too_many_bytes() -> None:
    written = Written(Retention(revisions=1000, value_bytes=1000), 0)
    for revision in range(1, 11):
        written.wrote(revision, 100)
    assert written.plan() is None
    written.wrote(11, 100)
    # Half of the bytes stays.
    assert written.plan() == 6
    written.compacted(6)
    assert written.plan() is None


def test_one_large_value_is_kept() -> None:
    written = Written(Retention(revisions=1000, value_bytes=1000), 5)
    written.wrote(6, 5000)
    assert written.plan() == 6
    written.compacted(6)
    assert written.plan() is None


def test_somebody_else_compacted() -> None:
    written = Written(Retention(revisions=100), 500)
    assert written.plan() == 400
    written.compacted(450)
    assert written.plan() is None
