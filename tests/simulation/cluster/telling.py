"""What a trace says: objects in few words, and what the house itself says."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestra.base.errors import OrchestraError
from tests.simulation.cluster.state import Violation

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

INJECTED = "injected by the simulation"


def describe(obj: Any | None) -> str:
    """The few words about an object that a reader of the trace wants."""
    if obj is None:
        return ""
    words = []
    if obj.metadata.HasField("deletionTimestamp"):
        words.append("deleting")
    spec, status = getattr(obj, "spec", None), getattr(obj, "status", None)
    if spec is not None and hasattr(spec, "nodeName"):
        condition = next((c for c in status.conditions if c.type == "Ready"), None)
        words += [spec.nodeName or "unbound", status.phase]
        if condition is not None:
            words.append("ready" if condition.status == "True" else f"unready ({condition.reason})")
    elif status is not None and hasattr(status, "readyReplicas"):
        words.append(f"wants {spec.replicas} has {status.replicas} ready {status.readyReplicas}")
        words.append(
            f"available {status.availableReplicas} gen {obj.metadata.generation}/{status.observedGeneration}"
        )
    elif spec is not None and hasattr(spec, "taints"):
        ready_ = next((c.status for c in status.conditions if c.type == "Ready"), "?")
        words += [f"ready={ready_}", *(t.key.rpartition("/")[2] + ":" + t.effect for t in spec.taints)]
    elif hasattr(obj, "endpoints"):
        words += [f"{e.targetRef.name}={'ready' if e.conditions.ready else 'unready'}" for e in obj.endpoints]
    elif hasattr(obj, "reason"):
        words += [obj.reason, obj.message[:100]]
    return " " + " ".join(words) if words else ""


class _Listener(logging.Handler):
    """Puts what the house says into the trace; a defect fails the run."""

    def __init__(self, world: "World") -> None:
        super().__init__(logging.INFO)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        values = getattr(record, "values", None) or {}
        cause = record.exc_info[1] if record.exc_info else None
        said = " ".join(f"{key}={value}" for key, value in values.items())
        name = record.name.removeprefix("orchestra.")
        at = self._process()
        self._world.trace.say(f"[{record.levelname[0]} {at}{name}] {record.getMessage()} {said}")
        if record.levelno >= logging.ERROR and not _is_expected(cause, said):
            error = Violation(f"{at}{name} said an error: {record.getMessage()} {said}: {cause!r}")
            error.__cause__ = cause
            self._world.fail(error)

    def _process(self) -> str:
        loop = asyncio.get_running_loop()
        return next((f"{each.name} " for each in self._world.timeline.processes if each.loop is loop), "")


def _is_expected(cause: BaseException | None, said: str) -> bool:
    """Whether an error is what was injected, or what comes of a disk or a group that was lost."""
    if isinstance(cause, BaseExceptionGroup):
        return all(_is_expected(inner, said) for inner in cause.exceptions)
    return cause is None or INJECTED in f"{said} {cause}" or isinstance(cause, OrchestraError)


@contextmanager
def listening(world: "World") -> Iterator[None]:
    """While it lasts, what is logged is in the world's trace."""
    root = logging.getLogger()
    handlers, level, listener = root.handlers[:], root.level, _Listener(world)
    root.handlers[:] = [listener]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
