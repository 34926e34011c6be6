"""A pod's state as text, kept by the spawner, from which a restarted agent goes on. Pure.

The spawner lives as long as the containers do, so what it holds is as fresh as it has to be, and an SD card
is not written for it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from agents.environment import HostPort
from agents.pod_plans import BackoffPlan, plan_of
from agents.pod_state import ContainerState, Phase, Stage
from agents.pod_words import Termination
from agents.pods import PodMachine
from orchestra.objects.times import ns_of
from orchestra.pb import core

_VERSION = 1
UNKNOWN = "The container could not be located when the node's runtime was started again"


def dump(machine: PodMachine, pod: core.Pod, ports: Mapping[str, Sequence[HostPort]]) -> str:
    """The checkpoint."""
    return json.dumps({
        "version": _VERSION,
        "pod": base64.b64encode(pod.SerializeToString()).decode(),
        "stage": machine.stage.value,
        "begun_ns": machine.begun_ns,
        "failed": machine.failed,
        "ports": {
            name: [[p.name, p.container_port, p.host_port, p.protocol] for p in found]
            for name, found in ports.items()
        },
        "containers": {c.plan.name: _dump_container(c) for c in machine.containers},
    })  # fmt: skip


def _dump_container(c: ContainerState) -> dict[str, Any]:
    return {
        "phase": c.phase.value,
        "run": c.run,
        "started_ns": c.started_ns,
        "backoff_ns": c.backoff_ns,
        "ready": c.ready,
        "started_up": c.started_up,
        "message": c.message,
        "config_refused": c.config_refused,
        "current": _dump_termination(c.current),
        "last": _dump_termination(c.last),
    }


def _dump_termination(t: Termination | None) -> list[Any] | None:
    if t is None:
        return None
    return [t.code, t.signal, t.reason, t.message, t.started_ns, t.finished_ns, t.run]


def load(
    text: str, backoff: BackoffPlan, runs: Mapping[str, int]
) -> tuple[PodMachine, core.Pod, dict[str, list[HostPort]]]:
    """The machine, its pod and its ports.

    runs: the newest run that the runtime knows of each container: it may be newer than the checkpoint, when
    the agent died between starting and writing it down.
    Raises: ValueError, KeyError, TypeError for text that is no checkpoint of this version.
    """
    data = json.loads(text)
    if data["version"] != _VERSION:
        raise ValueError(f"checkpoint version {data['version']} is not {_VERSION}")
    pod = core.Pod()
    try:
        pod.ParseFromString(base64.b64decode(data["pod"]))
    except DecodeError as error:
        raise ValueError(f"the pod in the checkpoint cannot be read: {error}") from error
    machine = PodMachine(plan_of(pod, backoff))
    machine.begun_ns = data["begun_ns"]
    machine.failed = tuple(data["failed"]) if data["failed"] else None
    stage = Stage(data["stage"])
    # Stopping begins anew when the master asks for it again.
    machine.stage = stage if stage in (Stage.OPENING, Stage.CLOSED) else Stage.RUNNING
    for c in machine.containers:
        _load_container(c, data["containers"][c.plan.name], runs.get(c.plan.name, 0))
    ports = {name: [HostPort(*entry) for entry in found] for name, found in data["ports"].items()}
    return machine, pod, ports


def _load_container(c: ContainerState, data: dict[str, Any], newest_run: int) -> None:
    c.phase = Phase(data["phase"])
    c.run = data["run"]
    c.started_ns = data["started_ns"]
    c.backoff_ns = data["backoff_ns"]
    c.ready = data["ready"]
    c.started_up = data["started_up"]
    c.message = data["message"]
    c.config_refused = data["config_refused"]
    c.current = Termination(*data["current"]) if data["current"] else None
    c.last = Termination(*data["last"]) if data["last"] else None
    if newest_run > c.run or (newest_run == c.run and c.phase is Phase.STARTING):
        if c.current is not None:
            c.last, c.current = c.current, None
        c.run = newest_run
        c.phase = Phase.RUNNING
        c.started_up = c.ready = False
    elif c.phase in (Phase.HOOKED, Phase.STOPPING):
        c.phase = Phase.RUNNING


def from_status(pod: core.Pod, backoff: BackoffPlan, now_ns: int) -> PodMachine | None:
    """A machine for a pod that ran before and of which no process is left here; None for a new pod.

    Of one that had ended, everything is known. The containers of one that ran count as killed: those that
    may be restarted go on counting from the status, those that may not have ended.
    """
    everyone = (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    seen = {status.name: status for status in everyone if status.containerID}
    over = pod.status.phase in ("Succeeded", "Failed")
    if not seen and not over:
        return None
    machine = PodMachine(plan_of(pod, backoff))
    machine.begun_ns = now_ns
    if over:
        machine.stage = Stage.CLOSED
        machine.failed = (pod.status.reason, pod.status.message) if pod.status.reason else None
    for c in machine.containers if over else machine.mains:
        if over or c.plan.policy == "Never":
            c.phase = Phase.DONE if c.plan.name in seen or over else c.phase
        if c.plan.name not in seen:
            continue
        status = seen[c.plan.name]
        c.run = status.restartCount + 1
        c.started_ns = now_ns
        c.current = Termination(137, 9, "ContainerStatusUnknown", UNKNOWN, now_ns, now_ns, c.run)
        if over and status.state.HasField("terminated"):
            c.current = _read_termination(status.state.terminated, c.run)
    return machine


def _read_termination(said: core.ContainerStateTerminated, run: int) -> Termination:
    started, finished = ns_of(said.startedAt), ns_of(said.finishedAt)
    return Termination(said.exitCode, said.signal, said.reason, said.message, started, finished, run)
