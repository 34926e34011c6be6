"""The order in which pods are tried."""

from orchestra.scheduling.queue import BACKOFF_INITIAL_MS, NS_PER_MS, PARKED_LIMIT_MS, SchedulingQueue

MS = NS_PER_MS


def test_priority_first_then_arrival() -> None:
    queue = SchedulingQueue()
    for key, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10)):
        queue.add(key, priority)
    assert [queue.pop(0) for _ in range(5)] == ["b", "d", "a", "c", None]
    assert len(queue) == 4, "tried is not done: only remove() forgets"


def test_a_parked_pod_waits_for_a_change_and_its_back_off() -> None:
    queue = SchedulingQueue()
    queue.add("a")
    assert queue.pop(0) == "a"
    queue.failed("a", 0, parked=True)
    assert queue.pop(10_000 * MS) is None
    queue.changed(1 * MS)
    assert queue.pop(1 * MS) is None, "its back-off is not over"
    assert queue.next_ns() == BACKOFF_INITIAL_MS * MS
    assert queue.pop(BACKOFF_INITIAL_MS * MS) == "a"
    queue.failed("a", 0, parked=True)
    queue.changed(10_000 * MS)
    assert queue.pop(10_000 * MS) == "a", "its back-off was over: tried at once"


def test_a_parked_pod_is_tried_again_in_the_end() -> None:
    queue = SchedulingQueue()
    queue.add("a")
    queue.pop(0)
    queue.failed("a", 0, parked=True)
    assert queue.next_ns() == PARKED_LIMIT_MS * MS
    assert queue.pop(PARKED_LIMIT_MS * MS) == "a"


def test_failures_wait_longer_each_time() -> None:
    queue = SchedulingQueue()
    queue.add("a")
    waits = []
    for _ in range(12):
        assert queue.pop(0 if not waits else waits[-1] * MS) == "a"
        queue.failed("a", 0, parked=False)
        due = queue.next_ns()
        assert due is not None
        waits.append(due // MS)
    assert waits[:4] == [50, 100, 200, 400]
    assert waits[-1] == 10_000


def test_removed_pods_are_not_handed_out() -> None:
    queue = SchedulingQueue()
    queue.add("a")
    queue.add("b")
    queue.remove("a")
    assert queue.pop(0) == "b"
    queue.failed("b", 0, parked=True)
    queue.remove("b")
    queue.changed(0)
    assert queue.pop(1 << 62) is None
    assert len(queue) == 0
