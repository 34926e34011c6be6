"""Where a pod and its containers are. The machine in pods.py writes it; status and checkpoints read it."""

from enum import Enum

from agents.pod_words import NS, ContainerPlan, Probe, Termination


class Stage(Enum):
    """Where the pod is. CLOSED: nothing runs and nothing will; it is only still known."""

    OPENING = "opening"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    CLOSING = "closing"
    CLOSED = "closed"


class Phase(Enum):
    """Where one container is."""

    WAITING = "waiting"  # not its turn yet
    STARTING = "starting"
    RUNNING = "running"
    HOOKED = "hooked"  # its preStop hook runs
    STOPPING = "stopping"  # told to end
    BACKOFF = "backoff"  # will be started again
    DONE = "done"  # ended for good


class ContainerState:
    """What is known of one container. Only the machine writes it."""

    __slots__ = (
        "attempt_ns",
        "backoff_ns",
        "config_refused",
        "current",
        "last",
        "message",
        "phase",
        "plan",
        "ready",
        "results",
        "run",
        "started_ns",
        "started_up",
    )

    def __init__(self, plan: ContainerPlan) -> None:
        self.plan = plan
        self.phase = Phase.WAITING
        # The number of the newest run, from 1; restartCount is run - 1.
        self.run = 0
        self.started_ns = 0
        self.attempt_ns = 0
        self.backoff_ns = 0
        self.ready = False
        self.started_up = False
        self.message = ""
        # What the manifest says could not be made last time (message says what), so nothing ran.
        self.config_refused = False
        self.current: Termination | None = None
        self.last: Termination | None = None
        # probe -> (passed last time, how often in a row)
        self.results: dict[Probe, tuple[bool, int]] = {}

    @property
    def live(self) -> bool:
        """Whether a process of it exists or is being made."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.HOOKED, Phase.STOPPING)

    @property
    def restarts(self) -> int:
        """restartCount: how often it was started after the first time."""
        return max(0, self.run - 1)

    @property
    def passed(self) -> bool:
        """Of an init container: whether the next one may start."""
        if self.plan.sidecar:
            return self.started_up or (self.phase is Phase.DONE and self.run > 0)
        return self.phase is Phase.DONE and self.current is not None and self.current.code == 0


def duration(ns: int) -> str:
    """`10s`, `1m20s`, `500ms`: as Go writes a duration."""
    if ns < NS:
        return f"{ns // 1_000_000}ms"
    minutes, seconds = divmod(ns // NS, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
