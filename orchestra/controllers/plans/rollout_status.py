"""What a Deployment says about itself: its counts, and whether it progresses.

Source: Kubernetes' pkg/controller/deployment/progress.go and util/deployment_util.go.
"""

from collections.abc import Sequence

from orchestra.controllers.plans import rolling
from orchestra.controllers.plans.rolling import Draft
from orchestra.objects.times import NS_PER_SECOND, ns_of, time_from_ns
from orchestra.pb import apps

AVAILABLE = "Available"
PROGRESSING = "Progressing"
REPLICA_FAILURE = "ReplicaFailure"

NEW_CREATED = "NewReplicaSetCreated"
NEW_FOUND = "FoundNewReplicaSet"
NEW_AVAILABLE = "NewReplicaSetAvailable"
UPDATED = "ReplicaSetUpdated"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"

_DEADLINE_NONE = 2**31 - 1


def condition(status: apps.DeploymentStatus, type_: str) -> apps.DeploymentCondition | None:
    """The condition of a type, None if there is none."""
    return next((found for found in status.conditions if found.type == type_), None)


def drop_condition(status: apps.DeploymentStatus, type_: str) -> None:
    """Removes a condition, in place."""
    kept = [found for found in status.conditions if found.type != type_]
    if len(kept) != len(status.conditions):
        del status.conditions[:]
        status.conditions.extend(kept)


def set_condition(
    status: apps.DeploymentStatus,
    type_: str,
    value: str,
    reason: str,
    message: str,
    now_ns: int,
    *,
    refresh: bool = False,
) -> None:
    """Sets a condition, in place; one of the same status and reason stays as it is.

    refresh: something has moved: the update time is now, though status and reason may be the same.
    """
    before = condition(status, type_)
    if before is not None and before.status == value and before.reason == reason and not refresh:
        return
    now = time_from_ns(now_ns)
    made = apps.DeploymentCondition(
        type=type_,
        status=value,
        reason=reason,
        message=message,
        lastUpdateTime=now,
        lastTransitionTime=before.lastTransitionTime if before and before.status == value else now,
    )
    drop_condition(status, type_)
    status.conditions.append(made)


def counts(
    deployment: apps.Deployment, drafts: Sequence[Draft], new: Draft | None, now_ns: int
) -> apps.DeploymentStatus:
    """The status without its Progressing condition brought up to date. now_ns: wall time."""
    old = deployment.status
    status = apps.DeploymentStatus()
    sets = [draft.original.status for draft in drafts]
    available = sum(found.availableReplicas for found in sets)
    values = {
        "observedGeneration": deployment.metadata.generation,
        "replicas": sum(found.replicas for found in sets),
        "updatedReplicas": new.original.status.replicas if new else 0,
        "readyReplicas": sum(found.readyReplicas for found in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(draft.size for draft in drafts) - available),
    }
    for field, value in values.items():
        if value:
            setattr(status, field, value)
    status.terminatingReplicas = sum(found.terminatingReplicas for found in sets)
    if old.HasField("collisionCount"):
        status.collisionCount = old.collisionCount
    status.conditions.extend(old.conditions)
    if available >= rolling.wanted(deployment) - rolling.max_unavailable(deployment):
        set_condition(
            status,
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now_ns,
        )
    else:
        set_condition(
            status,
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now_ns,
        )
    return status


def has_deadline(deployment: apps.Deployment) -> bool:
    """Whether progress has a deadline."""
    spec = deployment.spec
    return spec.HasField("progressDeadlineSeconds") and spec.progressDeadlineSeconds < _DEADLINE_NONE


def is_complete(deployment: apps.Deployment, status: apps.DeploymentStatus) -> bool:
    """Whether every wanted pod is of the newest template and available, and no other is left."""
    replicas = rolling.wanted(deployment)
    return (
        status.updatedReplicas == replicas
        and status.replicas == replicas
        and status.availableReplicas == replicas
        and status.observedGeneration >= deployment.metadata.generation
    )


def has_progressed(old: apps.DeploymentStatus, new: apps.DeploymentStatus) -> bool:
    """Whether more is updated, ready or available than before, or less is old."""
    return (
        new.updatedReplicas > old.updatedReplicas
        or new.replicas - new.updatedReplicas < old.replicas - old.updatedReplicas
        or new.readyReplicas > old.readyReplicas
        or new.availableReplicas > old.availableReplicas
    )


def deadline_ns(deployment: apps.Deployment, status: apps.DeploymentStatus) -> int | None:
    """When a rollout that does not move has failed (wall time); None when nothing is awaited."""
    progressing = condition(status, PROGRESSING)
    if not has_deadline(deployment) or progressing is None:
        return None
    if progressing.reason in (NEW_AVAILABLE, TIMED_OUT, PAUSED):
        return None
    return ns_of(progressing.lastUpdateTime) + deployment.spec.progressDeadlineSeconds * NS_PER_SECOND


def report_progress(
    deployment: apps.Deployment, status: apps.DeploymentStatus, new: Draft | None, now_ns: int
) -> None:
    """Brings the Progressing condition of `status` up to date, in place. now_ns: wall time."""
    if not has_deadline(deployment):
        drop_condition(status, PROGRESSING)
        return
    before = condition(status, PROGRESSING)
    finished_before = before is not None and before.reason == NEW_AVAILABLE
    if finished_before and status.replicas == status.updatedReplicas:
        return
    what = f'ReplicaSet "{new.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{what} has successfully progressed."
        set_condition(status, PROGRESSING, "True", NEW_AVAILABLE, message, now_ns)
    elif has_progressed(deployment.status, status):
        message = f"{what} is progressing."
        set_condition(status, PROGRESSING, "True", UPDATED, message, now_ns, refresh=True)
    elif (deadline := deadline_ns(deployment, status)) is not None and now_ns >= deadline:
        message = f"{what} has timed out progressing."
        set_condition(status, PROGRESSING, "False", TIMED_OUT, message, now_ns)


def report_pause(deployment: apps.Deployment, status: apps.DeploymentStatus, now_ns: int) -> None:
    """Says in the Progressing condition, in place, that the rollout was paused or resumed."""
    if not has_deadline(deployment):
        return
    before = condition(status, PROGRESSING)
    if before is not None and before.reason == TIMED_OUT:
        return
    was_paused = before is not None and before.reason == PAUSED
    if deployment.spec.paused and not was_paused:
        set_condition(status, PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now_ns)
    elif not deployment.spec.paused and was_paused:
        set_condition(status, PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now_ns)


def report_failure(status: apps.DeploymentStatus, drafts: Sequence[Draft], new: Draft | None) -> None:
    """Takes over, in place, a ReplicaSet's word that pods cannot be made; the new set's first."""
    ordered = ([new] if new else []) + [draft for draft in drafts if draft is not new]
    for draft in ordered:
        for found in draft.original.status.conditions:
            if found.type == REPLICA_FAILURE:
                drop_condition(status, REPLICA_FAILURE)
                status.conditions.add(
                    type=found.type,
                    status=found.status,
                    reason=found.reason,
                    message=found.message,
                    lastUpdateTime=found.lastTransitionTime,
                    lastTransitionTime=found.lastTransitionTime,
                )
                return
    drop_condition(status, REPLICA_FAILURE)
