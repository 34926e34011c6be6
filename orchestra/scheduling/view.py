"""The cluster as placement sees it: nodes with what is free on them, and what a pod asks for.

A ClusterView is owned by one scheduler and changed only by it; plugins read. Every change to a node gives it
a new version. Changes that can make a node a better place are noted in order, so that what was computed about
other nodes can be kept; a pod that is placed only ever makes its node a worse one, which can be found out
late, when the node is looked at again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from orchestra.objects.quantity import as_int, milli, parse_quantity
from orchestra.pb import core

# What a pod that requests nothing counts as when nodes are compared, so that such pods spread too.
# Source: Kubernetes' DefaultMilliCPURequest and DefaultMemoryRequest.
DEFAULT_CPU_MILLIS = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
PODS_ALLOWED = 110
# A hostPort that names no address is one of all addresses.
ANY_ADDRESS = "0.0.0.0"

K = TypeVar("K")

# Changes are kept this far back; a reader that is further behind starts over.
CHANGES_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Taint:
    """One taint of a node."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Toleration:
    """One toleration of a pod. An empty key tolerates every key, an empty effect every effect."""

    key: str
    exists: bool
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        """Source: Kubernetes' Toleration.ToleratesTaint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.exists or self.value == taint.value


@dataclass(frozen=True, slots=True)
class PodShape:
    """All that placement looks at in a pod. Pods of one template have equal shapes, so that what is known of
    nodes for one of them holds for the next.

    requests: (resource, amount), cpu in millicores, everything else in units.
    host_ports: (protocol, address, port).
    weighed_*: the requests with a default for pods that ask for nothing; for comparing nodes only.
    """

    requests: tuple[tuple[str, int], ...] = ()
    weighed_cpu_millis: int = DEFAULT_CPU_MILLIS
    weighed_memory_bytes: int = DEFAULT_MEMORY_BYTES
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    host_ports: tuple[tuple[str, str, int], ...] = ()
    owner: str = ""
    affinity_bytes: bytes = b""
    affinity: core.NodeAffinity | None = field(default=None, compare=False, hash=False)

    def tolerates(self, taint: Taint) -> bool:
        """Whether one of the pod's tolerations answers the taint."""
        return any(toleration.tolerates(taint) for toleration in self.tolerations)


def shape_of(pod: core.Pod) -> PodShape:
    """What placement has to know of a pod."""
    requests = _requests(pod.spec)
    owners = [reference.uid for reference in pod.metadata.ownerReferences if reference.controller]
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity.HasField("nodeAffinity") else None
    return PodShape(
        requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        weighed_cpu_millis=requests.get("cpu") or DEFAULT_CPU_MILLIS,
        weighed_memory_bytes=requests.get("memory") or DEFAULT_MEMORY_BYTES,
        node_selector=tuple(sorted(pod.spec.nodeSelector.items())),
        tolerations=tuple(
            Toleration(t.key, t.operator == "Exists", t.value, t.effect) for t in pod.spec.tolerations
        ),
        host_ports=tuple(
            (port.protocol or "TCP", port.hostIP or ANY_ADDRESS, port.hostPort)
            for container in pod.spec.containers
            for port in container.ports
            if port.hostPort
        ),
        owner=owners[0] if owners else "",
        affinity_bytes=affinity.SerializeToString(deterministic=True) if affinity is not None else b"",
        affinity=affinity,
    )


def _requests(spec: core.PodSpec) -> dict[str, int]:
    """The pod's own requests: the sum of its containers, or the largest init container if that is more."""
    total: Counter[str] = Counter()
    for container in spec.containers:
        for name, quantity in container.resources.requests.items():
            total[name] += amount_of(name, quantity.string)
    for container in spec.initContainers:
        for name, quantity in container.resources.requests.items():
            total[name] = max(total[name], amount_of(name, quantity.string))
    for name, quantity in spec.overhead.items():
        total[name] += amount_of(name, quantity.string)
    return dict(total)


@lru_cache(maxsize=1024)
def amount_of(resource: str, quantity: str) -> int:
    """A quantity in the integers used here: millicores for cpu, whole units for the rest."""
    parsed = parse_quantity(quantity)
    return milli(parsed) if resource == "cpu" else as_int(parsed)


