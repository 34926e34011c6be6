"""Slices from pods, with the fewest writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.controllers.plans import endpoints as plans
from orchestra.controllers.plans.endpoints import EndpointsObserved, SlicesPlan
from orchestra.objects import intstr
from orchestra.pb import core, discovery


def service(target: int | str = 8080, **spec: object) -> core.Service:
    made = core.Service()
    made.metadata.name = "web"
    made.metadata.namespace = "default"
    made.metadata.uid = "s-uid"
    made.metadata.labels["team"] = "a"
    made.spec.selector["app"] = "web"
    made.spec.ports.add(name="http", port=80, protocol="TCP").targetPort.CopyFrom(intstr.of(target))
    for key, value in spec.items():
        setattr(made.spec, key, value)
    return made


def pod(name: str, *, host_port: int = 0, ready: bool = True, leaving: bool = False, ip: str = "127.77.0.10",
        phase: str = "Running") -> core.Pod:  # fmt: skip
    made = core.Pod()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", f"{name}-uid"
    made.metadata.labels["app"] = "web"
    made.spec.nodeName = "n1"
    container = made.spec.containers.add(name="main")
    container.ports.add(name="http", containerPort=8080, protocol="TCP")
    made.status.phase, made.status.podIP = phase, ip
    made.status.conditions.add(type="Ready", status="True" if ready else "False")
    if host_port:
        made.status.containerStatuses.add(name="main").ports.add(
            name="http", containerPort=8080, hostPort=host_port, protocol="TCP"
        )
    if leaving:
        made.metadata.deletionTimestamp.seconds = 1
    return made


class Slices:
    """Plays plans on slices, and counts the writes."""

    def __init__(self) -> None:
        self.there: dict[str, discovery.EndpointSlice] = {}
        self.made = 0

    def play(self, target: core.Service, pods: list[core.Pod]) -> SlicesPlan:
        plan = plans.plan(EndpointsObserved(target, pods, list(self.there.values())), 0)
        for created in plan.create:
            self.made += 1
            created.metadata.name = f"web-{self.made:04}"
            self.there[created.metadata.name] = created
        for updated in plan.update:
            self.there[updated.metadata.name] = updated
        for deleted in plan.delete:
            del self.there[deleted.metadata.name]
        return plan

    def endpoints(self) -> dict[str, tuple[int, bool, bool, bool]]:
        return {
            e.targetRef.name: (
                s.ports[0].port if s.ports else 0, e.conditions.ready, e.conditions.serving, e.conditions.terminating
            )
            for s in self.there.values()
            for e in s.endpoints
        }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "made", "expected"),
    [
        (8080, pod("a", host_port=31000), 31000),
        ("http", pod("a", host_port=31000), 31000),
        (8080, pod("a"), 8080),
        ("http", pod("a"), 8080),
        (9999, pod("a", host_port=31000), 9999),
        ("other", pod("a", host_port=31000), None),
    ],
)
def test_ports(target: int | str, made: core.Pod, expected: int | None) -> None:
    assert plans.resolve_port(made, service(target).spec.ports[0]) == expected


def test_conditions() -> None:
    slices = Slices()
    slices.play(service(), [pod("a"), pod("b", ready=False), pod("c", leaving=True), pod("d", ip=""),
                            pod("e", phase="Failed")])  # fmt: skip
    assert slices.endpoints() == {
        "a": (8080, True, True, False),
        "b": (8080, False, False, False),
        "c": (8080, False, True, True),
    }
    slices.play(service(publishNotReadyAddresses=True), [pod("b", ready=False), pod("c", leaving=True)])
    assert [ready for _, ready, _, _ in slices.endpoints().values()] == [True, True]


def test_a_service_that_matches_nothing_has_one_empty_slice() -> None:
    slices = Slices()
    slices.play(service(), [])
    [empty] = slices.there.values()
    assert not empty.endpoints
    assert not empty.ports
    assert dict(empty.metadata.labels) == {
        "team": "a",
        plans.SERVICE_NAME_LABEL: "web",
        plans.MANAGED_BY_LABEL: plans.MANAGED_BY,
    }
    assert empty.metadata.ownerReferences[0].uid == "s-uid"
    # The empty slice is filled, not replaced; a second pod with its own ports gets a slice of its own.
    assert slices.play(service(), [pod("a", host_port=1)]).create == ()
    slices.play(service(), [pod("a", host_port=1), pod("b", host_port=2)])
    assert len(slices.there) == 2
    plan = slices.play(service(), [])
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 1)


def test_a_replaced_pod_is_one_write() -> None:
    slices = Slices()
    slices.play(service(), [pod("a", host_port=1), pod("b", host_port=2)])
    plan = slices.play(service(), [pod("a", host_port=1), pod("c", host_port=3)])
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


def test_slices_are_bounded() -> None:
    slices = Slices()
    slices.play(service(), [pod(f"p{i}") for i in range(250)])
    assert sorted(len(s.endpoints) for s in slices.there.values()) == [50, 100, 100]


def test_no_selector_no_slices() -> None:
    bare = service()
    bare.spec.selector.clear()
    assert plans.plan(EndpointsObserved(bare, [pod("a")], []), 0) == SlicesPlan()
    alias = service(type="ExternalName")
    assert plans.plan(EndpointsObserved(alias, [pod("a")], []), 0) == SlicesPlan()


_pods = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.booleans(), st.booleans()), max_size=12,
    unique_by=lambda p: p[0],
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(_pods, min_size=1, max_size=6))
def test_any_history_ends_in_what_the_pods_say(
    history: list[list[tuple[int, int, bool, bool]]],
) -> None:
    slices = Slices()
    for turn in history:
        pods = [pod(f"p{n}", host_port=p, ready=r, leaving=gone) for n, p, r, gone in turn]
        slices.play(service(), pods)
        assert slices.endpoints() == {f"p{n}": (p or 8080, r and not gone, r, gone) for n, p, r, gone in turn}
        assert slices.there
        assert slices.play(service(), pods) == SlicesPlan()
