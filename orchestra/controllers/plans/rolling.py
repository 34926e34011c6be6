"""How many pods each ReplicaSet of a Deployment may have: surge, unavailability and proportion.

Works on drafts: copies of the ReplicaSets on which `size` is changed. What counts for availability is
never more than a set is asked to keep, so that a status which has not caught up with our own scaling down
cannot make us take one pod twice.

Source: Kubernetes' pkg/controller/deployment (rolling.go, sync.go, util/deployment_util.go).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestra.controllers.plans import revisions
from orchestra.objects import intstr
from orchestra.objects.times import ns_of
from orchestra.pb import apps, meta

RECREATE = "Recreate"
_DEFAULT_SHARE = "25%"


@dataclass(slots=True)
class Draft:
    """One ReplicaSet while a plan is made. size: how many replicas it is to have."""

    original: apps.ReplicaSet
    changed: apps.ReplicaSet
    size: int

    @classmethod
    def of(cls, found: apps.ReplicaSet) -> "Draft":
        """A draft that changes nothing yet."""
        changed = apps.ReplicaSet()
        changed.CopyFrom(found)
        return cls(found, changed, found.spec.replicas if found.spec.HasField("replicas") else 1)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.original.metadata.name

    @property
    def asked(self) -> int:
        """How many replicas the set had when the plan began."""
        return self.original.spec.replicas if self.original.spec.HasField("replicas") else 1

    @property
    def present(self) -> int:
        """How many pods may be there or come: what is asked for, or what is not yet gone."""
        return max(self.size, self.original.status.replicas)

    @property
    def observed(self) -> bool:
        """Whether the set's status was written by somebody who knew the size that it is to have."""
        return self.original.status.observedGeneration >= self.original.metadata.generation

    @property
    def available(self) -> int:
        """How many available pods the set will keep."""
        return min(self.size, self.original.status.availableReplicas)


def wanted(deployment: apps.Deployment) -> int:
    """spec.replicas with its default."""
    return deployment.spec.replicas if deployment.spec.HasField("replicas") else 1


def is_rolling(deployment: apps.Deployment) -> bool:
    """Whether the strategy is RollingUpdate (also the default)."""
    return deployment.spec.strategy.type != RECREATE


def max_surge(deployment: apps.Deployment) -> int:
    """How many pods above the wanted number may be; 0 for Recreate."""
    return _fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: apps.Deployment) -> int:
    """How many pods below the wanted number may be available; 0 for Recreate."""
    if not is_rolling(deployment):
        return 0
    return min(_fenceposts(deployment)[1], wanted(deployment))


def _fenceposts(deployment: apps.Deployment) -> tuple[int, int]:
    """maxSurge rounded up and maxUnavailable rounded down; never both 0, or nothing could ever move."""
    rolling = deployment.spec.strategy.rollingUpdate
    replicas = wanted(deployment)
    surge = _resolve(rolling.maxSurge if rolling.HasField("maxSurge") else None, replicas, True)
    unavailable = _resolve(
        rolling.maxUnavailable if rolling.HasField("maxUnavailable") else None, replicas, False
    )
    return (0, 1) if surge == 0 and unavailable == 0 else (surge, unavailable)


def _resolve(value: meta.IntOrString | None, total: int, round_up: bool) -> int:
    return max(0, intstr.resolve(intstr.of(_DEFAULT_SHARE) if value is None else value, total, round_up))


def active(drafts: Iterable[Draft]) -> list[Draft]:
    """Those that are to have pods."""
    return [draft for draft in drafts if draft.size > 0]


def new_size(deployment: apps.Deployment, drafts: Sequence[Draft], new: Draft | None) -> int:
    """How many replicas the new set may have now (`new` is None: it is about to be made)."""
    replicas = wanted(deployment)
    size = new.size if new else 0
    if not is_rolling(deployment):
        return replicas
    if size >= replicas:
        return replicas
    if not all(draft.observed for draft in drafts if draft is not new):
        # A set that was just shrunk may have more pods than its status, and now its size, say.
        return size
    room = replicas + max_surge(deployment) - sum(draft.present for draft in drafts)
    return size + max(0, min(room, replicas - size))


