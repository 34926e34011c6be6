"""A deployment's replica sets and the revisions they hold. Pure."""

from collections.abc import Sequence

from orchestra.pb import apps, core

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
TEMPLATE_HASH = "pod-template-hash"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


def owned_sets(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    """The replica sets that the deployment controls, oldest revision first."""
    uid = deployment.metadata.uid
    own = [s for s in sets if any(o.controller and o.uid == uid for o in s.metadata.ownerReferences)]
    return sorted(own, key=revision_of)


def revision_of(replica_set: apps.ReplicaSet) -> int:
    """The revision number; 0 while the controller has not given it one."""
    text = replica_set.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def bare_template(template: core.PodTemplateSpec) -> core.PodTemplateSpec:
    """The template as its deployment had it: without the hash that tells replica sets apart."""
    bare = core.PodTemplateSpec()
    bare.CopyFrom(template)
    bare.metadata.labels.pop(TEMPLATE_HASH, None)
    # What tells nothing about the pods must not make two templates different.
    bare.metadata.ClearField("creationTimestamp")
    return bare


def same_template(one: core.PodTemplateSpec, other: core.PodTemplateSpec) -> bool:
    """Whether two templates make the same pods."""
    return bool(bare_template(one) == bare_template(other))


def newest_of(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> apps.ReplicaSet | None:
    """The replica set that runs the deployment's template as it is now."""
    return next((s for s in sets if same_template(s.spec.template, deployment.spec.template)), None)


def status_of(deployment: apps.Deployment) -> tuple[str, bool]:
    """How a rollout stands, in kubectl's sentence, and whether it is done.

    Raises: ValueError when it has exceeded its progress deadline.
    """
    name, spec, status = deployment.metadata.name, deployment.spec, deployment.status
    if deployment.metadata.generation > status.observedGeneration:
        return "Waiting for deployment spec update to be observed...", False
    progressing = next((c for c in status.conditions if c.type == "Progressing"), None)
    if progressing is not None and progressing.reason == "ProgressDeadlineExceeded":
        raise ValueError(f'deployment "{name}" exceeded its progress deadline')
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if status.updatedReplicas < spec.replicas:
        return (
            f"{waiting}{status.updatedReplicas} out of {spec.replicas} new replicas have been updated...",
            False,
        )
    if status.replicas > status.updatedReplicas:
        pending = status.replicas - status.updatedReplicas
        return f"{waiting}{pending} old replicas are pending termination...", False
    if status.availableReplicas < status.updatedReplicas:
        available = f"{status.availableReplicas} of {status.updatedReplicas} updated replicas are available"
        return f"{waiting}{available}...", False
    return f'deployment "{name}" successfully rolled out', True
