"""Rules of ReplicationController, ReplicaSet and Deployment."""

from orchestra.objects import intstr
from orchestra.objects.codec import to_json
from orchestra.objects.selectors import selector_from
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.metadata import (
    is_empty_selector,
    validate_label_selector,
    validate_labels,
)
from orchestra.objects.validation.pods import validate_pod_template
from orchestra.pb import apps, core, meta

STRATEGIES = ("Recreate", "RollingUpdate")
_MISMATCH = "`selector` does not match template `labels`"
_Status = core.ReplicationControllerStatus | apps.ReplicaSetStatus | apps.DeploymentStatus


def validate_replication_controller(found: Findings, controller: core.ReplicationController) -> None:
    """A ReplicationController: its selector is plain labels."""
    spec = controller.spec
    validate_labels(found, spec.selector, "spec.selector")
    if not spec.selector:
        found.required("spec.selector")
    if not spec.HasField("template"):
        found.required("spec.template")
    else:
        labels = spec.template.metadata.labels
        if any(labels.get(key) != value for key, value in spec.selector.items()):
            found.invalid("spec.template.metadata.labels", dict(labels), _MISMATCH)
        _template(found, spec.template)
    _numbers(found, spec)


def validate_replica_set(found: Findings, replica_set: apps.ReplicaSet) -> None:
    """A ReplicaSet."""
    spec = replica_set.spec
    _template_and_selector(found, spec)
    _numbers(found, spec)


def validate_deployment(found: Findings, deployment: apps.Deployment) -> None:
    """A Deployment."""
    spec = deployment.spec
    _template_and_selector(found, spec)
    _numbers(found, spec)
    found.at_least("spec.revisionHistoryLimit", spec.revisionHistoryLimit, 0)
    _strategy(found, spec.strategy)
    if not spec.HasField("progressDeadlineSeconds"):
        return
    found.at_least("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds, 0)
    if spec.progressDeadlineSeconds <= spec.minReadySeconds:
        found.invalid(
            "spec.progressDeadlineSeconds",
            spec.progressDeadlineSeconds,
            "must be greater than minReadySeconds",
        )


def _template_and_selector(found: Findings, spec: apps.ReplicaSetSpec | apps.DeploymentSpec) -> None:
    if spec.HasField("template"):
        _template(found, spec.template)
        _selector(found, spec.selector, spec.template)
    else:
        found.required("spec.template")


def _selector(found: Findings, selector: meta.LabelSelector, template: core.PodTemplateSpec) -> None:
    if is_empty_selector(selector):
        found.required(
            "spec.selector", "say with matchLabels which pods it keeps; an empty selector is not allowed"
        )
        return
    before = len(found.violations)
    validate_label_selector(found, selector, "spec.selector")
    labels = dict(template.metadata.labels)
    if len(found.violations) == before and not selector_from(selector).matches(labels):
        found.invalid("spec.template.metadata.labels", labels, _MISMATCH)


def _template(found: Findings, template: core.PodTemplateSpec) -> None:
    validate_pod_template(found, template, "spec.template")
    policy = template.spec.restartPolicy
    if policy in ("OnFailure", "Never"):
        found.not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if template.spec.HasField("activeDeadlineSeconds"):
        found.forbidden(
            "spec.template.spec.activeDeadlineSeconds", "not allowed in a template that is kept running"
        )


def _numbers(
    found: Findings, spec: core.ReplicationControllerSpec | apps.ReplicaSetSpec | apps.DeploymentSpec
) -> None:
    found.at_least("spec.replicas", spec.replicas, 0)
    found.at_least("spec.minReadySeconds", spec.minReadySeconds, 0)


def _strategy(found: Findings, strategy: apps.DeploymentStrategy) -> None:
    path = "spec.strategy"
    if not found.one_of(f"{path}.type", strategy.type, STRATEGIES, optional=False):
        return
    if strategy.type == "Recreate":
        if strategy.HasField("rollingUpdate"):
            found.forbidden(
                f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
            )
        return
    rolling = strategy.rollingUpdate
    unavailable = _share(found, rolling.maxUnavailable, f"{path}.rollingUpdate.maxUnavailable")
    surge = _share(found, rolling.maxSurge, f"{path}.rollingUpdate.maxSurge")
    if unavailable == 0 and surge == 0:
        found.invalid(
            f"{path}.rollingUpdate.maxUnavailable",
            intstr.value_of(rolling.maxUnavailable),
            "may not be 0 when `maxSurge` is 0",
        )
    if intstr.is_string(rolling.maxUnavailable) and unavailable is not None and unavailable > 100:
        found.invalid(
            f"{path}.rollingUpdate.maxUnavailable",
            rolling.maxUnavailable.strVal,
            "must not be greater than 100%",
        )


def _share(found: Findings, share: meta.IntOrString, path: str) -> int | None:
    """The number or the percentage, None if it is neither."""
    if not intstr.is_string(share):
        return share.intVal if found.at_least(path, share.intVal, 0) else None
    percent = intstr.percent(share)
    if percent is None:
        found.invalid(
            path, share.strVal, "a valid percent string must be a whole number followed by '%' (e.g. '25%')"
        )
    return percent


def validate_selector_unchanged(
    found: Findings, new: apps.ReplicaSet | apps.Deployment, old: apps.ReplicaSet | apps.Deployment
) -> None:
    """A selector is for life: the pods it chose would be lost otherwise."""
    if new.spec.selector == old.spec.selector:
        return
    selector = new.spec.selector
    found.immutable("spec.selector", to_json(selector))


def validate_counts(found: Findings, status: _Status) -> None:
    """The numbers of a status: none below 0, and none of a part above the whole."""
    negative = [field.name for field, value in status.ListFields() if isinstance(value, int) and value < 0]
    for name in negative:
        found.at_least(f"status.{name}", getattr(status, name), 0)
    if negative:
        return
    if status.readyReplicas > status.replicas:
        found.invalid("status.readyReplicas", status.readyReplicas, "cannot be greater than status.replicas")
    if status.availableReplicas > status.readyReplicas:
        found.invalid(
            "status.availableReplicas",
            status.availableReplicas,
            "cannot be greater than status.readyReplicas",
        )
