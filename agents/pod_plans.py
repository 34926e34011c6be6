"""A Pod's spec, read into the plan that its state machine works by. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agents.pod_words import NS, ContainerPlan, PodPlan, Probe, ProbePlan
from orchestra.pb import core


@dataclass(frozen=True, slots=True)
class BackoffPlan:
    """Crash-loop back-off: Kubernetes' numbers."""

    initial_ns: int = 10 * NS
    max_ns: int = 300 * NS
    reset_ns: int = 600 * NS


def _probe(probe: core.Probe) -> ProbePlan:
    has_grace = probe.HasField("terminationGracePeriodSeconds")
    return ProbePlan(
        max(1, probe.successThreshold),
        probe.failureThreshold if probe.HasField("failureThreshold") else 3,
        probe.terminationGracePeriodSeconds * NS if has_grace else None,
    )


_SIGNALS: Mapping[str, int] = MappingProxyType({
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGKILL": 9, "SIGUSR1": 10, "SIGUSR2": 12, "SIGTERM": 15,
    "SIGWINCH": 28,
})  # fmt: skip


def _container(container: core.Container, policy: str, *, init: bool) -> ContainerPlan:
    probes = {
        kind: _probe(getattr(container, f"{kind.value}Probe"))
        for kind in Probe
        if container.HasField(f"{kind.value}Probe")  # type: ignore[arg-type]
    }
    sidecar = init and container.restartPolicy == "Always"
    return ContainerPlan(
        container.name,
        "Always" if sidecar else (container.restartPolicy or policy),
        init=init,
        sidecar=sidecar,
        probes=probes if sidecar or not init else {},
        post_start=container.lifecycle.HasField("postStart"),
        pre_stop=container.lifecycle.HasField("preStop"),
        stop_signal=_SIGNALS.get(container.lifecycle.stopSignal, 15),
    )


def plan_of(pod: core.Pod, backoff: BackoffPlan) -> PodPlan:
    """The machine's plan for a pod."""
    spec = pod.spec
    policy = spec.restartPolicy or "Always"
    has_grace = spec.HasField("terminationGracePeriodSeconds")
    return PodPlan(
        f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})",
        tuple(_container(c, policy, init=False) for c in spec.containers),
        tuple(_container(c, policy, init=True) for c in spec.initContainers),
        grace_ns=spec.terminationGracePeriodSeconds * NS if has_grace else 30 * NS,
        deadline_ns=spec.activeDeadlineSeconds * NS,
        backoff_initial_ns=backoff.initial_ns,
        backoff_max_ns=backoff.max_ns,
        backoff_reset_ns=backoff.reset_ns,
    )
