"""describe pod."""

from collections.abc import Sequence

from orchestra.cli.describe.containers import containers, tolerations, volumes
from orchestra.cli.describe.writer import (
    Writer,
    age,
    annotations,
    controlled_by,
    events,
    head,
    labels,
    moment,
)
from orchestra.objects.qos import qos_class
from orchestra.pb import core


def describe_pod(pod: core.Pod, happened: Sequence[core.Event] | None, now_ns: int) -> str:
    """Everything a person asks of a pod, its events at the end."""
    writer = Writer(now_ns)
    spec, status = pod.spec, pod.status
    head(writer, pod.metadata)
    if spec.HasField("priority"):
        writer.field("Priority", spec.priority)
    if spec.priorityClassName:
        writer.field("Priority Class Name", spec.priorityClassName)
    if spec.serviceAccountName:
        writer.field("Service Account", spec.serviceAccountName)
    writer.field("Node", f"{spec.nodeName}/{status.hostIP}" if spec.nodeName else "<none>")
    if status.HasField("startTime"):
        writer.field("Start Time", moment(status.startTime))
    labels(writer, "Labels", pod.metadata.labels)
    annotations(writer, pod.metadata.annotations)
    if pod.metadata.HasField("deletionTimestamp") and status.phase not in ("Succeeded", "Failed"):
        writer.field("Status", f"Terminating (lasts {age(pod.metadata.deletionTimestamp, writer)})")
        writer.field("Termination Grace Period", f"{pod.metadata.deletionGracePeriodSeconds}s")
    else:
        writer.field("Status", status.phase)
    if status.reason:
        writer.field("Reason", status.reason)
    if status.message:
        writer.field("Message", status.message)
    writer.field("IP", status.podIP)
    if status.podIPs:
        writer.line("IPs:")
        for found in status.podIPs:
            writer.field("IP", found.ip, 1)
    else:
        writer.field("IPs", "<none>")
    if controller := controlled_by(pod.metadata):
        writer.field("Controlled By", controller)
    if status.nominatedNodeName:
        writer.field("NominatedNodeName", status.nominatedNodeName)
    if spec.initContainers:
        containers(writer, "Init Containers", spec.initContainers, status.initContainerStatuses, pod=pod)
    containers(writer, "Containers", spec.containers, status.containerStatuses, pod=pod)
    _conditions(writer, pod)
    volumes(writer, spec.volumes)
    writer.field("QoS Class", status.qosClass or qos_class(spec))
    labels(writer, "Node-Selectors", spec.nodeSelector)
    writer.many("Tolerations", tolerations(spec.tolerations))
    events(writer, happened)
    return writer.text()


def _conditions(writer: Writer, pod: core.Pod) -> None:
    if pod.spec.readinessGates:
        known = {c.type: c.status for c in pod.status.conditions}
        writer.line("Readiness Gates:")
        writer.line("Type\tStatus", 1)
        for gate in pod.spec.readinessGates:
            writer.line(f"{gate.conditionType} \t{known.get(gate.conditionType, '<none>')} ", 1)
    if pod.status.conditions:
        writer.line("Conditions:")
        writer.line("Type\tStatus", 1)
        for condition in pod.status.conditions:
            writer.line(f"{condition.type} \t{condition.status} ", 1)
