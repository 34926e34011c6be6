"""Rules of pods and of the templates that make them."""

from functools import lru_cache

from orchestra.objects import names
from orchestra.objects.validation.affinity import validate_affinity, validate_spread_constraints
from orchestra.objects.validation.containers import (
    validate_container,
    validate_resource_list,
    validate_resources,
)
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.metadata import validate_annotations, validate_labels
from orchestra.objects.validation.volumes import validate_volumes
from orchestra.pb import core

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_TOLERATION_OPERATORS = ("Equal", "Exists")
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_SECONDS_MAX = 2**31 - 1
# Specs no longer than this are remembered as valid, so that the memory has a bound.
_REMEMBERED_BYTES_MAX = 16 * 1024


def validate_pod(found: Findings, pod: core.Pod) -> None:
    """A whole pod."""
    data: bytes = pod.spec.SerializeToString(deterministic=True)
    if len(data) > _REMEMBERED_BYTES_MAX or not _is_valid_spec(data):
        validate_pod_spec(found, pod.spec, "spec")


@lru_cache(maxsize=64)
def _is_valid_spec(data: bytes) -> bool:
    """Whether an encoded spec has no mistake. Pods of one template have equal specs: one look serves all."""
    found = Findings()
    validate_pod_spec(found, core.PodSpec.FromString(data), "spec")
    return not found.violations


def validate_pod_template(found: Findings, template: core.PodTemplateSpec, path: str) -> None:
    """A template: as a pod, but for what only one pod can have."""
    validate_labels(found, template.metadata.labels, f"{path}.metadata.labels")
    validate_annotations(found, template.metadata.annotations, f"{path}.metadata.annotations")
    validate_pod_spec(found, template.spec, f"{path}.spec")
    if template.spec.ephemeralContainers:
        found.forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )


def validate_pod_spec(found: Findings, spec: core.PodSpec, path: str) -> None:
    """What a pod runs, where, and how it is treated."""
    volumes = validate_volumes(found, spec, path)
    _containers(found, spec, path, volumes)
    found.one_of(f"{path}.restartPolicy", spec.restartPolicy, RESTART_POLICIES, optional=False)
    found.one_of(f"{path}.dnsPolicy", spec.dnsPolicy, _DNS_POLICIES)
    found.one_of(f"{path}.preemptionPolicy", spec.preemptionPolicy, _PREEMPTION_POLICIES)
    found.at_least(f"{path}.terminationGracePeriodSeconds", spec.terminationGracePeriodSeconds, 0)
    if spec.HasField("activeDeadlineSeconds") and not 1 <= spec.activeDeadlineSeconds <= _SECONDS_MAX:
        found.invalid(
            f"{path}.activeDeadlineSeconds",
            spec.activeDeadlineSeconds,
            f"must be between 1 and {_SECONDS_MAX}, inclusive",
        )
    validate_labels(found, spec.nodeSelector, f"{path}.nodeSelector")
    validate_tolerations(found, spec, path)
    validate_affinity(found, spec.affinity, f"{path}.affinity")
    validate_spread_constraints(found, spec, path)
    _names(found, spec, path)
    _sysctls(found, spec.securityContext, f"{path}.securityContext.sysctls")
    validate_resource_list(found, spec.overhead, f"{path}.overhead")
    validate_resources(found, spec.resources, f"{path}.resources")
    for index, gate in enumerate(spec.readinessGates):
        place = f"{path}.readinessGates[{index}].conditionType"
        found.check_required(place, gate.conditionType, names.qualified_name)
    seen = set[str]()
    for index, scheduling_gate in enumerate(spec.schedulingGates):
        place = f"{path}.schedulingGates[{index}].name"
        if found.check_required(place, scheduling_gate.name, names.qualified_name):
            found.unique(place, scheduling_gate.name, seen)


def _containers(found: Findings, spec: core.PodSpec, path: str, volumes: set[str]) -> None:
    if not spec.containers:
        found.required(f"{path}.containers", "a pod needs at least one container")
    seen = set[str]()
    for field, containers in (("initContainers", spec.initContainers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            place = f"{path}.{field}[{index}]"
            if container.name:
                found.unique(f"{place}.name", container.name, seen)
            validate_container(found, container, place, volumes, is_init=field == "initContainers")
    taken = set[tuple[int, str, str]]()
    for index, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            if port.hostPort:
                place = f"{path}.containers[{index}].ports[{number}].hostPort"
                key = (port.hostPort, port.protocol, port.hostIP)
                if key in taken:
                    found.duplicate(place, port.hostPort)
                taken.add(key)


def _names(found: Findings, spec: core.PodSpec, path: str) -> None:
    for field, value, check in (
        ("nodeName", spec.nodeName, names.dns_subdomain),
        ("serviceAccountName", spec.serviceAccountName, names.dns_subdomain),
        ("priorityClassName", spec.priorityClassName, names.dns_subdomain),
        ("runtimeClassName", spec.runtimeClassName, names.dns_subdomain),
        ("hostname", spec.hostname, names.dns_label),
        ("subdomain", spec.subdomain, names.dns_label),
        ("schedulerName", spec.schedulerName, names.qualified_name),
    ):
        if value:
            found.check(f"{path}.{field}", value, check)
    for index, alias in enumerate(spec.hostAliases):
        if not alias.ip:
            found.required(f"{path}.hostAliases[{index}].ip")
        for number, hostname in enumerate(alias.hostnames):
            found.check(f"{path}.hostAliases[{index}].hostnames[{number}]", hostname, names.dns_subdomain)
    for index, secret in enumerate(spec.imagePullSecrets):
        if not secret.name:
            found.required(f"{path}.imagePullSecrets[{index}].name")


def _sysctls(found: Findings, context: core.PodSecurityContext, path: str) -> None:
    seen = set[str]()
    for index, sysctl in enumerate(context.sysctls):
        place = f"{path}[{index}].name"
        if found.check_required(place, sysctl.name, names.sysctl_name):
            # Both ways to write it name the same one.
            found.unique(place, sysctl.name.replace("/", "."), seen)


def validate_tolerations(found: Findings, spec: core.PodSpec, path: str) -> None:
    """Which taints the pod bears."""
    for index, toleration in enumerate(spec.tolerations):
        place = f"{path}.tolerations[{index}]"
        if toleration.key:
            found.check(f"{place}.key", toleration.key, names.qualified_name)
        elif toleration.operator != "Exists":
            found.invalid(
                f"{place}.operator",
                toleration.operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        found.one_of(f"{place}.operator", toleration.operator, _TOLERATION_OPERATORS)
        found.one_of(f"{place}.effect", toleration.effect, TAINT_EFFECTS)
        if toleration.operator == "Exists":
            if toleration.value:
                found.invalid(
                    f"{place}.value", toleration.value, "value must be empty when `operator` is 'Exists'"
                )
        else:
            found.check(f"{place}.value", toleration.value, names.label_value)
        if toleration.HasField("tolerationSeconds") and toleration.effect != "NoExecute":
            found.invalid(
                f"{place}.effect",
                toleration.effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            )
