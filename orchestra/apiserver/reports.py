"""Agents' reports, written to the API: pod statuses, pods that have fully stopped, events."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from orchestra.aio.backoff import Backoff
from orchestra.base.errors import (
    ApiError,
    Conflict,
    DeadlineExceeded,
    InternalError,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
)
from orchestra.base.log import get_logger
from orchestra.objects.kinds import NODE, POD, ApiObject, kind_for
from orchestra.objects.times import time_from_ns
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import core, meta
from orchestra.store.events import Recorder
from orchestra.store.informer import Informer
from orchestra.store.objects import ObjectStore

log = get_logger("agents")

# Status writes under way for all agents together: a restart of everything must not starve the API.
WRITES_AT_ONCE: Final = 256
PENDING_MAX: Final = 20_000
EVENTS_MAX: Final = 200
_TERMINAL: Final = ("Succeeded", "Failed")
_RETRIED: Final = (Unavailable, DeadlineExceeded, TooManyRequests, InternalError)
# What others (the API, the scheduler) say in a pod's status, kept when the agent says nothing of it.
_KEPT: Final = ("qosClass", "nominatedNodeName", "startTime")


class StatusWriter:
    """Writes one agent's pod reports: the newest of each pod, all pods at once, one pod's in order.

    A report the store cannot take now is kept and tried again; any other failure concerns that pod alone.
    Bound: PENDING_MAX pods.
    """

    def __init__(self, objects: ObjectStore, pods: Informer, node: str, writes: asyncio.Semaphore) -> None:
        self._objects = objects
        self._pods = pods
        self._node = node
        self._writes = writes
        self._pending: dict[str, agent.PodReport] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._begun = asyncio.Event()
        self.finished: set[str] = set()

    def take(self, reports: Iterable[agent.PodReport]) -> None:
        """Takes reports for writing; a newer one of a pod replaces an older that waits."""
        for report in reports:
            if report.uid in self._pending or len(self._pending) < PENDING_MAX:
                self._pending[report.uid] = report
            else:
                log.warning("too many reports, one is lost", node=self._node, pod=report.name)
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when everything taken so far is written (run() must be under way)."""
        await self._idle.wait()

    def begin(self) -> None:
        """Lets run() write. Not before the node counts as alive: until then the node controller takes
        readiness away again, and its word would be the last."""
        self._begun.set()

    async def run(self) -> None:
        """Writes until cancelled, from begin() on."""
        await self._begun.wait()
        backoff = Backoff(50, 2000, rng=self._objects.rng)
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._pending = self._pending, {}
            writes = [self._bounded(report) for report in batch.values()]
            # Mostly it is one, which needs no task of its own.
            again = [await writes[0]] if len(writes) == 1 else await asyncio.gather(*writes)
            kept = [report for report in again if report is not None]
            if not kept:
                backoff.reset()
                if not self._pending:
                    self._idle.set()
                continue
            for report in kept:
                self._pending.setdefault(report.uid, report)
            await asyncio.sleep(backoff.next_ms() / 1000)
            self._wake.set()

    async def _bounded(self, report: agent.PodReport) -> agent.PodReport | None:
        """The report itself if it has to be tried again."""
        async with self._writes:
            try:
                await self._write(report)
            except (NotFound, Conflict, PreconditionFailed):
                # Gone, or another of the same name: the orders tell the agent.
                self.finished.discard(report.uid)
                return None
            except _RETRIED as error:
                log.debug("a status has to wait", node=self._node, pod=report.name, why=error)
                return report
            except ApiError as error:
                log.warning("a status was refused", node=self._node, pod=report.name, why=str(error))
            except Exception as error:  # noqa: BLE001 - one bad report never breaks the others
                log.error("a status could not be written", error, node=self._node, pod=report.name)
        return None

    async def _write(self, report: agent.PodReport) -> None:
        known = self._pods.get(report.namespace, report.name)
        if report.finished:
            self.finished.add(report.uid)
        if report.finished and known is not None and self._is_own_stopping(known, report.uid):
            if known.metadata.finalizers:
                await self._write_status(report)
            await self.remove(report.namespace, report.name, report.uid)
        else:
            await self._write_status(report)

    def _is_own_stopping(self, pod: ApiObject, uid: str) -> bool:
        metadata = pod.metadata
        own = metadata.uid == uid and pod.spec.nodeName == self._node
        return bool(own and metadata.HasField("deletionTimestamp"))

    async def _write_status(self, report: agent.PodReport) -> None:
        now = time_from_ns(self._objects.clock.wall_ns())
        await self._objects.mutate(
            POD,
            report.namespace,
            report.name,
            lambda pod: merge_status(pod, report.status, self._node, now),
            subresource="status",
            uid=report.uid,
        )

    async def remove(self, namespace: str, name: str, uid: str) -> None:
        """Takes a pod that has fully stopped out of the API."""
        options = meta.DeleteOptions(gracePeriodSeconds=0, preconditions=meta.Preconditions(uid=uid))
        await self._objects.delete(POD, namespace, name, options)
        self.finished.discard(uid)


