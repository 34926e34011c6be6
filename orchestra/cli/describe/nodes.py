"""describe node, and namespace."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestra.cli.describe.containers import resources
from orchestra.cli.describe.writer import Writer, age, annotations, events, head, labels, moment
from orchestra.cli.printing.cluster import node_roles
from orchestra.objects.quantity import ZERO, Quantity, parse_quantity
from orchestra.pb import core, meta

_ALLOCATED = ("cpu", "memory", "ephemeral-storage")


def describe_node(
    node: core.Node, pods: Sequence[core.Pod], happened: Sequence[core.Event] | None, now_ns: int
) -> str:
    """A node, the pods that are not done on it, and what they have asked for."""
    writer = Writer(now_ns)
    head(writer, node.metadata, namespaced=False)
    writer.field("Roles", node_roles(node))
    labels(writer, "Labels", node.metadata.labels)
    annotations(writer, node.metadata.annotations)
    writer.field("CreationTimestamp", moment(node.metadata.creationTimestamp))
    writer.many(
        "Taints", sorted((_taint(t) for t in node.spec.taints), key=lambda text: text.rsplit(":", 1)[::-1])
    )
    writer.field("Unschedulable", str(node.spec.unschedulable).lower())
    _conditions(writer, node)
    writer.line("Addresses:")
    for address in node.status.addresses:
        writer.field(address.type, address.address, 1)
    for name, amounts in (("Capacity", node.status.capacity), ("Allocatable", node.status.allocatable)):
        if amounts:
            writer.line(f"{name}:")
            resources(writer, amounts, 1)
    _system(writer, node.status.nodeInfo)
    if node.spec.podCIDR:
        writer.field("PodCIDR", node.spec.podCIDR)
    if node.spec.podCIDRs:
        writer.field("PodCIDRs", ",".join(node.spec.podCIDRs))
    _pods(writer, node, pods)
    events(writer, happened)
    return writer.text()


def _taint(taint: core.Taint) -> str:
    return f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"


def _conditions(writer: Writer, node: core.Node) -> None:
    if not node.status.conditions:
        return
    writer.line("Conditions:")
    writer.line("Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage", 1)
    writer.line("----\t------\t-----------------\t------------------\t------\t-------", 1)
    for c in node.status.conditions:
        heard, changed = moment(c.lastHeartbeatTime), moment(c.lastTransitionTime)
        writer.line(f"{c.type} \t{c.status} \t{heard} \t{changed} \t{c.reason} \t{c.message}", 1)


def _system(writer: Writer, info: core.NodeSystemInfo) -> None:
    writer.line("System Info:")
    for name, value in (
        ("Machine ID", info.machineID),
        ("System UUID", info.systemUUID),
        ("Boot ID", info.bootID),
        ("Kernel Version", info.kernelVersion),
        ("OS Image", info.osImage),
        ("Operating System", info.operatingSystem),
        ("Architecture", info.architecture),
        ("Container Runtime Version", info.containerRuntimeVersion),
        ("Kubelet Version", info.kubeletVersion),
    ):
        writer.field(name, value, 1)


def _quantity(amounts: Mapping[str, meta.Quantity], name: str) -> Quantity:
    return parse_quantity(amounts[name].string) if name in amounts and amounts[name].string else ZERO


def _sum(amounts: Iterable[Quantity]) -> Quantity:
    total = ZERO
    for amount in amounts:
        total = total + amount
    return total


def pod_amount(
    pod: core.Pod, name: str, of: Callable[[core.ResourceRequirements], Mapping[str, meta.Quantity]]
) -> Quantity:
    """What a pod asks for: its containers together, or its hungriest init container if that is more."""
    running = _sum(_quantity(of(c.resources), name) for c in pod.spec.containers)
    sidecars = _sum(
        _quantity(of(c.resources), name) for c in pod.spec.initContainers if c.restartPolicy == "Always"
    )
    starting = max((_quantity(of(c.resources), name) for c in pod.spec.initContainers), default=ZERO)
    whole = running + sidecars
    return starting if whole < starting else whole


def _requests(found: core.ResourceRequirements) -> Mapping[str, meta.Quantity]:
    return found.requests


def _limits(found: core.ResourceRequirements) -> Mapping[str, meta.Quantity]:
    return found.limits


def _share(amount: Quantity, of: Quantity) -> str:
    return f"{amount} ({amount.nanos * 100 // of.nanos if of.nanos else 0}%)"


def _pods(writer: Writer, node: core.Node, pods: Sequence[core.Pod]) -> None:
    have = node.status.allocatable or node.status.capacity
    writer.field("Non-terminated Pods", f"({len(pods)} in total)")
    writer.line("Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge", 1)
    writer.line("---------\t----\t\t------------\t----------\t---------------\t-------------\t---", 1)
    for pod in sorted(pods, key=lambda pod: (pod.metadata.namespace, pod.metadata.name)):
        shares = [
            _share(pod_amount(pod, name, of), _quantity(have, name))
            for name in ("cpu", "memory")
            for of in (_requests, _limits)
        ]
        started = age(pod.metadata.creationTimestamp, writer)
        writer.line("\t".join([pod.metadata.namespace, pod.metadata.name, "", *shares, started]), 1)
    writer.line("Allocated resources:")
    writer.line("(Total limits may be over 100 percent, i.e., overcommitted.)", 1)
    writer.line("Resource\tRequests\tLimits", 1)
    writer.line("--------\t--------\t------", 1)
    for name in _ALLOCATED:
        totals = [
            _share(_sum(pod_amount(pod, name, of) for pod in pods), _quantity(have, name))
            for of in (_requests, _limits)
        ]
        writer.line("\t".join([name, *totals]), 1)


def describe_namespace(namespace: core.Namespace, happened: Sequence[core.Event] | None, now_ns: int) -> str:
    """A namespace; its conditions say what its deletion waits for."""
    writer = Writer(now_ns)
    head(writer, namespace.metadata, namespaced=False)
    labels(writer, "Labels", namespace.metadata.labels)
    annotations(writer, namespace.metadata.annotations)
    writer.field("Status", namespace.status.phase)
    if namespace.status.conditions:
        writer.line("Conditions:")
        writer.line("Type\tStatus\tLastTransitionTime\tReason\tMessage", 1)
        writer.line("----\t------\t------------------\t------\t-------", 1)
        for c in namespace.status.conditions:
            writer.line(f"{c.type}\t{c.status}\t{moment(c.lastTransitionTime)}\t{c.reason}\t{c.message}", 1)
    if happened:
        events(writer, happened)
    return writer.text()
