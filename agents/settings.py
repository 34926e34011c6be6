"""What an agent is told at its start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.ports import PORT_RANGE_DEFAULT


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent.

    masters: HOST:PORT, tried in turn for ever.
    address: where this node's pods and node ports answer; "": this machine's on the way to the master.
    capacity: overrides of what is measured (`{"cpu": "4", "memory": "8Gi", "pods": "110"}`).
    runtime: `auto` tries namespaces and falls back to host.
    port_range: where undeclared host ports come from; outside the kernel's ephemeral range.
    stop_pods_on_exit: SIGTERM and SIGINT stop every pod before the agent ends; otherwise pods go on running
    and the next agent of this data directory takes them over.
    exit_grace_seconds: what each pod is given then at most.
    linger_seconds: containers whose agent died are stopped when none has come back for so long; negative:
    never; None: 15 s with stop_pods_on_exit, else never.
    working_directory: of containers that name none; "": a private directory of the pod.
    backoff_*: crash-loop back-off, Kubernetes' numbers.
    log_bytes_max, log_files_max: of each container's run; five files of 10 MiB.
    """

    name: str
    masters: Sequence[str]
    data_dir: Path
    address: str = "127.0.0.1"
    capacity: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "auto"
    token: str = ""
    port_range: tuple[int, int] = PORT_RANGE_DEFAULT
    stop_pods_on_exit: bool = False
    exit_grace_seconds: float = 3.0
    linger_seconds: float | None = None
    working_directory: str = ""
    backoff_initial_ms: int = 10_000
    backoff_max_ms: int = 300_000
    backoff_reset_ms: int = 600_000
    log_bytes_max: int = 10 << 20
    log_files_max: int = 5
