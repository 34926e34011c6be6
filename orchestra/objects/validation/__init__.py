"""The rules of every kind: what an object may say, and what of it may still change.

Knows fields, sentences and Kubernetes' paths. Must not know the store or other objects: what depends on those
(a name that is taken, a namespace that is going) is said by who reads them. Takes objects that have their
defaults, finds every violation at once (up to 1000), and changes nothing.
"""

from collections.abc import Callable
from typing import Any

from orchestra.base.errors import Violation
from orchestra.objects import names
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    ApiObject,
    Kind,
    kind_of,
)
from orchestra.objects.validation import cluster, nodes, pods, services, workloads
from orchestra.objects.validation.findings import Check, Findings
from orchestra.objects.validation.metadata import validate_metadata, validate_metadata_update
from orchestra.objects.validation.pod_status import validate_pod_status_update
from orchestra.objects.validation.pod_updates import validate_pod_update

__all__ = ["validate_create", "validate_status_update", "validate_update"]

_RULES: dict[Kind, Callable[[Findings, Any], None]] = {
    NAMESPACE: cluster.validate_namespace,
    NODE: nodes.validate_node,
    POD: pods.validate_pod,
    REPLICATION_CONTROLLER: workloads.validate_replication_controller,
    SERVICE: services.validate_service,
    EVENT: cluster.validate_event,
    REPLICA_SET: workloads.validate_replica_set,
    DEPLOYMENT: workloads.validate_deployment,
    ENDPOINT_SLICE: services.validate_endpoint_slice,
}
_UPDATE_RULES: dict[Kind, Callable[[Findings, Any, Any], None]] = {
    NODE: nodes.validate_node_update,
    POD: validate_pod_update,
    SERVICE: services.validate_service_update,
    REPLICA_SET: workloads.validate_selector_unchanged,
    DEPLOYMENT: workloads.validate_selector_unchanged,
    ENDPOINT_SLICE: services.validate_endpoint_slice_update,
}
_STATUS_RULES: dict[Kind, Callable[[Findings, Any, Any], None]] = {
    NAMESPACE: lambda found, new, _old: cluster.validate_namespace_status(found, new),
    NODE: lambda found, new, _old: nodes.validate_node_status(found, new),
    POD: validate_pod_status_update,
    REPLICATION_CONTROLLER: lambda found, new, _old: workloads.validate_counts(found, new.status),
    REPLICA_SET: lambda found, new, _old: workloads.validate_counts(found, new.status),
    DEPLOYMENT: lambda found, new, _old: workloads.validate_counts(found, new.status),
}
_NAME_CHECKS: dict[Kind, Check] = {NAMESPACE: names.dns_label, SERVICE: names.dns_1035_label}


def validate_create(obj: ApiObject) -> list[Violation]:
    """Everything wrong with an object that is about to be created, its defaults filled in."""
    found = Findings()
    _whole(found, obj)
    return found.violations


def validate_update(new: ApiObject, old: ApiObject) -> list[Violation]:
    """Everything wrong with an object that is about to take the place of `old`."""
    found = Findings()
    kind = kind_of(new)
    validate_metadata_update(found, new.metadata, old.metadata)
    _whole(found, new)
    changed = _UPDATE_RULES.get(kind)
    if changed is not None:
        changed(found, new, old)
    return found.violations


def validate_status_update(new: ApiObject, old: ApiObject) -> list[Violation]:
    """Everything wrong with a new status."""
    found = Findings()
    validate_metadata_update(found, new.metadata, old.metadata)
    rules = _STATUS_RULES.get(kind_of(new))
    if rules is not None:
        rules(found, new, old)
    return found.violations


def _whole(found: Findings, obj: ApiObject) -> None:
    kind = kind_of(obj)
    validate_metadata(found, obj.metadata, kind, _NAME_CHECKS.get(kind, names.dns_subdomain))
    _RULES[kind](found, obj)
