"""What is asked of one pod."""

import pytest

from orchestra.controllers.plans import pods as podq
from orchestra.objects.times import NS_PER_SECOND
from orchestra.pb import core

S = NS_PER_SECOND


def make(name: str = "p", *, phase: str = "Running", node: str = "n1", ready_since: int | None = 100,
         restarts: int = 0, cost: str | None = None, created: int = 50) -> core.Pod:  # fmt: skip
    pod = core.Pod()
    pod.metadata.name = name
    pod.metadata.creationTimestamp.seconds = created
    if cost is not None:
        pod.metadata.annotations[podq.DELETION_COST_ANNOTATION] = cost
    if node:
        pod.spec.nodeName = node
    pod.status.phase = phase
    if ready_since is not None:
        pod.status.conditions.add(type="Ready", status="True").lastTransitionTime.seconds = ready_since
    pod.status.containerStatuses.add(name="main", restartCount=restarts)
    return pod


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (make(node="", phase="Pending", ready_since=None), make(phase="Pending", ready_since=None)),
        (make(phase="Pending", ready_since=None), make(phase="Running", ready_since=None)),
        (make(ready_since=None), make(ready_since=100)),
        (make(cost="-5"), make()),
        (make(), make(cost="10")),
        (make(cost="junk"), make(cost="1")),
        (make(ready_since=200), make(ready_since=100)),
        (make(restarts=3), make(restarts=1)),
        (make(created=60), make(created=50)),
        # Not ready outranks cost; cost outranks how long ready.
        (make(ready_since=None, cost="100"), make(cost="-100")),
        (make(cost="-1", ready_since=1), make(ready_since=999)),
    ],
)  # fmt: skip
def test_who_goes_first(first: core.Pod, second: core.Pod) -> None:
    assert podq.deletion_rank(first, 1) < podq.deletion_rank(second, 1)


def test_the_fuller_node_gives_first() -> None:
    assert podq.deletion_rank(make("b", ready_since=1), 2) < podq.deletion_rank(make("a", ready_since=9), 1)


@pytest.mark.parametrize(
    ("ready_since", "min_ready", "now", "available"),
    [(100, 0, 0, True), (100, 10, 109, False), (100, 10, 110, True), (None, 0, 999, False)],
)
def test_available(ready_since: int | None, min_ready: int, now: int, available: bool) -> None:
    assert podq.is_available(make(ready_since=ready_since), min_ready, now * S) is available


def test_active_and_terminating() -> None:
    running, leaving, failed = make(), make(), make(phase="Failed")
    leaving.metadata.deletionTimestamp.seconds = 1
    assert [podq.is_active(p) for p in (running, leaving, failed)] == [True, False, False]
    assert [podq.is_terminating(p) for p in (running, leaving, failed)] == [False, True, False]


def test_one_that_is_not_available_yet_goes_before_a_cheaper_one_that_is() -> None:
    cheap = make("a", cost="-5", ready_since=1)
    assert podq.deletion_rank(make("b"), 1, available=False) < podq.deletion_rank(cheap, 3)
