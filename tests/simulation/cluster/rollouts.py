"""What a rollout must not do: take more pods than maxUnavailable allows, or make more than maxSurge allows.

Only what the rollout does is held against it. A pod that a user deleted, whose node was lost or whose process
crashed is nobody's fault, also not for those who acted before they could have heard of it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestra.objects import intstr
from orchestra.objects.kinds import DEPLOYMENT, NAMESPACE, NODE, POD, REPLICA_SET, Kind
from orchestra.pb import apps, core
from tests.simulation.cluster.state import (
    State,
    Violation,
    controller_uid,
    is_active,
    is_deleting,
    is_finished,
    ready_since_ns,
    title,
)
from tests.simulation.loop import WALL_START_NS

NS = 1_000_000_000
# How long a rollout is given to put right what a user did to its sets.
MEDDLED_SECONDS = 30.0


@dataclass(slots=True)
class _Rollout:
    """What is remembered of one Deployment: (time, value), no older than needed."""

    needed: deque[tuple[float, int]] = field(default_factory=deque)
    allowed: deque[tuple[float, int]] = field(default_factory=deque)
    strategies: deque[tuple[float, str]] = field(default_factory=deque)
    available: deque[tuple[float, int]] = field(default_factory=deque)
    # When pods were lost by no doing of the rollout's.
    lost: deque[float] = field(default_factory=deque)
    # When its size or what decides of it was last changed: what is scaled down in proportion goes, ready or not,
    # as in Kubernetes.
    scaled_at: float = -1e9
    # When one of its sets was last given more pods.
    grown_at: float = -1e9


class Rollouts:
    """Hears of every change.

    user_deleted: uids of pods that a user took. meddled: when a user last changed a Deployment's own sets.
    """

    def __init__(
        self,
        state: State,
        now: Callable[[], float],
        time: Callable[[], float],
        lag_seconds: float,
        doubt_seconds: float,
    ) -> None:
        """now: time in which the cluster could be written. time: all of it. doubt_seconds: how far clocks are apart."""
        self.user_deleted: set[str] = set()
        self.meddled: dict[str, float] = {}
        self._state = state
        self._now = now
        self._time = time
        self._doubt_ns = round(doubt_seconds * NS)
        self._lag = lag_seconds
        self._rollouts: dict[str, _Rollout] = {}

    def saw(self, kind: Kind, old: Any | None, new: Any | None) -> None:
        """One change; the state has it already."""
        if kind is DEPLOYMENT:
            self._note_deployment(old, new)
        elif kind is REPLICA_SET:
            self._note_set(old, new)
        elif kind is POD:
            self._pod(old, new)

    def _note_deployment(self, old: apps.Deployment | None, new: apps.Deployment | None) -> None:
        if new is None:
            if old is not None:
                self._rollouts.pop(old.metadata.uid, None)
            return
        kept = self._rollouts.setdefault(new.metadata.uid, _Rollout())
        surge, unavailable = bounds(new)
        now = self._now()
        if old is None or _sizing(old) != _sizing(new):
            kept.scaled_at = now
        kept.needed.append((now, new.spec.replicas - unavailable))
        kept.allowed.append((now, new.spec.replicas + surge))
        kept.strategies.append((now, "paused" if new.spec.paused else new.spec.strategy.type))

    def _note_set(self, old: apps.ReplicaSet | None, new: apps.ReplicaSet | None) -> None:
        if new is None or new.spec.replicas <= (old.spec.replicas if old is not None else 0):
            return
        kept = self._rollouts.get(controller_uid(new))
        if kept is not None:
            kept.grown_at = self._now()

    def _deployment_of(self, pod: core.Pod | None) -> apps.Deployment | None:
        if pod is None:
            return None
        owner = self._state.by_uid(controller_uid(pod))
        if owner is None or not isinstance(owner, REPLICA_SET.message):
            return None
        above = self._state.by_uid(controller_uid(owner))
        return above if isinstance(above, DEPLOYMENT.message) else None

    def _pods(self, deployment: apps.Deployment) -> list[core.Pod]:
        return [
            pod
            for found in self._state.owned(REPLICA_SET, deployment.metadata.uid)
            for pod in self._state.owned(POD, found.metadata.uid)
        ]

    def _is_available(self, pod: core.Pod, deployment: apps.Deployment, doubt_ns: int = 0) -> bool:
        since = ready_since_ns(pod)
        if since is None or not is_active(pod):
            return False
        wall_ns = WALL_START_NS + round(self._time() * NS)
        owner = self._state.by_uid(controller_uid(pod))
        own_seconds = owner.spec.minReadySeconds if owner is not None else 0
        # A set that was just adopted, or whose Deployment was just changed, still says what it was told before.
        return wall_ns - since >= max(deployment.spec.minReadySeconds, own_seconds) * NS - doubt_ns

    def _pod(self, old: core.Pod | None, new: core.Pod | None) -> None:
        deployment = self._deployment_of(new if new is not None else old)
        if deployment is None:
            return
        kept = self._rollouts[deployment.metadata.uid]
        was = old is not None and self._is_available(old, deployment)
        still = new is not None and self._is_available(new, deployment)
        # Whoever counted them had another clock than who said that they were ready.
        pods = self._pods(deployment)
        count = sum(self._is_available(pod, deployment, self._doubt_ns) for pod in pods)
        if was and not still:
            assert old is not None
            taken = new is None or is_deleting(new)
            if taken and not self._is_excused(old, deployment):
                self._check_taken(deployment, kept, old, count)
            else:
                kept.lost.append(self._now())
        if old is None and new is not None:
            self._check_made(deployment, kept, new)
        kept.available.append((self._now(), count))

    def _is_excused(self, pod: core.Pod, deployment: apps.Deployment) -> bool:
        """Whether somebody else than the rollout had a reason to take the pod."""
        if pod.metadata.uid in self.user_deleted or is_deleting(deployment):
            return True
        owner = self._state.by_uid(controller_uid(pod))
        if owner is None or is_deleting(owner):
            return True
        namespace = self._state.get(NAMESPACE, "", pod.metadata.namespace)
        if namespace is None or is_deleting(namespace):
            return True
        node = self._state.get(NODE, "", pod.spec.nodeName)
        return node is None or any(t.effect == "NoExecute" for t in node.spec.taints)

    def meddle(self, owner: str) -> None:
        """A user lays hands on what a Deployment keeps."""
        self.meddled[owner] = self._now()

    def _is_meddled(self, deployment: apps.Deployment) -> bool:
        return self._now() - self.meddled.get(deployment.metadata.uid, -1e9) < MEDDLED_SECONDS

    def _check_taken(self, deployment: apps.Deployment, kept: _Rollout, pod: core.Pod, count: int) -> None:
        now, since = self._now(), self._now() - self._lag
        needed = min(_since(kept.needed, since))
        known = min(_since(kept.available, since), default=0)
        while kept.lost and kept.lost[0] < since:
            kept.lost.popleft()
        if _uses_recreate(kept, since) or self._is_meddled(deployment) or kept.scaled_at >= since:
            return
        if count + len(kept.lost) < min(needed, known):
            raise Violation(
                f"{title(pod)} was available and was taken at {now:.3f}: {count} available pods of "
                f"{title(deployment)} are left, {needed} are needed ({len(kept.lost)} lost otherwise)"
            )

    def _check_made(self, deployment: apps.Deployment, kept: _Rollout, pod: core.Pod) -> None:
        now, since = self._now(), self._now() - self._lag
        allowed = max(_since(kept.allowed, since))
        pods = self._pods(deployment)
        active = [p for p in pods if is_active(p)]
        if self._is_meddled(deployment) or "paused" in _since(kept.strategies, since):
            return
        if kept.scaled_at >= since or kept.grown_at < kept.scaled_at:
            # A set may replace a pod of its own before its siblings have shrunk, and for as long as they may not
            # because nothing new is available yet.
            return
        if len(active) > allowed:
            raise Violation(
                f"{title(pod)} was made at {now:.3f}: {title(deployment)} has {len(active)} active pods, "
                f"{allowed} are allowed"
            )
        owner = self._state.by_uid(controller_uid(pod))
        if set(_since(kept.strategies, since)) == {"Recreate"} and is_current(owner, deployment):
            limit_ns = WALL_START_NS + round((self._time() - self._lag) * NS)
            for other in pods:
                made_ns = other.metadata.creationTimestamp.seconds * NS
                if (
                    controller_uid(other) != controller_uid(pod)
                    and not is_finished(other)
                    and made_ns < limit_ns
                ):
                    raise Violation(
                        f"{title(pod)} was made while {title(other)} of another revision was there"
                    )


def _sizing(deployment: apps.Deployment) -> tuple[int, bool, bytes]:
    spec = deployment.spec
    return spec.replicas, spec.paused, spec.strategy.SerializeToString(deterministic=True)


def _uses_recreate(kept: _Rollout, since: float) -> bool:
    return "Recreate" in _since(kept.strategies, since)


def _since(history: deque[tuple[float, Any]], since: float) -> list[Any]:
    """The values that were in force at some time since then."""
    while len(history) > 1 and history[1][0] <= since:
        history.popleft()
    return [value for _, value in history]


def is_current(found: apps.ReplicaSet, deployment: apps.Deployment) -> bool:
    """Whether the set has the Deployment's own template."""
    template = core.PodTemplateSpec()
    template.CopyFrom(found.spec.template)
    template.metadata.labels.pop("pod-template-hash", None)
    return bool(template == deployment.spec.template)


def bounds(deployment: apps.Deployment) -> tuple[int, int]:
    """maxSurge and maxUnavailable as numbers."""
    if deployment.spec.strategy.type == "Recreate":
        return 0, deployment.spec.replicas
    rolling, replicas = deployment.spec.strategy.rollingUpdate, deployment.spec.replicas
    surge = intstr.resolve(rolling.maxSurge, replicas, True)
    unavailable = intstr.resolve(rolling.maxUnavailable, replicas, False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)
