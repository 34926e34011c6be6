"""describe deployment, replicaset, replicationcontroller."""

from collections.abc import Sequence

from orchestra.cli.describe.containers import port_text, template
from orchestra.cli.describe.writer import (
    Writer,
    annotations,
    conditions,
    controlled_by,
    events,
    head,
    labels,
    moment,
)
from orchestra.cli.printing.words import label_selector, labels_text
from orchestra.pb import apps, core


def describe_deployment(
    obj: apps.Deployment,
    old: Sequence[apps.ReplicaSet],
    new: apps.ReplicaSet | None,
    happened: Sequence[core.Event] | None,
    now_ns: int,
) -> str:
    """A deployment with its replica sets: `new` runs the template as it is now, `old` earlier ones."""
    writer = Writer(now_ns)
    spec, status = obj.spec, obj.status
    head(writer, obj.metadata)
    writer.field("CreationTimestamp", moment(obj.metadata.creationTimestamp))
    labels(writer, "Labels", obj.metadata.labels)
    annotations(writer, obj.metadata.annotations)
    writer.field("Selector", label_selector(spec.selector))
    writer.field(
        "Replicas",
        f"{spec.replicas} desired | {status.updatedReplicas} updated | {status.replicas} total | "
        f"{status.availableReplicas} available | {status.unavailableReplicas} unavailable",
    )
    writer.field("StrategyType", spec.strategy.type)
    writer.field("MinReadySeconds", spec.minReadySeconds)
    if spec.strategy.HasField("rollingUpdate"):
        rolling = spec.strategy.rollingUpdate
        writer.field(
            "RollingUpdateStrategy",
            f"{port_text(rolling.maxUnavailable)} max unavailable, {port_text(rolling.maxSurge)} max surge",
        )
    template(writer, spec.template)
    conditions(writer, ((c.type, c.status, c.reason) for c in status.conditions))
    if old or new is not None:
        writer.field("OldReplicaSets", _sets(old))
        writer.field("NewReplicaSet", _sets([new] if new is not None else []))
    events(writer, happened)
    return writer.text()


def _sets(sets: Sequence[apps.ReplicaSet]) -> str:
    said = [f"{s.metadata.name} ({s.status.replicas}/{s.spec.replicas} replicas created)" for s in sets]
    return ", ".join(said) or "<none>"


def _pods(writer: Writer, pods: Sequence[core.Pod]) -> None:
    counts = {"Running": 0, "Pending": 0, "Succeeded": 0, "Failed": 0}
    for pod in pods:
        counts[pod.status.phase] = counts.get(pod.status.phase, 0) + 1
    writer.field(
        "Pods Status",
        f"{counts['Running']} Running / {counts['Pending']} Waiting / {counts['Succeeded']} Succeeded / "
        f"{counts['Failed']} Failed",
    )


def describe_replicas(
    obj: apps.ReplicaSet | core.ReplicationController,
    pods: Sequence[core.Pod],
    happened: Sequence[core.Event] | None,
    now_ns: int,
) -> str:
    """A replica set or a replication controller, and how its own pods fare."""
    writer = Writer(now_ns)
    head(writer, obj.metadata)
    selector = (
        label_selector(obj.spec.selector)
        if isinstance(obj, apps.ReplicaSet)
        else labels_text(obj.spec.selector)
    )
    writer.field("Selector", selector)
    labels(writer, "Labels", obj.metadata.labels)
    annotations(writer, obj.metadata.annotations)
    if controller := controlled_by(obj.metadata):
        writer.field("Controlled By", controller)
    writer.field("Replicas", f"{obj.status.replicas} current / {obj.spec.replicas} desired")
    _pods(writer, pods)
    template(writer, obj.spec.template)
    conditions(writer, ((c.type, c.status, c.reason) for c in obj.status.conditions))
    events(writer, happened)
    return writer.text()
