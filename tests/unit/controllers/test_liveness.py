"""The record of agents' lives: what changes it, and who is told."""

from orchestra.base.clock import NS_PER_SECOND
from orchestra.controllers.liveness import Liveness


def test_a_node_that_never_dialled_is_unknown() -> None:
    assert Liveness().state("n1") is None


def test_connect_heartbeat_disconnect() -> None:
    liveness, told = Liveness(), []
    unsubscribe = liveness.subscribe(told.append)
    liveness.connected("n1", "i1", 10)
    liveness.heartbeat("n1", 20)
    state = liveness.state("n1")
    assert state is not None
    assert (state.connected, state.since_ns, state.heard_ns) == (True, 10, 20)
    assert state.suspect_since_ns() is None
    liveness.disconnected("n1", None, 30)
    state = liveness.state("n1")
    assert state is not None
    assert (state.connected, state.suspect_since_ns()) == (False, 30)
    assert told == ["n1", "n1"]
    unsubscribe()
    liveness.connected("n1", "i2", 40)
    assert told == ["n1", "n1"]


def test_a_promised_restart_delays_the_suspicion() -> None:
    liveness = Liveness()
    liveness.connected("n1", "i1", 0)
    liveness.disconnected("n1", 5, 100)
    state = liveness.state("n1")
    assert state is not None
    assert state.suspect_since_ns() == 100 + 5 * NS_PER_SECOND


def test_the_end_of_a_replaced_session_changes_nothing() -> None:
    liveness = Liveness()
    liveness.connected("n1", "i1", 0)
    liveness.connected("n1", "i2", 1)
    liveness.disconnected("n1", None, 2, instance="i1")
    assert liveness.connected_count() == 1
    liveness.disconnected("n1", None, 3, instance="i2")
    assert liveness.connected_count() == 0


def test_forget_drops_only_the_disconnected() -> None:
    liveness = Liveness()
    liveness.connected("n1", "i1", 0)
    liveness.forget("n1")
    assert "n1" in liveness.nodes()
    liveness.disconnected("n1", None, 1)
    liveness.forget("n1")
    assert liveness.nodes() == {}


def test_a_failing_subscriber_does_not_stop_the_others() -> None:
    liveness, told = Liveness(), []

    def fail(node: str) -> None:
        raise RuntimeError(node)

    liveness.subscribe(fail)
    liveness.subscribe(told.append)
    liveness.connected("n1", "i1", 0)
    assert told == ["n1"]
