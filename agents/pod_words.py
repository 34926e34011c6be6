"""The words of the pod state machine: what it is told, what it tells, and the plan it works from.

Pure data. Durations and times are nanoseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

NS = 1_000_000_000
# Why a container waits whose variables or volumes cannot be made as its manifest says.
CONFIG_ERROR = "CreateContainerConfigError"


class Probe(Enum):
    """What a probe's result decides."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class Timer(Enum):
    """What a timer is for. A newer one for the same container takes an older one's place."""

    BACKOFF = "backoff"
    GRACE = "grace"
    DRAIN = "drain"
    DEADLINE = "deadline"
    REOPEN = "reopen"


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: wall time is only shown, monotonic time decides."""

    wall_ns: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """The thresholds of one probe. grace_ns: the probe's own termination grace, None: the pod's."""

    success_threshold: int
    failure_threshold: int
    grace_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """What the machine has to know of a container. policy is the restart policy in force for it."""

    name: str
    policy: str
    init: bool = False
    sidecar: bool = False
    probes: Mapping[Probe, ProbePlan] = field(default_factory=dict)
    post_start: bool = False
    pre_stop: bool = False
    stop_signal: int = 15

    @property
    def init_only(self) -> bool:
        """Whether it has to end before the next one starts."""
        return self.init and not self.sidecar

    def restarts_after(self, code: int) -> bool:
        """What the restart policy says of a run that ended with `code`."""
        if self.policy == "Never":
            return False
        return code != 0 or (self.policy == "Always" and not self.init_only)


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What the machine has to know of a pod. title: `name_namespace(uid)`, as messages name it."""

    title: str
    mains: tuple[ContainerPlan, ...]
    inits: tuple[ContainerPlan, ...] = ()
    grace_ns: int = 30 * NS
    deadline_ns: int = 0
    backoff_initial_ns: int = 10 * NS
    backoff_max_ns: int = 300 * NS
    backoff_reset_ns: int = 600 * NS


@dataclass(frozen=True, slots=True)
class Termination:
    """How a run ended."""

    code: int
    signal: int
    reason: str
    message: str
    started_ns: int
    finished_ns: int
    run: int


# -- events --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SandboxOpened:
    """The pod's shared part is there."""


@dataclass(frozen=True, slots=True)
class SandboxFailed:
    """It could not be made."""

    message: str


@dataclass(frozen=True, slots=True)
class SandboxClosed:
    """Nothing is left of the pod's processes."""


@dataclass(frozen=True, slots=True)
class Started:
    """A container's program runs."""

    container: str
    run: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """It could not be started."""

    container: str
    run: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A container and its whole tree have ended."""

    container: str
    run: int
    code: int
    signal: int
    at_ns: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe was answered, or not."""

    container: str
    run: int
    probe: Probe
    passed: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class PostStartDone:
    """The postStart hook has run; message says how it failed."""

    container: str
    run: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class HookDone:
    """The preStop hook has run; message says how it failed."""

    container: str
    run: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """The pod is to go. undrained: nobody is there who could take it out of rotation first."""

    grace_ns: int
    undrained: bool = False


@dataclass(frozen=True, slots=True)
class DeadlineSet:
    """The pod may be active for so long, from its beginning."""

    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The pod cannot be run here at all."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer's time is over. Drained comes as Timer.DRAIN too."""

    timer: Timer
    container: str = ""
    run: int = 0


Event: TypeAlias = (
    SandboxOpened
    | SandboxFailed
    | SandboxClosed
    | Started
    | StartFailed
    | Exited
    | ProbeResult
    | PostStartDone
    | HookDone
    | Delete
    | DeadlineSet
    | Failed
    | TimerFired
)

# -- instructions --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSandbox:
    """Make the shared part; answer SandboxOpened or SandboxFailed."""


@dataclass(frozen=True, slots=True)
class CloseSandbox:
    """Let go of everything; answer SandboxClosed."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start this run; answer Started or StartFailed, later Exited."""

    container: str
    run: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal the main process."""

    container: str
    run: int
    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to the whole tree."""

    container: str
    run: int


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run preStop (answer HookDone) or postStart (answer PostStartDone)."""

    container: str
    run: int
    pre_stop: bool
    grace_ns: int


@dataclass(frozen=True, slots=True)
class StartProbes:
    """Begin probing: only the startup probe, or all the others once started up."""

    container: str
    run: int
    started_up: bool


@dataclass(frozen=True, slots=True)
class StopProbes:
    """Probe this run no more."""

    container: str
    run: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Answer TimerFired after a time."""

    timer: Timer
    container: str
    run: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class AwaitDrain:
    """The master's Drained is waited for."""


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Something a person may want to read."""

    type: str
    reason: str
    message: str
    container: str


@dataclass(frozen=True, slots=True)
class Report:
    """The status has changed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left, and the pod was to go."""


Instruction: TypeAlias = (
    OpenSandbox
    | CloseSandbox
    | Start
    | Signal
    | Kill
    | RunHook
    | StartProbes
    | StopProbes
    | SetTimer
    | AwaitDrain
    | RecordEvent
    | Report
    | Finished
)
