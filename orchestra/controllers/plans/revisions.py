"""A Deployment's history: which ReplicaSet is of which template, and under which revision number.

Source: Kubernetes' pkg/controller/deployment/util.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from orchestra.controllers.plans.replicas import controller_reference
from orchestra.objects.times import ns_of
from orchestra.pb import apps, core

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
CHANGE_CAUSE = "kubernetes.io/change-cause"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

# What a ReplicaSet says for itself and does not take over from its Deployment's annotations.
_OWN_ANNOTATIONS = frozenset(
    (
        LAST_APPLIED,
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    )
)
_REVISION_HISTORY_LENGTH_MAX = 2000
_LIMIT_NONE = 2**31 - 1

# Letters and digits that make no words and are not mistaken for each other.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10
_NAME_LENGTH_MAX = 253


def template_hash(template: core.PodTemplateSpec, collision_count: int | None) -> str:
    """A short name for a template: equal for equal templates, another for each collision_count."""
    digest = hashlib.sha256(template.SerializeToString(deterministic=True))
    if collision_count is not None:
        digest.update(b"/%d" % collision_count)
    number = int.from_bytes(digest.digest()[:8], "big")
    letters = []
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def same_template(a: core.PodTemplateSpec, b: core.PodTemplateSpec) -> bool:
    """Whether two templates are equal but for the hash label."""
    if a == b:
        return True
    left, right = core.PodTemplateSpec(), core.PodTemplateSpec()
    for copy, source in ((left, a), (right, b)):
        copy.CopyFrom(source)
        copy.metadata.SetInParent()
        copy.spec.SetInParent()
        copy.metadata.labels.pop(HASH_LABEL, None)
    return left == right


def find_new(deployment: apps.Deployment, sets: Iterable[apps.ReplicaSet]) -> apps.ReplicaSet | None:
    """The set of the Deployment's present template; the oldest, should there be several."""
    for found in by_age(sets):
        if same_template(found.spec.template, deployment.spec.template):
            return found
    return None


def by_age(sets: Iterable[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    """Oldest first, names decide between equals."""
    return sorted(sets, key=lambda s: (ns_of(s.metadata.creationTimestamp), s.metadata.name))


def revision_of(annotations: Mapping[str, str]) -> int:
    """The revision number; 0 if there is none, or nonsense."""
    try:
        return int(annotations.get(REVISION, "0"))
    except ValueError:
        return 0


def max_revision(sets: Iterable[apps.ReplicaSet]) -> int:
    """The highest revision number of any set."""
    return max((revision_of(found.metadata.annotations) for found in sets), default=0)


def annotate_new(
    deployment: apps.Deployment, new_set: apps.ReplicaSet, revision: int, *, exists: bool
) -> None:
    """Gives the new set, in place, its Deployment's annotations and its revision number.

    A set whose template came back gets the newest number, and keeps the old ones in its history.
    """
    annotations = new_set.metadata.annotations
    for key, value in deployment.metadata.annotations.items():
        if key not in _OWN_ANNOTATIONS and annotations.get(key) != value:
            annotations[key] = value
    before = annotations.get(REVISION, "")
    if before and not before.isdecimal():
        return
    if revision <= int(before or "0"):
        return
    annotations[REVISION] = str(revision)
    if exists and before:
        history = [number for number in annotations.get(REVISION_HISTORY, "").split(",") if number]
        history.append(before)
        while history and len(",".join(history)) > _REVISION_HISTORY_LENGTH_MAX:
            history.pop(0)
        annotations[REVISION_HISTORY] = ",".join(history)


def annotate_sizes(found: apps.ReplicaSet, desired: int, maximum: int) -> None:
    """Notes, in place, for which size of the Deployment the set was last scaled."""
    for key, value in ((DESIRED_REPLICAS, str(desired)), (MAX_REPLICAS, str(maximum))):
        if found.metadata.annotations.get(key) != value:
            found.metadata.annotations[key] = value


def annotated_number(found: apps.ReplicaSet, key: str) -> int | None:
    """An annotation's number, None if there is none."""
    try:
        return int(found.metadata.annotations[key]) if key in found.metadata.annotations else None
    except ValueError:
        return None


def new_set(deployment: apps.Deployment, replicas: int) -> apps.ReplicaSet:
    """The ReplicaSet of the Deployment's present template, without annotations."""
    collision_count = (
        deployment.status.collisionCount if deployment.status.HasField("collisionCount") else None
    )
    hash_ = template_hash(deployment.spec.template, collision_count)
    made = apps.ReplicaSet()
    made.metadata.namespace = deployment.metadata.namespace
    made.metadata.name = f"{deployment.metadata.name[: _NAME_LENGTH_MAX - 1 - len(hash_)]}-{hash_}"
    made.metadata.ownerReferences.append(controller_reference(deployment))
    made.spec.replicas = replicas
    if deployment.spec.HasField("minReadySeconds"):
        made.spec.minReadySeconds = deployment.spec.minReadySeconds
    made.spec.selector.CopyFrom(deployment.spec.selector)
    made.spec.selector.matchLabels[HASH_LABEL] = hash_
    made.spec.template.CopyFrom(deployment.spec.template)
    made.spec.template.metadata.labels[HASH_LABEL] = hash_
    for key, value in made.spec.template.metadata.labels.items():
        made.metadata.labels[key] = value
    return made


def to_clean_up(deployment: apps.Deployment, old_sets: Sequence[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    """The old sets beyond revisionHistoryLimit that are empty and known to be."""
    if not deployment.spec.HasField("revisionHistoryLimit"):
        return []
    limit = deployment.spec.revisionHistoryLimit
    if limit >= _LIMIT_NONE:
        return []
    alive = [found for found in old_sets if not found.metadata.HasField("deletionTimestamp")]
    alive.sort(key=lambda s: (revision_of(s.metadata.annotations), ns_of(s.metadata.creationTimestamp)))
    return [
        found
        for found in alive[: max(0, len(alive) - limit)]
        if not found.spec.replicas
        and not found.status.replicas
        and found.metadata.generation <= found.status.observedGeneration
    ]
