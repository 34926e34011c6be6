"""How fast the scheduler decides, without I/O: 5,000 nodes, one decision after another."""

import random
import time

from orchestra.pb import core
from orchestra.scheduling.cycle import Cycle
from orchestra.scheduling.view import ClusterView, PodShape, shape_of
from scripts.benchmarks.figures import Figure

NODES = 5_000
DECISIONS = 20_000
ZONES = 10
SHAPES = 50


def _cluster() -> ClusterView:
    view = ClusterView()
    for number in range(NODES):
        node = core.Node()
        node.metadata.name = f"n{number}"
        node.metadata.labels["zone"] = f"z{number % ZONES}"
        for resource, quantity in (("cpu", "32"), ("memory", "64Gi"), ("pods", "110")):
            node.status.allocatable[resource].string = quantity
        node.status.conditions.add(type="Ready", status="True")
        view.set_node(node)
    return view


def _shape(owner: str, zone: str = "") -> PodShape:
    pod = core.Pod()
    pod.metadata.ownerReferences.add(uid=owner, controller=True)
    container = pod.spec.containers.add(name="c")
    container.resources.requests["cpu"].string = "100m"
    container.resources.requests["memory"].string = "100Mi"
    if zone:
        affinity = pod.spec.affinity.nodeAffinity
        term = affinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.add()
        term.matchExpressions.add(key="zone", operator="In", values=[zone])
        wish = affinity.preferredDuringSchedulingIgnoredDuringExecution.add(weight=10)
        wish.preference.matchExpressions.add(key="zone", operator="Exists")
    return shape_of(pod)


def _decisions_per_s(shapes: list[PodShape]) -> float:
    """Pods of the given shapes in a random order, each placed before the next is decided."""
    view = _cluster()
    cycle = Cycle(view)
    order = random.Random(1).choices(shapes, k=DECISIONS)
    began = time.perf_counter()
    for number, shape in enumerate(order):
        node = cycle.choose(shape).node
        assert node is not None
        view.place(str(number), node, shape)
    return DECISIONS / (time.perf_counter() - began)


async def schedule_per_s() -> list[Figure]:
    """Decisions a second, the first pass over all nodes for each shape included."""
    notes: dict[str, float | int | str] = {"nodes": NODES, "decisions": DECISIONS}
    one = _decisions_per_s([_shape("one")])
    many = _decisions_per_s([_shape(f"o{number}") for number in range(SHAPES)])
    spread = _decisions_per_s([_shape(f"o{number}", f"z{number % ZONES}") for number in range(SHAPES)])
    return [
        Figure("schedule_per_s", one, "decisions/s", notes=notes | {"shapes": 1}),
        Figure("schedule_per_s", many, "decisions/s", notes=notes | {"shapes": SHAPES}),
        Figure("schedule_per_s", spread, "decisions/s", notes=notes | {"shapes": SHAPES, "with": "affinity"}),
    ]
