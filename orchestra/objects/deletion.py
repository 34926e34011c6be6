"""What deleting an object means: at once, after its grace, or when the last finalizer has gone.

Pure; `lifecycle` offers it together with create and update. Source: Kubernetes' rest.BeforeDelete and the
generic registry's Delete (k8s.io/apiserver/pkg/registry).
"""

from dataclasses import dataclass

from orchestra.base.errors import BadRequest, PreconditionFailed
from orchestra.objects.kinds import NAMESPACE, POD, ApiObject, Kind, kind_of
from orchestra.pb import core, meta

FINALIZER_ORPHAN = "orphan"
FINALIZER_FOREGROUND = "foregroundDeletion"

PROPAGATION_POLICIES = ("Background", "Foreground", "Orphan")

# Longer than anybody waits, and short enough that the time of the end can be stored.
GRACE_SECONDS_MAX = 2**31 - 1

_NANOS = 1_000_000_000
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """What a delete does to the store.

    remove: the object goes now. updated: otherwise what is to be stored in its place; None when the object is
    already on its way and nothing changes.
    """

    remove: bool
    updated: ApiObject | None = None


def plan_delete(obj: ApiObject, options: meta.DeleteOptions | None, now_ns: int) -> DeletePlan:
    """What deleting `obj` does now.

    Raises: PreconditionFailed when options demand another uid or resourceVersion than the object's;
    BadRequest for a propagation policy that there is not.
    """
    kind = kind_of(obj)
    options = options or meta.DeleteOptions()
    check_preconditions(kind, obj.metadata, options)
    marked = type(obj)()
    marked.CopyFrom(obj)
    _set_finalizers(marked.metadata, _propagation(options))
    _mark(kind, marked, options, now_ns)
    if finalizers_done(marked):
        return DeletePlan(remove=True)
    return DeletePlan(remove=False, updated=marked if marked != obj else None)


def finalizers_done(obj: ApiObject) -> bool:
    """Whether the object is being deleted and nothing holds it any more, so that it is to be removed."""
    metadata = obj.metadata
    if (
        not metadata.HasField("deletionTimestamp")
        or metadata.finalizers
        or metadata.deletionGracePeriodSeconds
    ):
        return False
    return not (isinstance(obj, core.Namespace) and obj.spec.finalizers)


def check_preconditions(kind: Kind, found: meta.ObjectMeta, options: meta.DeleteOptions) -> None:
    """Raises PreconditionFailed when the object is not the one, or not the version, that the caller means."""
    demanded = options.preconditions
    for word, asked, want, have in (
        ("uid", demanded.HasField("uid"), demanded.uid, found.uid),
        (
            "resourceVersion",
            demanded.HasField("resourceVersion"),
            demanded.resourceVersion,
            found.resourceVersion,
        ),
    ):
        if asked and want != have:
            raise PreconditionFailed(
                f'{kind.resource} "{found.name}" was not deleted: the request demands {word} {want}, '
                f"the object has {word} {have}",
                kind=kind.resource,
                name=found.name,
            )


def _propagation(options: meta.DeleteOptions) -> str:
    """The policy asked for, "" when the caller names none: the finalizers already there then decide."""
    policy = options.propagationPolicy
    if options.HasField("orphanDependents"):
        if policy:
            raise BadRequest(
                "orphanDependents and propagationPolicy cannot both be set: use propagationPolicy"
            )
        return "Orphan" if options.orphanDependents else "Background"
    if policy and policy not in PROPAGATION_POLICIES:
        supported = ", ".join(f'"{known}"' for known in PROPAGATION_POLICIES)
        raise BadRequest(f'propagationPolicy: Unsupported value: "{policy}": supported values: {supported}')
    return policy


def _set_finalizers(metadata: meta.ObjectMeta, policy: str) -> None:
    if not policy:
        return
    wanted = {"Foreground": FINALIZER_FOREGROUND, "Orphan": FINALIZER_ORPHAN}.get(policy)
    kept = [name for name in metadata.finalizers if name not in (FINALIZER_FOREGROUND, FINALIZER_ORPHAN)]
    if wanted:
        kept.append(wanted)
    if sorted(kept) != sorted(metadata.finalizers):
        del metadata.finalizers[:]
        metadata.finalizers.extend(kept)


def _mark(kind: Kind, obj: ApiObject, options: meta.DeleteOptions, now_ns: int) -> None:
    metadata = obj.metadata
    grace = _grace_seconds(kind, obj, options)
    if metadata.HasField("deletionTimestamp"):
        before = metadata.deletionGracePeriodSeconds
        asked = grace if options.HasField("gracePeriodSeconds") else before
        # A second delete may only shorten the wait, never lengthen it.
        if asked < before:
            asked_at = metadata.deletionTimestamp.seconds - before
            metadata.deletionTimestamp.seconds = asked_at + asked
            metadata.deletionGracePeriodSeconds = asked
        return
    metadata.deletionTimestamp.seconds = now_ns // _NANOS + grace
    metadata.deletionGracePeriodSeconds = grace
    if metadata.generation:
        metadata.generation += 1
    if kind is NAMESPACE:
        obj.status.phase = "Terminating"


def _grace_seconds(kind: Kind, obj: ApiObject, options: meta.DeleteOptions) -> int:
    """The seconds between being asked to stop and being killed; only a pod on a node has any."""
    if kind is not POD or not obj.spec.nodeName or obj.status.phase in _FINISHED:
        return 0
    grace = 0
    if options.HasField("gracePeriodSeconds"):
        grace = options.gracePeriodSeconds
    elif obj.spec.HasField("terminationGracePeriodSeconds"):
        grace = obj.spec.terminationGracePeriodSeconds
    return 1 if grace < 0 else min(int(grace), GRACE_SECONDS_MAX)
