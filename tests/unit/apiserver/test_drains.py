"""Draining: a pod may be told to stop once nobody routes to it, or after the bounded wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.apiserver import drains as module
from orchestra.apiserver.drains import WAIT_NS_MAX, Drains, ready_uids, stopping_uids
from orchestra.pb import discovery


def endpoints(*uids: str, ready: bool | None = True) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice()
    for uid in uids:
        endpoint = made.endpoints.add(addresses=["127.0.0.1"])
        endpoint.targetRef.uid = uid
        if ready is not None:
            endpoint.conditions.ready = ready
    return made


def test_ready_uids() -> None:
    made = endpoints("a")
    made.MergeFrom(endpoints("b", ready=False))
    made.MergeFrom(endpoints("c", ready=None))
    made.endpoints.add(addresses=["10.0.0.1"])
    assert ready_uids(made) == {"a", "c"}
    assert ready_uids(None) == set()


def test_a_pod_never_listed_is_drained_at_once() -> None:
    drains = Drains()
    drains.session_opened("n1")
    assert drains.pod_stopping("n1", "a", 0) == [("n1", "a")]
    assert drains.pod_stopping("n1", "a", 0) == []


def test_a_listed_pod_waits_for_the_slice_and_then_for_every_agent() -> None:
    drains = Drains()
    old = endpoints("a")
    drains.slice_changed(None, old)
    for node in ("n1", "n2"):
        drains.session_opened(node)
        drains.applied(node, drains.version)
    assert drains.pod_stopping("n1", "a", 0) == []
    assert drains.slice_changed(old, endpoints("a", ready=False)) == []
    assert drains.applied("n1", drains.version) == []
    assert drains.applied("n2", drains.version) == [("n1", "a")]
    assert drains.drained_on("n1") == ["a"]
    drains.pod_gone("a")
    assert drains.drained_on("n1") == []


def test_a_pod_in_two_slices_waits_for_both() -> None:
    drains = Drains()
    one, two = endpoints("a", "b"), endpoints("a")
    drains.slice_changed(None, one)
    drains.slice_changed(None, two)
    drains.session_opened("n1")
    assert drains.pod_stopping("n1", "a", 0) == []
    drains.slice_changed(one, endpoints("b"))
    assert drains.applied("n1", drains.version) == []
    assert drains.slice_changed(two, None) == []
    assert drains.applied("n1", drains.version) == [("n1", "a")]


def test_an_agent_that_connects_late_is_waited_for() -> None:
    drains = Drains()
    old = endpoints("a")
    drains.slice_changed(None, old)
    drains.session_opened("n1")
    drains.slice_changed(old, None)
    drains.session_opened("n2")
    drains.applied("n1", drains.version)
    assert drains.pod_stopping("n1", "a", 0) == []
    assert drains.applied("n2", drains.version) == [("n1", "a")]


def test_the_wait_is_bounded() -> None:
    drains = Drains()
    drains.slice_changed(None, endpoints("a"))
    drains.session_opened("n1")
    drains.pod_stopping("n1", "a", 100)
    assert drains.next_deadline_ns() == 100 + WAIT_NS_MAX
    assert drains.expired(99 + WAIT_NS_MAX) == []
    assert drains.expired(100 + WAIT_NS_MAX) == [("n1", "a")]
    assert drains.next_deadline_ns() is None


def test_a_pod_that_is_listed_again_has_to_be_unlisted_again() -> None:
    drains = Drains()
    listed, unlisted = endpoints("a"), endpoints("a", ready=False)
    drains.slice_changed(None, listed)
    drains.session_opened("n1")
    drains.slice_changed(listed, unlisted)
    drains.applied("n1", drains.version)
    drains.slice_changed(unlisted, listed)
    assert drains.pod_stopping("n1", "a", 0) == []


def ending(*uids: str) -> discovery.EndpointSlice:
    made = endpoints(*uids, ready=False)
    for endpoint in made.endpoints:
        endpoint.conditions.terminating = True
    return made


def test_a_pod_about_to_be_listed_waits_for_its_slices_to_know() -> None:
    drains = Drains()
    drains.session_opened("n1")
    drains.applied("n1", 0)
    unready, listed = endpoints("a", ready=False), endpoints("a")
    drains.slice_changed(None, unready)
    assert drains.pod_stopping("n1", "a", 0, awaits=True) == []
    assert drains.slice_changed(unready, listed) == []
    assert drains.slice_changed(listed, ending("a")) == []
    assert drains.applied("n1", drains.version) == [("n1", "a")]


def test_a_pod_that_was_never_listed_goes_when_its_slice_knows_of_its_end() -> None:
    drains = Drains()
    drains.session_opened("n1")
    assert drains.pod_stopping("n1", "a", 0, awaits=True) == []
    assert drains.slice_changed(None, endpoints("b")) == []
    assert drains.slice_changed(None, ending("a")) == [("n1", "a")]
    assert stopping_uids(ending("a")) == {"a"}
    assert stopping_uids(endpoints("a")) == stopping_uids(None) == set()


def test_a_pod_that_was_stopping_already_waits_for_the_deadline() -> None:
    drains = Drains()
    assert drains.pod_stopping("n1", "a", 0, blind=True) == []
    drains.session_opened("n1")
    assert drains.applied("n1", drains.version) == []
    assert drains.pod_stopping("n1", "a", 1) == []
    assert drains.expired(WAIT_NS_MAX) == [("n1", "a")]


def test_pods_that_went_before_their_slices_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNLISTED_MAX", 2)
    drains = Drains()
    drains.session_opened("n1")
    for uid in "abcd":
        drains.slice_changed(None, endpoints(uid))
        drains.slice_changed(endpoints(uid), None)
    # Nobody says yet that it no longer routes to them.
    assert len(drains._unlisted_at) == 4
    drains.applied("n1", drains.version)
    drains.slice_changed(None, None)
    assert list(drains._unlisted_at) == ["c", "d"]


NODES = ("n1", "n2", "n3")
UIDS = ("a", "b", "c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(NODES)),
        st.tuples(st.just("close"), st.sampled_from(NODES)),
        st.tuples(st.just("applied"), st.sampled_from(NODES), st.integers(0, 5)),
        st.tuples(st.just("slice"), st.integers(0, 1), st.sets(st.sampled_from(UIDS))),
        st.tuples(st.just("stop"), st.sampled_from(UIDS)),
    ),
    max_size=40,
)


@given(STEPS)
def test_nobody_is_drained_while_an_agent_may_route_to_it(steps: list[tuple[object, ...]]) -> None:
    """Against a plain model: each agent routes to all that was listed since the version it applied."""
    drains = Drains()
    slices: dict[int, set[str]] = {0: set(), 1: set()}
    history = [set[str]()]
    applied: dict[str, int] = {}
    stopping: set[str] = set()
    released: set[str] = set()
    for step in steps:
        match step:
            case ("open", str(node)) if node not in applied:
                applied[node] = -1
                drains.session_opened(node)
                out: list[tuple[str, str]] = []
            case ("close", str(node)):
                applied.pop(node, None)
                out = drains.session_closed(node)
            case ("applied", str(node), int(back)) if node in applied:
                version = max(0, drains.version - back)
                applied[node] = max(applied[node], version)
                out = drains.applied(node, version)
            case ("slice", int(which), set(uids)):
                old, slices[which] = slices[which], uids
                out = drains.slice_changed(endpoints(*sorted(old)), endpoints(*sorted(uids)))
                history.append(slices[0] | slices[1])
            case ("stop", str(uid)) if uid not in stopping:
                stopping.add(uid)
                out = drains.pod_stopping("n1", uid, 0)
            case _:
                continue
        for _, uid in out:
            assert uid in stopping
            assert uid not in released, "told twice"
            released.add(uid)
            assert uid not in history[-1]
            for version in applied.values():
                assert all(uid not in then for then in history[max(0, version) :]) or (
                    version >= 0 and uid not in history[version]
                )
    for uid in stopping - released:
        listed_now = uid in history[-1]
        behind = [node for node, version in applied.items() if version < drains.version]
        assert listed_now or behind, f"{uid} waits for nothing"
