"""What of a pod may still change."""

from typing import Any

from orchestra.objects.codec import to_json
from orchestra.objects.validation.findings import Findings
from orchestra.pb import core

_MUTABLE = (
    "`spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, "
    "`spec.tolerations` (only additions to existing tolerations), "
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_PATHS_MAX = 20


def validate_pod_update(found: Findings, new: core.Pod, old: core.Pod) -> None:
    """Images, tolerations and deadlines may change; what else differs is named by its path.

    A pod without a node may be given one; one with a node keeps it.
    """
    allowed = core.PodSpec()
    allowed.CopyFrom(new.spec)
    if old.spec.nodeName and new.spec.nodeName != old.spec.nodeName:
        found.immutable("spec.nodeName", new.spec.nodeName)
    _carry(allowed, old.spec, "nodeName")
    _deadline(found, new.spec, old.spec)
    _carry(allowed, old.spec, "activeDeadlineSeconds")
    if old.spec.terminationGracePeriodSeconds < 0 and new.spec.terminationGracePeriodSeconds == 1:
        _carry(allowed, old.spec, "terminationGracePeriodSeconds")
    _images(found, allowed, old.spec)
    _tolerations(found, new.spec, old.spec)
    allowed.ClearField("tolerations")
    allowed.tolerations.extend(old.spec.tolerations)
    gates = {gate.name for gate in old.spec.schedulingGates}
    if all(gate.name in gates for gate in new.spec.schedulingGates):
        allowed.ClearField("schedulingGates")
        allowed.schedulingGates.extend(old.spec.schedulingGates)
    else:
        found.forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
        return
    if allowed == old.spec:
        return
    for path in changed_paths(to_json(allowed), to_json(old.spec), "spec")[:_PATHS_MAX]:
        found.forbidden(path, f"pod updates may not change fields other than {_MUTABLE}")


def _carry(target: Any, source: Any, field: str) -> None:
    if source.HasField(field):
        setattr(target, field, getattr(source, field))
    else:
        target.ClearField(field)


def _deadline(found: Findings, new: core.PodSpec, old: core.PodSpec) -> None:
    path = "spec.activeDeadlineSeconds"
    if not old.HasField("activeDeadlineSeconds"):
        return
    if not new.HasField("activeDeadlineSeconds"):
        found.invalid(path, None, "must not update from a positive integer to nil value")
    elif new.activeDeadlineSeconds > old.activeDeadlineSeconds:
        found.invalid(
            path,
            new.activeDeadlineSeconds,
            f"must be less than or equal to previous value {old.activeDeadlineSeconds}",
        )


def _images(found: Findings, allowed: core.PodSpec, old: core.PodSpec) -> None:
    for field, changed, before in (
        ("containers", allowed.containers, old.containers),
        ("initContainers", allowed.initContainers, old.initContainers),
    ):
        if len(changed) != len(before):
            found.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            del changed[:]
            changed.extend(before)
            continue
        for container, known in zip(changed, before, strict=True):
            if container.name == known.name:
                container.ClearField("image")
                if known.HasField("image"):
                    container.image = known.image
                elif not known.HasField("imagePullPolicy"):
                    # The default that comes with the first image.
                    container.ClearField("imagePullPolicy")


def _tolerations(found: Findings, new: core.PodSpec, old: core.PodSpec) -> None:
    """Tolerations may be added, and their seconds changed; none may go."""

    def identity(toleration: core.Toleration) -> tuple[str, str, str, str]:
        return (toleration.key, toleration.operator or "Equal", toleration.value, toleration.effect)

    kept = {identity(toleration) for toleration in new.tolerations}
    if any(identity(toleration) not in kept for toleration in old.tolerations):
        found.forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )


def changed_paths(new: Any, old: Any, path: str) -> list[str]:
    """The paths at which two JSON values differ, as deep as they can be told."""
    if isinstance(new, dict) and isinstance(old, dict):
        paths: list[str] = []
        for key in (*new, *(key for key in old if key not in new)):
            paths.extend(changed_paths(new.get(key), old.get(key), f"{path}.{key}"))
        return paths
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [
            changed
            for index, (left, right) in enumerate(zip(new, old, strict=True))
            for changed in changed_paths(left, right, f"{path}[{index}]")
        ]
    return [path] if new != old else []