def merge_status(pod: ApiObject, said: core.PodStatus, node: str, now: meta.Time) -> bool:
    """Brings an agent's report into a pod's status. Whether anything changed.

    Only of a pod on that node; a pod that has ended stays ended; what others wrote of it is kept.
    """
    if pod.spec.nodeName != node:
        return False
    old = pod.status
    if old.phase in _TERMINAL and said.phase != old.phase:
        return False
    new = core.PodStatus()
    new.CopyFrom(said)
    for field in _KEPT:
        if not new.HasField(field) and old.HasField(field):
            value = getattr(old, field)
            if field == "startTime":
                new.startTime.CopyFrom(value)
            else:
                setattr(new, field, value)
    del new.conditions[:]
    new.conditions.extend(_conditions(list(old.conditions), list(said.conditions), now))
    if new == old:
        return False
    old.CopyFrom(new)
    return True


def _conditions(
    old: list[core.PodCondition], said: list[core.PodCondition], now: meta.Time
) -> list[core.PodCondition]:
    """The agent's conditions in place of the old of the same type; a time moves only with its status."""
    wanted = {condition.type: condition for condition in said}
    known = {condition.type: condition for condition in old}
    merged = [wanted.get(kind, condition) for kind, condition in known.items()]
    merged += [condition for kind, condition in wanted.items() if kind not in known]
    result = []
    for condition in merged:
        before = known.get(condition.type)
        made = core.PodCondition()
        made.CopyFrom(condition)
        if before is not None and before.status == condition.status and before.HasField("lastTransitionTime"):
            made.lastTransitionTime.CopyFrom(before.lastTransitionTime)
        elif not made.HasField("lastTransitionTime") or (
            before is not None and made.lastTransitionTime.seconds < before.lastTransitionTime.seconds
        ):
            made.lastTransitionTime.CopyFrom(now)
        result.append(made)
    return result


def record_events(
    recorder: Recorder, node: str, report: agent.EventReport, is_own: Callable[[str, str], bool]
) -> None:
    """Records what an agent tells of its own pods and its own node; anything else is not its to tell."""
    for event in report.events[:EVENTS_MAX]:
        involved = event.involvedObject
        kind = kind_for(involved.apiVersion or "v1", involved.kind)
        if kind is POD and is_own(involved.namespace, involved.name):
            about: ApiObject = core.Pod()
            about.metadata.namespace = involved.namespace
        elif kind is NODE and involved.name == node:
            about = core.Node()
        else:
            log.debug("an event about something else", node=node, kind=involved.kind, name=involved.name)
            continue
        about.metadata.name, about.metadata.uid = involved.name, involved.uid
        warning = event.type == "Warning"
        recorder.record(about, "Warning" if warning else "Normal", event.reason, event.message, host=node)
    if len(report.events) > EVENTS_MAX:
        log.warning("too many events in one report", node=node, lost=len(report.events) - EVENTS_MAX)
