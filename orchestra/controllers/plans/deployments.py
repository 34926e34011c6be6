"""Rolling a Deployment from one template to the next over ReplicaSets.

Source: Kubernetes' pkg/controller/deployment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans import revisions, rolling, rollout_status
from orchestra.controllers.plans.rolling import Draft
from orchestra.objects.selectors import selector_from
from orchestra.pb import apps, core


@dataclass(frozen=True, slots=True)
class DeploymentObserved:
    """A Deployment and what is there of it.

    replica_sets: those of its namespace that it controls, or that nobody does.
    pods: of the sets that it controls; only Recreate looks at them.
    """

    deployment: apps.Deployment
    replica_sets: Sequence[apps.ReplicaSet]
    pods: Sequence[core.Pod] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One ReplicaSet as it is and as it is to be: its size, annotations and minReadySeconds may differ."""

    original: apps.ReplicaSet
    changed: apps.ReplicaSet


@dataclass(frozen=True, slots=True)
class Note:
    """An event to tell of the Deployment."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What to do, in this order. A set is scaled up before another is scaled down.

    revision: what the Deployment's revision annotation is to say, None if it is right.
    status: the new status, None if nothing changed.
    requeue_at_ns: wall time when the progress deadline has to be judged.
    """

    adopt: tuple[apps.ReplicaSet, ...] = ()
    release: tuple[apps.ReplicaSet, ...] = ()
    create: apps.ReplicaSet | None = None
    changes: tuple[Change, ...] = ()
    delete: tuple[apps.ReplicaSet, ...] = ()
    revision: str | None = None
    status: apps.DeploymentStatus | None = None
    notes: tuple[Note, ...] = ()
    requeue_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Claim:
    adopt: tuple[apps.ReplicaSet, ...]
    release: tuple[apps.ReplicaSet, ...]
    owned: tuple[apps.ReplicaSet, ...]