def shrink_old(deployment: apps.Deployment, old: Sequence[Draft], new: Draft) -> None:
    """Takes from the old sets, in place, as many replicas as availability allows; broken ones first."""
    drafts = [*old, new]
    minimum = wanted(deployment) - max_unavailable(deployment)
    unavailable_new = max(0, new.size - new.available)
    budget = sum(draft.size for draft in drafts) - minimum - unavailable_new
    ordered = sorted(active(old), key=lambda d: (ns_of(d.original.metadata.creationTimestamp), d.name))
    for draft in ordered:
        broken = min(max(0, budget), draft.size - draft.available)
        draft.size -= broken
        budget -= broken
    spare = sum(draft.available for draft in drafts) - minimum
    for draft in ordered:
        taken = min(max(0, spare), draft.size)
        draft.size -= taken
        spare -= taken


def is_scaling(deployment: apps.Deployment, drafts: Iterable[Draft]) -> bool:
    """Whether the Deployment's size has changed since an active set was last scaled.

    Never for Recreate in between two sets: it gives no part to each, but takes the old down and the new up.
    """
    replicas = wanted(deployment)
    busy = active(drafts)
    if not is_rolling(deployment) and len(busy) > 1:
        return False
    for draft in busy:
        noted = revisions.annotated_number(draft.original, revisions.DESIRED_REPLICAS)
        if noted is not None and noted != replicas:
            return True
    return False


def scale(deployment: apps.Deployment, old: Sequence[Draft], new: Draft | None) -> None:
    """Gives every active set, in place, its part of the Deployment's new size, without rolling on."""
    replicas = wanted(deployment)
    only = _active_or_latest(old, new)
    if only is not None:
        only.size = replicas
        _note_sizes(deployment, [only])
        return
    if new is not None and _is_saturated(deployment, new):
        for draft in active(old):
            draft.size = 0
            _note_sizes(deployment, [draft])
        return
    if is_rolling(deployment):
        _scale_in_proportion(deployment, active([*old, *([new] if new else [])]))


def _active_or_latest(old: Sequence[Draft], new: Draft | None) -> Draft | None:
    busy = active([*old, *([new] if new else [])])
    if len(busy) == 1:
        return busy[0]
    if busy:
        return None
    if new is not None:
        return new
    return max(old, key=lambda d: ns_of(d.original.metadata.creationTimestamp), default=None)


def _is_saturated(deployment: apps.Deployment, new: Draft) -> bool:
    replicas = wanted(deployment)
    return (
        new.size == replicas
        and revisions.annotated_number(new.original, revisions.DESIRED_REPLICAS) == replicas
        and new.original.status.availableReplicas == replicas
    )


def _scale_in_proportion(deployment: apps.Deployment, drafts: list[Draft]) -> None:
    replicas = wanted(deployment)
    allowed = replicas + max_surge(deployment) if replicas > 0 else 0
    to_add = allowed - sum(draft.size for draft in drafts)
    # Larger sets get more; between equals growth goes to newer ones, shrinking to older ones.
    age = 1 if to_add < 0 else -1
    drafts.sort(key=lambda d: (-d.size, age * ns_of(d.original.metadata.creationTimestamp), d.name))
    added = 0
    for draft in drafts:
        share = _proportion(deployment, draft, to_add, added)
        draft.size += share
        added += share
    if drafts and to_add != 0:
        drafts[0].size = max(0, drafts[0].size + to_add - added)
    _note_sizes(deployment, drafts)


def _proportion(deployment: apps.Deployment, draft: Draft, to_add: int, added: int) -> int:
    left = to_add - added
    if draft.size == 0 or left == 0:
        return 0
    share = _fraction(deployment, draft)
    # Notes of another Deployment, from before an adoption, must not make one grow while the whole shrinks.
    return max(0, min(share, left)) if to_add > 0 else min(0, max(share, left))


def _fraction(deployment: apps.Deployment, draft: Draft) -> int:
    """By how much the set changes if it keeps its share of the whole."""
    replicas = wanted(deployment)
    if replicas == 0:
        return -draft.size
    before = revisions.annotated_number(draft.original, revisions.MAX_REPLICAS) or deployment.status.replicas
    if not before:
        return 0
    # Rounded half away from zero, as Kubernetes rounds, and in whole numbers.
    scaled = 2 * draft.size * (replicas + max_surge(deployment))
    return (scaled + before) // (2 * before) - draft.size


def _note_sizes(deployment: apps.Deployment, drafts: Iterable[Draft]) -> None:
    replicas = wanted(deployment)
    for draft in drafts:
        revisions.annotate_sizes(draft.changed, replicas, replicas + max_surge(deployment))
