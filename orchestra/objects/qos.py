"""The quality-of-service class of a pod, from what its containers request and are limited to."""

from collections.abc import Mapping

from orchestra.objects.quantity import parse_quantity
from orchestra.pb import core, meta

_COUNTED = ("cpu", "memory")


def qos_class(spec: core.PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort.

    Guaranteed: every container limits cpu and memory and requests just that. BestEffort: none asks for any.

    Source: Kubernetes' ComputePodQOS.
    """
    any_asked = False
    all_guaranteed = True
    for container in (*spec.containers, *spec.initContainers):
        limits = _counted(container.resources.limits)
        requests = limits | _counted(container.resources.requests)
        any_asked = any_asked or bool(requests)
        all_guaranteed = all_guaranteed and len(limits) == len(_COUNTED) and requests == limits
    if not any_asked:
        return "BestEffort"
    return "Guaranteed" if all_guaranteed else "Burstable"


def _counted(quantities: Mapping[str, meta.Quantity]) -> dict[str, object]:
    """cpu and memory where they are more than nothing. One that does not parse is validation's to name."""
    found: dict[str, object] = {}
    for name in _COUNTED:
        if name not in quantities:
            continue
        text = quantities[name].string
        try:
            value = parse_quantity(text)
        except ValueError:
            continue
        if value != parse_quantity("0"):
            found[name] = value
    return found
