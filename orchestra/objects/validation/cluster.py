"""Rules of Namespace and Event."""

from orchestra.objects.kinds import kind_for
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.metadata import validate_finalizers
from orchestra.pb import core

EVENT_TYPES = ("Normal", "Warning")
NAMESPACE_PHASES = ("Active", "Terminating")
# Events about what lives in no namespace stand here.
_CLUSTER_EVENTS_NAMESPACE = "default"


def validate_namespace(found: Findings, namespace: core.Namespace) -> None:
    """A Namespace."""
    validate_finalizers(found, list(namespace.spec.finalizers), "spec.finalizers")


def validate_namespace_status(found: Findings, namespace: core.Namespace) -> None:
    """The phase follows from the deletion."""
    is_going = namespace.metadata.HasField("deletionTimestamp")
    phase = namespace.status.phase
    if not found.one_of("status.phase", phase, NAMESPACE_PHASES):
        return
    if is_going and phase == "Active":
        found.invalid("status.phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
    elif not is_going and phase == "Terminating":
        found.invalid("status.phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")


def validate_event(found: Findings, event: core.Event) -> None:
    """An Event stands beside what it is about."""
    involved = event.involvedObject
    kind = kind_for(involved.apiVersion, involved.kind)
    if not involved.namespace and (kind is None or not kind.namespaced):
        if event.metadata.namespace not in (_CLUSTER_EVENTS_NAMESPACE, "kube-system"):
            found.invalid(
                "involvedObject.namespace",
                "",
                "does not match event.namespace: what has no namespace has its events in "
                + _CLUSTER_EVENTS_NAMESPACE,
            )
    elif involved.namespace != event.metadata.namespace:
        found.invalid("involvedObject.namespace", involved.namespace, "does not match event.namespace")
    found.one_of("type", event.type, EVENT_TYPES)
    found.at_least("count", event.count, 0)
