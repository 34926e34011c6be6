"""The Runtime contract: what the pod's worker asks of a machine, whatever stands behind it.

A container is named `<pod uid>/<name>/<run>`: each run of a container is a thing of its own, so that a late
message about one run can never be taken for the next.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestra.base.errors import OrchestraError


class RuntimeFailure(OrchestraError):
    """The runtime could not do what was asked; str() says what and why. errno is 0 where there is none."""

    def __init__(self, message: str, errno: int = 0, stage: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.stage = stage


class RuntimeLost(RuntimeFailure):
    """The spawner is gone, and every container with it."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's shared part. memory_volumes: (directory, bytes or 0). checkpoint: given back by recover."""

    pod: str
    hostname: str
    share_pids: bool = False
    memory_volumes: tuple[tuple[str, int], ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """volume: the volume's root directory; source lies in it (subPath)."""

    source: str
    target: str
    read_only: bool
    volume: str


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One run of one container. scratch: an empty directory that the runtime may mount on."""

    container: str
    pod: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str
    log_path: str
    mounts: tuple[VolumeMount, ...] = ()
    scratch: str = ""
    log_bytes_max: int = 10 << 20
    log_files_max: int = 5


@dataclass(frozen=True, slots=True)
class Launch:
    """A container that runs."""

    pid: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A container's end, its whole tree being gone. signal is 0 unless one ended it, and code 128 + it."""

    container: str
    pod: str
    code: int
    signal: int
    started_ns: int
    exited_ns: int


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command inside a container ended. output: both streams, the first 10 KiB."""

    code: int
    output: str
    timed_out: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Measured now, over the container's tree."""

    cpu_millis_total: int
    memory_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was there before this agent: sandboxes and checkpoints, running containers, unread exits."""

    sandboxes: Mapping[str, str]
    running: Mapping[str, Launch]
    exits: tuple[Exit, ...]


class Runtime(Protocol):
    """Every method but exits raises RuntimeFailure, and has a deadline of its own."""

    @property
    def isolation(self) -> str:
        """`namespaces` or `host`."""
        ...

    async def open_sandbox(self, spec: SandboxSpec) -> None:
        """Makes what the pod's containers share. Again for the same pod: does nothing."""
        ...

    async def remember(self, pod: str, checkpoint: str) -> None:
        """Keeps a new checkpoint for recover."""
        ...

    async def start(self, spec: ContainerSpec) -> Launch:
        """Starts a container; returns once its program runs."""
        ...

    async def signal(self, container: str, number: int) -> None:
        """Signals the main process. One that has ended is no error."""
        ...

    async def kill(self, container: str) -> None:
        """SIGKILL to the whole tree; its exit follows on exits."""
        ...

    async def execute(self, container: str, argv: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a command inside a running container, and kills it when the time is over."""
        ...

    async def stats(self, pod: str) -> Mapping[str, Usage]:
        """Usage by container."""
        ...

    async def close_sandbox(self, pod: str) -> None:
        """Kills what still runs, and lets go of everything of the pod; returns when nothing is left."""
        ...

    async def recover(self) -> Recovered:
        """Takes over what an earlier agent left running."""
        ...

    def exits(self) -> AsyncIterator[Exit]:
        """Every container's end, each told once. Raises: RuntimeLost at the spawner's end."""
        ...