class NodeView:
    """One node: what it is, what it has, and what is promised on it."""

    __slots__ = (
        "allocatable",
        "host_ports",
        "labels",
        "name",
        "owners",
        "pod_count",
        "pods_allowed",
        "ready",
        "requested",
        "taints",
        "unschedulable",
        "version",
        "weighed_cpu_millis",
        "weighed_memory_bytes",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels: Mapping[str, str] = {}
        self.taints: tuple[Taint, ...] = ()
        self.unschedulable = False
        self.ready = False
        self.allocatable: dict[str, int] = {}
        self.pods_allowed = PODS_ALLOWED
        self.requested: Counter[str] = Counter()
        self.weighed_cpu_millis = 0
        self.weighed_memory_bytes = 0
        self.pod_count = 0
        self.owners: Counter[str] = Counter()
        self.host_ports: Counter[tuple[str, str, int]] = Counter()
        self.version = 0

    def describe(self, node: core.Node) -> bool:
        """Takes over what the Node object says; False if that changes nothing here."""
        allocatable = {
            name: amount_of(name, quantity.string) for name, quantity in node.status.allocatable.items()
        }
        pods_allowed = allocatable.pop("pods", PODS_ALLOWED)
        described = (
            dict(node.metadata.labels),
            tuple(Taint(t.key, t.value, t.effect) for t in node.spec.taints),
            node.spec.unschedulable,
            any(c.type == "Ready" and c.status == "True" for c in node.status.conditions),
            allocatable,
            pods_allowed,
        )
        if described == (
            self.labels, self.taints, self.unschedulable, self.ready, self.allocatable, self.pods_allowed,
        ):  # fmt: skip
            return False
        self.labels, self.taints, self.unschedulable, self.ready, self.allocatable, self.pods_allowed = (
            described
        )
        return True

    def carry(self, shape: PodShape, sign: int) -> None:
        """Adds (sign 1) or takes away (-1) a pod."""
        for resource, amount in shape.requests:
            self.requested[resource] += sign * amount
        self.weighed_cpu_millis += sign * shape.weighed_cpu_millis
        self.weighed_memory_bytes += sign * shape.weighed_memory_bytes
        self.pod_count += sign
        if shape.owner:
            _count(self.owners, shape.owner, sign)
        for port in shape.host_ports:
            _count(self.host_ports, port, sign)


def _count(counter: Counter[K], key: K, sign: int) -> None:
    counter[key] += sign
    if counter[key] <= 0:
        del counter[key]


class ClusterView:
    """All nodes, and where each pod that holds room stands.

    A pod counts from the moment it is assumed (decided, not yet written) until it is gone or finished.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeView] = {}
        self.changes: list[str] = []
        self.changes_dropped = 0
        self._versions = 0
        self._placed: dict[str, tuple[str, PodShape]] = {}
        # Pods whose node is not known (yet): counted once it appears.
        self._homeless: dict[str, tuple[str, PodShape]] = {}

    def set_node(self, node: core.Node) -> bool:
        """Adds or changes a node; True if placement can be different because of it."""
        name = node.metadata.name
        view = self.nodes.get(name)
        if view is not None:
            changed = view.describe(node)
        else:
            changed = True
            view = self.nodes[name] = NodeView(name)
            view.describe(node)
            for uid, (where, shape) in list(self._homeless.items()):
                if where == name:
                    del self._homeless[uid]
                    self._placed[uid] = (name, shape)
                    view.carry(shape, 1)
        if changed:
            self._changed(view)
        return changed

    def remove_node(self, name: str) -> None:
        """Forgets a node; pods on it are kept in mind in case it comes back."""
        view = self.nodes.pop(name, None)
        if view is None:
            return
        for uid, (where, shape) in list(self._placed.items()):
            if where == name:
                del self._placed[uid]
                self._homeless[uid] = (where, shape)
        self._changed(view)

    def place(self, uid: str, node: str, shape: PodShape) -> None:
        """The pod holds room on the node. Safe to repeat; a pod placed elsewhere before is moved."""
        if self._placed.get(uid) == (node, shape):
            return
        self.release(uid)
        view = self.nodes.get(node)
        if view is None:
            self._homeless[uid] = (node, shape)
            return
        self._placed[uid] = (node, shape)
        view.carry(shape, 1)
        self._touch(view)

    def release(self, uid: str) -> bool:
        """The pod holds no room any more; True if it held some on a known node."""
        self._homeless.pop(uid, None)
        placed = self._placed.pop(uid, None)
        if placed is None:
            return False
        node, shape = placed
        view = self.nodes[node]
        view.carry(shape, -1)
        self._changed(view)
        return True

    def where(self, uid: str) -> str | None:
        """The node the pod is placed on."""
        placed = self._placed.get(uid)
        return placed[0] if placed else None

    @property
    def version(self) -> int:
        """Another one after every change of any node."""
        return self._versions

    @property
    def position(self) -> int:
        """How many changes for the better there have been."""
        return self.changes_dropped + len(self.changes)

    def changed_since(self, position: int) -> Iterable[str] | None:
        """Names of nodes that may have become better since then, each once; None: too long ago to say."""
        start = position - self.changes_dropped
        if start < 0:
            return None
        return dict.fromkeys(self.changes[start:])

    def _touch(self, view: NodeView) -> None:
        # Never the same twice, also for a node that went and came back.
        self._versions += 1
        view.version = self._versions

    def _changed(self, view: NodeView) -> None:
        self._touch(view)
        self.changes.append(view.name)
        if len(self.changes) > 2 * CHANGES_KEPT:
            del self.changes[:CHANGES_KEPT]
            self.changes_dropped += CHANGES_KEPT
