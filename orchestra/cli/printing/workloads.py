"""Tables of what keeps pods running: deployments, replica sets, replication controllers."""

from collections.abc import Mapping, Sequence

from orchestra.cli.printing.ages import age
from orchestra.cli.printing.words import label_selector, labels_text
from orchestra.pb import apps, core

WIDE_COLUMNS = ("CONTAINERS", "IMAGES", "SELECTOR")
DEPLOYMENT_COLUMNS = ("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE")
REPLICA_SET_COLUMNS = ("NAME", "DESIRED", "CURRENT", "READY", "AGE")


def _containers(containers: Sequence[core.Container]) -> list[str]:
    images = [container.image for container in containers if container.image]
    return [",".join(container.name for container in containers), ",".join(images) or "<none>"]


def deployment(obj: apps.Deployment, now_ns: int) -> list[str]:
    """READY is ready over wanted."""
    return [
        obj.metadata.name,
        f"{obj.status.readyReplicas}/{obj.spec.replicas}",
        str(obj.status.updatedReplicas),
        str(obj.status.availableReplicas),
        age(obj.metadata, now_ns),
        *_containers(obj.spec.template.spec.containers),
        label_selector(obj.spec.selector),
    ]


def replica_set(obj: apps.ReplicaSet, now_ns: int) -> list[str]:
    """DESIRED, CURRENT, READY."""
    return [*_replicas(obj, now_ns), label_selector(obj.spec.selector)]


def replication_controller(obj: core.ReplicationController, now_ns: int) -> list[str]:
    """DESIRED, CURRENT, READY."""
    selector: Mapping[str, str] = obj.spec.selector
    return [*_replicas(obj, now_ns), labels_text(selector)]


def _replicas(obj: apps.ReplicaSet | core.ReplicationController, now_ns: int) -> list[str]:
    return [
        obj.metadata.name,
        str(obj.spec.replicas),
        str(obj.status.replicas),
        str(obj.status.readyReplicas),
        age(obj.metadata, now_ns),
        *_containers(obj.spec.template.spec.containers),
    ]
