"""Rules of where a pod wants to be: affinity and spreading."""

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.metadata import validate_label_selector
from orchestra.pb import core

_NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def validate_affinity(found: Findings, affinity: core.Affinity, path: str) -> None:
    """Which nodes, and which neighbours, a pod wants."""
    node = affinity.nodeAffinity
    place = f"{path}.nodeAffinity"
    if node.HasField("requiredDuringSchedulingIgnoredDuringExecution"):
        required = node.requiredDuringSchedulingIgnoredDuringExecution
        terms = f"{place}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not required.nodeSelectorTerms:
            found.required(terms, "must have at least one node selector term")
        for index, term in enumerate(required.nodeSelectorTerms):
            _node_term(found, term, f"{terms}[{index}]")
    for index, preferred in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution):
        at = f"{place}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        _weight(found, preferred.weight, at)
        _node_term(found, preferred.preference, f"{at}.preference")
    for field, pods in (("podAffinity", affinity.podAffinity), ("podAntiAffinity", affinity.podAntiAffinity)):
        at = f"{path}.{field}"
        for index, pod_term in enumerate(pods.requiredDuringSchedulingIgnoredDuringExecution):
            _pod_term(found, pod_term, f"{at}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
        for index, weighted in enumerate(pods.preferredDuringSchedulingIgnoredDuringExecution):
            here = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            _weight(found, weighted.weight, here)
            _pod_term(found, weighted.podAffinityTerm, f"{here}.podAffinityTerm")


def _weight(found: Findings, weight: int, path: str) -> None:
    if not 1 <= weight <= 100:
        found.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _node_term(found: Findings, term: core.NodeSelectorTerm, path: str) -> None:
    for field, requirements in (
        ("matchExpressions", term.matchExpressions),
        ("matchFields", term.matchFields),
    ):
        for index, requirement in enumerate(requirements):
            place = f"{path}.{field}[{index}]"
            found.check_required(f"{place}.key", requirement.key, names.qualified_name)
            operator, values = requirement.operator, requirement.values
            found.one_of(f"{place}.operator", operator, _NODE_OPERATORS, optional=False)
            if operator in ("In", "NotIn") and not values:
                found.required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            elif operator in ("Exists", "DoesNotExist") and values:
                found.forbidden(
                    f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            elif operator in ("Gt", "Lt") and not (len(values) == 1 and _is_integer(values[0])):
                found.required(f"{place}.values", "must be one whole number when `operator` is 'Lt' or 'Gt'")


def _is_integer(text: str) -> bool:
    return len(text) <= 20 and text.removeprefix("-").isdecimal()


def _pod_term(found: Findings, term: core.PodAffinityTerm, path: str) -> None:
    found.check_required(f"{path}.topologyKey", term.topologyKey, names.qualified_name, "can not be empty")
    validate_label_selector(found, term.labelSelector, f"{path}.labelSelector")
    validate_label_selector(found, term.namespaceSelector, f"{path}.namespaceSelector")
    for index, namespace in enumerate(term.namespaces):
        found.check(f"{path}.namespaces[{index}]", namespace, names.dns_label)


def validate_spread_constraints(found: Findings, spec: core.PodSpec, path: str) -> None:
    """How evenly a pod's like are to be spread."""
    seen = set[tuple[str, str]]()
    for index, constraint in enumerate(spec.topologySpreadConstraints):
        place = f"{path}.topologySpreadConstraints[{index}]"
        if constraint.maxSkew <= 0:
            found.invalid(f"{place}.maxSkew", constraint.maxSkew, "must be greater than zero")
        found.check_required(
            f"{place}.topologyKey", constraint.topologyKey, names.qualified_name, "can not be empty"
        )
        found.one_of(
            f"{place}.whenUnsatisfiable", constraint.whenUnsatisfiable, _UNSATISFIABLE, optional=False
        )
        key = (constraint.topologyKey, constraint.whenUnsatisfiable)
        if key in seen:
            found.duplicate(place, f"{{{key[0]}, {key[1]}}}")
        seen.add(key)
        if constraint.HasField("minDomains"):
            if constraint.minDomains <= 0:
                found.invalid(f"{place}.minDomains", constraint.minDomains, "must be greater than zero")
            if constraint.whenUnsatisfiable != "DoNotSchedule":
                found.invalid(
                    f"{place}.minDomains",
                    constraint.minDomains,
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule",
                )
        validate_label_selector(found, constraint.labelSelector, f"{place}.labelSelector")
