"""Placement decided without I/O: filters, scores, reasons, and the rankings that are kept between pods."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.pb import core
from orchestra.scheduling.cycle import Cycle
from orchestra.scheduling.view import ClusterView, NodeView, PodShape, shape_of


def node(
    name: str,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    taints: tuple[tuple[str, str, str], ...] = (),
    ready: bool = True,
    unschedulable: bool = False,
) -> core.Node:
    made = core.Node()
    made.metadata.name = name
    made.metadata.labels.update(labels or {})
    for resource, quantity in (("cpu", cpu), ("memory", memory), ("pods", pods)):
        made.status.allocatable[resource].string = quantity
    made.status.conditions.add(type="Ready", status="True" if ready else "Unknown")
    for key, value, effect in taints:
        made.spec.taints.add(key=key, value=value, effect=effect)
    if unschedulable:
        made.spec.unschedulable = True
    return made


def pod(name: str = "p", owner: str = "", **requests: str) -> core.Pod:
    made = core.Pod()
    made.metadata.name = name
    made.metadata.uid = name
    if owner:
        made.metadata.ownerReferences.add(uid=owner, controller=True)
    container = made.spec.containers.add(name="c")
    for resource, quantity in requests.items():
        container.resources.requests[resource].string = quantity
    return made


def cluster(*nodes: core.Node) -> tuple[ClusterView, Cycle]:
    view = ClusterView()
    for each in nodes:
        view.set_node(each)
    return view, Cycle(view)


def test_no_nodes_at_all_is_said() -> None:
    _, cycle = cluster()
    assert cycle.choose(shape_of(pod())).message == "no nodes available to schedule pods"


def test_reasons_are_counted_as_kubernetes_words_them() -> None:
    _, cycle = cluster(node("a", cpu="1"), node("b", cpu="1"), node("c", cpu="1"))
    decision = cycle.choose(shape_of(pod(cpu="2")))
    assert decision.message == "0/3 nodes are available: 3 Insufficient cpu."


def test_why_nothing_fits_is_found_out_once_for_each_change() -> None:
    asked: list[str] = []

    class Never:
        def refusal(self, shape: PodShape, node: NodeView) -> str | None:
            asked.append(node.name)
            return f"no room on {len(asked)}"

    view, _ = cluster(node("a"))
    cycle = Cycle(view, filters=(Never(),), scores=())
    shape = shape_of(pod())
    first = cycle.choose(shape)
    known = len(asked)
    assert cycle.choose(shape) == first
    assert len(asked) == known
    view.set_node(node("a", cpu="2"))
    assert cycle.choose(shape) != first


@pytest.mark.parametrize(
    ("refusing", "reason"),
    [
        (node("x", unschedulable=True), "node(s) were unschedulable"),
        (node("x", ready=False), "node(s) were not ready"),
        (node("x", memory="1Mi"), "Insufficient memory"),
        (node("x", pods="0"), "Too many pods"),
        (node("x", taints=(("gpu", "yes", "NoSchedule"),)), "node(s) had untolerated taint {gpu: yes}"),
        (node("x", taints=(("k", "", "NoExecute"),)), "node(s) had untolerated taint {k: }"),
    ],
)
def test_each_filter_refuses_with_its_reason(refusing: core.Node, reason: str) -> None:
    _, cycle = cluster(refusing)
    assert cycle.choose(shape_of(pod(memory="2Mi"))).message == f"0/1 nodes are available: 1 {reason}."


def test_tolerations_open_tainted_nodes() -> None:
    _, cycle = cluster(node("a", taints=(("gpu", "yes", "NoSchedule"),)))
    wanting = pod()
    wanting.spec.tolerations.add(key="gpu", operator="Equal", value="yes", effect="NoSchedule")
    assert cycle.choose(shape_of(wanting)).node == "a"
    wanting.spec.tolerations[0].value = "no"
    assert cycle.choose(shape_of(wanting)).node is None
    wanting.spec.tolerations[0].CopyFrom(core.Toleration(operator="Exists"))
    assert cycle.choose(shape_of(wanting)).node == "a"


def test_node_selector_and_required_affinity() -> None:
    _, cycle = cluster(node("a", labels={"zone": "east"}), node("b", labels={"zone": "west", "disk": "9"}))
    selecting = pod()
    selecting.spec.nodeSelector["zone"] = "west"
    assert cycle.choose(shape_of(selecting)).node == "b"
    selecting.spec.nodeSelector["zone"] = "north"
    assert "node affinity/selector" in cycle.choose(shape_of(selecting)).message
    demanding = pod()
    terms = demanding.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution
    terms.nodeSelectorTerms.add().matchExpressions.add(key="disk", operator="Gt", values=["8"])
    assert cycle.choose(shape_of(demanding)).node == "b"
    terms.nodeSelectorTerms[0].matchExpressions[0].values[0] = "9"
    assert cycle.choose(shape_of(demanding)).node is None


def test_host_ports_are_not_shared() -> None:
    view, cycle = cluster(node("a"), node("b"))
    insisting = pod()
    insisting.spec.containers[0].ports.add(containerPort=80, hostPort=8080)
    shape = shape_of(insisting)
    taken = []
    for uid in ("1", "2"):
        chosen = cycle.choose(shape).node
        assert chosen is not None
        view.place(uid, chosen, shape)
        taken.append(chosen)
    assert sorted(taken) == ["a", "b"]
    assert "free ports" in cycle.choose(shape).message
    view.release("1")
    assert cycle.choose(shape).node == taken[0]


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        (("0.0.0.0", "TCP", 80), ("127.0.0.1", "TCP", 80), False),
        (("127.0.0.1", "TCP", 80), ("", "TCP", 80), False),
        (("127.0.0.1", "TCP", 80), ("127.0.0.1", "TCP", 80), False),
        (("127.0.0.1", "TCP", 80), ("127.0.0.2", "TCP", 80), True),
        (("0.0.0.0", "TCP", 80), ("0.0.0.0", "UDP", 80), True),
        (("0.0.0.0", "TCP", 80), ("0.0.0.0", "TCP", 81), True),
    ],
)
def test_a_host_port_of_all_addresses_is_one_of_each(
    held: tuple[str, str, int], wanted: tuple[str, str, int], fits: bool
) -> None:
    view, cycle = cluster(node("a"))
    for uid, (address, protocol, port) in enumerate((held, wanted)):
        insisting = pod()
        insisting.spec.containers[0].ports.add(
            containerPort=8080, hostPort=port, hostIP=address, protocol=protocol
        )
        shape = shape_of(insisting)
        if uid == 0:
            view.place("held", "a", shape)
        else:
            assert (cycle.choose(shape).node == "a") is fits


def test_pods_of_one_owner_are_spread() -> None:
    view, cycle = cluster(*(node(name) for name in "abc"))
    shape = shape_of(pod(owner="rs"))
    for uid in range(9):
        chosen = cycle.choose(shape).node
        assert chosen is not None
        view.place(str(uid), chosen, shape)
    assert {name: view.nodes[name].owners["rs"] for name in "abc"} == {"a": 3, "b": 3, "c": 3}


def test_the_emptier_node_is_preferred() -> None:
    view, cycle = cluster(node("a"), node("b"))
    view.place("big", "a", shape_of(pod(cpu="3", memory="6Gi")))
    assert cycle.choose(shape_of(pod(cpu="100m"))).node == "b"


def test_a_node_that_returns_still_carries_its_pods() -> None:
    view, cycle = cluster(node("a", cpu="1"))
    shape = shape_of(pod(cpu="1"))
    view.place("1", "a", shape)
    view.remove_node("a")
    assert cycle.choose(shape).node is None
    view.set_node(node("a", cpu="1"))
    assert cycle.choose(shape).node is None
    view.release("1")
    assert cycle.choose(shape).node == "a"


def test_a_node_that_returns_smaller_is_ranked_anew() -> None:
    view, cycle = cluster(node("a", cpu="4"))
    shape = shape_of(pod(cpu="2"))
    assert cycle.choose(shape).node == "a"
    view.remove_node("a")
    view.set_node(node("a", cpu="1"))
    assert cycle.choose(shape).node is None


SHAPES = [
    PodShape(requests=(("cpu", 500),), weighed_cpu_millis=500, owner="x"),
    PodShape(requests=(("cpu", 250), ("memory", 1 << 28)), weighed_cpu_millis=250, owner="y"),
    PodShape(owner="z"),
]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("place"), st.sampled_from(SHAPES)),
            st.tuples(st.just("release"), st.integers(0, 20)),
            st.tuples(st.just("toggle"), st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_kept_rankings_answer_as_fresh_ones(steps: list[tuple[str, object]]) -> None:
    """Whatever happened before, the kept heap's choice scores as high as a fresh look at all nodes."""
    view, cycle = cluster(*(node(f"n{i}", cpu="2") for i in range(4)))
    up = [True] * 4
    placed: list[str] = []
    for number, (what, value) in enumerate(steps):
        if what == "place":
            assert isinstance(value, PodShape)
            fresh = Cycle(view)
            expected = fresh.choose(value).node
            chosen = cycle.choose(value).node
            assert (chosen is None) == (expected is None)
            if chosen is None or expected is None:
                continue
            scores = {name: fresh._entry(value, view.nodes[name]) for name in (chosen, expected)}
            left, right = scores[chosen], scores[expected]
            assert left is not None
            assert right is not None
            assert left[0] == right[0]
            view.place(str(number), chosen, value)
            placed.append(str(number))
        elif what == "release" and placed:
            assert isinstance(value, int)
            view.release(placed.pop(value % len(placed)))
        elif what == "toggle":
            assert isinstance(value, int)
            up[value] = not up[value]
            view.set_node(node(f"n{value}", cpu="2", unschedulable=not up[value]))
    requested = Counter[str]()
    for each in view.nodes.values():
        assert each.requested["cpu"] <= 2000
        requested.update(each.owners)
    assert sum(requested.values()) == len(placed)