class _Planner:
    """Collects one plan."""

    def __init__(self, observed: DeploymentObserved, claim: _Claim, now_ns: int) -> None:
        self.deployment = observed.deployment
        self.pods = observed.pods
        self.claim = claim
        self.now_ns = now_ns
        self.drafts = [Draft.of(found) for found in claim.owned]
        found = revisions.find_new(self.deployment, claim.owned)
        self.new = next((draft for draft in self.drafts if draft.original is found), None)
        self.old = [draft for draft in self.drafts if draft is not self.new]
        self.create: apps.ReplicaSet | None = None
        self.delete: list[apps.ReplicaSet] = []
        self.revision: str | None = None
        self.notes: list[Note] = []
        # Conditions are brought up to date on this copy before the counts are taken.
        self.status_before = apps.DeploymentStatus()
        self.status_before.CopyFrom(self.deployment.status)

    def sync_new(self, *, create: bool) -> None:
        """Gives the set of the present template its annotations and revision, or makes it."""
        deployment = self.deployment
        revision = revisions.max_revision(draft.original for draft in self.old) + 1
        if self.new is not None:
            changed = self.new.changed
            revisions.annotate_new(deployment, changed, revision, exists=True)
            if changed.spec.minReadySeconds != deployment.spec.minReadySeconds:
                changed.spec.minReadySeconds = deployment.spec.minReadySeconds
            self._take_revision(changed)
            if rollout_status.condition(self.status_before, rollout_status.PROGRESSING) is None:
                message = f'Found new replica set "{self.new.name}"'
                self._progressing(rollout_status.NEW_FOUND, message)
            return
        if not create:
            return
        made = revisions.new_set(deployment, rolling.new_size(deployment, self.drafts, None))
        revisions.annotate_new(deployment, made, revision, exists=False)
        replicas = rolling.wanted(deployment)
        revisions.annotate_sizes(made, replicas, replicas + rolling.max_surge(deployment))
        self.create = made
        self._take_revision(made)
        if made.spec.replicas:
            self._scaled(made.metadata.name, 0, made.spec.replicas)
        self._progressing(rollout_status.NEW_CREATED, f'Created new replica set "{made.metadata.name}"')

    def _take_revision(self, found: apps.ReplicaSet) -> None:
        said = found.metadata.annotations.get(revisions.REVISION, "")
        if said and self.deployment.metadata.annotations.get(revisions.REVISION, "") != said:
            self.revision = said

    def _progressing(self, reason: str, message: str) -> None:
        if rollout_status.has_deadline(self.deployment):
            rollout_status.set_condition(
                self.status_before, rollout_status.PROGRESSING, "True", reason, message, self.now_ns
            )

    def _scaled(self, name: str, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        self.notes.append(
            Note(
                "Normal",
                "ScalingReplicaSet",
                f"Scaled {direction} replica set {name} from {before} to {after}",
            )
        )

    def roll(self) -> None:
        """RollingUpdate: grow the new set, then shrink the old ones as availability allows."""
        self.sync_new(create=True)
        if self.new is None:
            return
        self.new.size = rolling.new_size(self.deployment, self.drafts, self.new)
        if self.new.size > self.new.asked:
            # What is old goes once the cache shows the new set's growth: one step at a time stays safe.
            return
        rolling.shrink_old(self.deployment, self.old, self.new)

    def recreate(self) -> None:
        """Recreate: shrink the old sets to nothing, wait until their pods are gone, then grow the new one."""
        self.sync_new(create=False)
        busy = rolling.active(self.old)
        for draft in busy:
            draft.size = 0
        if busy or self._old_pods_remain():
            return
        self.sync_new(create=True)
        if self.new is not None:
            self.new.size = rolling.wanted(self.deployment)

    def _old_pods_remain(self) -> bool:
        if any(draft.original.status.replicas for draft in self.old):
            return True
        new_uid = self.new.original.metadata.uid if self.new else ""
        for pod in self.pods:
            controller = podq.controller_of(pod.metadata)
            if controller is not None and controller.uid != new_uid and not podq.is_finished(pod):
                return True
        return False

    def clean_up(self) -> None:
        """Forgets what is beyond the history limit."""
        self.delete = revisions.to_clean_up(self.deployment, [draft.original for draft in self.old])

    def changes(self) -> tuple[Change, ...]:
        """The sets that differ from what they were; growing ones first."""
        replicas = rolling.wanted(self.deployment)
        maximum = replicas + rolling.max_surge(self.deployment)
        found: list[tuple[int, Change]] = []
        for draft in self.drafts:
            if draft.size != draft.asked:
                draft.changed.spec.replicas = draft.size
                revisions.annotate_sizes(draft.changed, replicas, maximum)
                self._scaled(draft.name, draft.asked, draft.size)
            if draft.changed != draft.original:
                found.append((draft.asked - draft.size, Change(draft.original, draft.changed)))
        found.sort(key=lambda pair: pair[0])
        return tuple(change for _, change in found)

    def finish(self, *, progress: bool) -> DeploymentPlan:
        """The plan."""
        seen = apps.Deployment()
        seen.CopyFrom(self.deployment)
        seen.status.CopyFrom(self.status_before)
        changes = self.changes()
        status = rollout_status.counts(seen, self.drafts, self.new, self.now_ns)
        if progress:
            rollout_status.report_progress(seen, status, self.new, self.now_ns)
            rollout_status.report_failure(status, self.drafts, self.new)
            if rollout_status.is_complete(seen, status):
                self.clean_up()
        deadline = rollout_status.deadline_ns(self.deployment, status) if progress else None
        return DeploymentPlan(
            adopt=self.claim.adopt,
            release=self.claim.release,
            create=self.create,
            changes=changes,
            delete=tuple(self.delete),
            revision=self.revision,
            status=status if status != self.deployment.status else None,
            notes=tuple(self.notes),
            requeue_at_ns=deadline,
        )


def plan(observed: DeploymentObserved, now_ns: int) -> DeploymentPlan:
    """What brings the Deployment one safe step nearer to its spec. now_ns: wall time."""
    deployment = observed.deployment
    planner = _Planner(observed, _claim(observed), now_ns)
    if deployment.metadata.HasField("deletionTimestamp"):
        return planner.finish(progress=False)
    rollout_status.report_pause(deployment, planner.status_before, now_ns)
    if deployment.spec.paused or rolling.is_scaling(deployment, planner.drafts):
        planner.sync_new(create=False)
        rolling.scale(deployment, planner.old, planner.new)
        if deployment.spec.paused:
            planner.clean_up()
        return planner.finish(progress=False)
    if rolling.is_rolling(deployment):
        planner.roll()
    else:
        planner.recreate()
    return planner.finish(progress=True)


def _claim(observed: DeploymentObserved) -> _Claim:
    """Which sets the Deployment takes, keeps and lets go: those its selector matches are its own."""
    deployment = observed.deployment
    selector = selector_from(deployment.spec.selector)
    deleting = deployment.metadata.HasField("deletionTimestamp")
    adopt: list[apps.ReplicaSet] = []
    release: list[apps.ReplicaSet] = []
    owned: list[apps.ReplicaSet] = []
    for found in observed.replica_sets:
        controller = podq.controller_of(found.metadata)
        matches = selector.matches(found.metadata.labels)
        if controller is not None and controller.uid != deployment.metadata.uid:
            continue
        if controller is not None:
            if matches:
                owned.append(found)
            elif not deleting:
                release.append(found)
        elif matches and not deleting and not found.metadata.HasField("deletionTimestamp"):
            adopt.append(found)
            owned.append(found)
    return _Claim(tuple(adopt), tuple(release), tuple(owned))
