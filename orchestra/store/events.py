"""Events: what happened to objects, told to people. Never in the way of what it tells of.

Recording is a call that cannot fail, block or grow without bound; writing is one task that batches. What is
told again within the window is counted up in the Event that is there. The shape and the bounds are
client-go's (tools/record/events_cache.go).
"""

import asyncio
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestra.aio.backoff import Backoff
from orchestra.base.clock import NS_PER_SECOND
from orchestra.base.errors import ApiError, DeadlineExceeded, Forbidden, NotFound, Unavailable
from orchestra.base.log import get_logger
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.objects.lifecycle import NAMESPACE_DEFAULT
from orchestra.objects.times import time_from_ns
from orchestra.pb import core
from orchestra.store.objects import ObjectStore

log = get_logger("store.events")

EventType = Literal["Normal", "Warning"]

WINDOW_SECONDS = 600
QUEUE_BOUND = 1000
KNOWN_BOUND = 4096
BATCH = 100
MESSAGE_LENGTH_MAX = 1024
# Spam: an object may have so many events at once, and one more each so many seconds.
BURST = 25
REFILL_SECONDS = 300
RETRY_INITIAL_MS = 100
RETRY_LIMIT_MS = 5_000
WRITE_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Identity:
    """What makes two happenings the same Event."""

    uid: str
    place: str
    component: str
    host: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Told:
    """One Event as it was last handed on for writing."""

    event: core.Event
    last_ns: int


@dataclass(slots=True)
class _Bucket:
    """How many more events an object may have now."""

    tokens: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """Counts since the start. dropped: the queue was full; spared: the object had too many; failed: the store
    refused them.
    """

    written: int = 0
    dropped: int = 0
    spared: int = 0
    failed: int = 0
    queued: int = 0


class Recorder(Protocol):
    """Tells people what was done to an object, under one component's name."""

    def record(self, obj: ApiObject, type: EventType, reason: str, message: str, *, host: str = "") -> None:
        """Neither blocks nor raises."""
        ...


class EventRecorder:
    """Records Events for one component. Give `run` to a supervisor.

    Bound: QUEUE_BOUND events wait (the oldest go first), KNOWN_BOUND are remembered for counting up.
    """

    def __init__(
        self, objects: ObjectStore, component: str, host: str = "", *, rng: random.Random | None = None
    ) -> None:
        self._objects = objects
        self._component = component
        self._host = host
        self._rng = rng or objects.rng
        self._known: OrderedDict[_Identity, _Told] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        # By namespace and name, so that counting up something that waits is one write.
        self._queue: OrderedDict[tuple[str, str], core.Event] = OrderedDict()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._counts: Counter[str] = Counter()

    def status(self) -> RecorderStatus:
        """Counts since the start."""
        return RecorderStatus(**self._counts, queued=len(self._queue))

    def of(self, component: str) -> "ComponentRecorder":
        """A recorder for another component, which this one writes for and counts with."""
        return ComponentRecorder(self, component)

    def record(
        self,
        obj: ApiObject,
        type: EventType,
        reason: str,
        message: str,
        *,
        host: str = "",
        component: str = "",
    ) -> None:
        """Tells that something happened to an object. Never blocks, never raises.

        host, component: where it happened and who tells, if not the recorder's own.
        """
        try:
            said = message[:MESSAGE_LENGTH_MAX]
            self._record(obj, type, reason, said, component or self._component, host or self._host)
        except Exception as error:  # noqa: BLE001 - an event must not fail what it tells of
            self._counts["failed"] += 1
            log.error("an event could not be recorded", error, reason=reason)

    def _record(
        self, obj: ApiObject, type_: str, reason: str, message: str, component: str, host: str
    ) -> None:
        clock = self._objects.clock
        now_ns, wall_ns = clock.monotonic_ns(), clock.wall_ns()
        metadata = obj.metadata
        place = f"{kind_of(obj).plural}/{metadata.namespace}/{metadata.name}"
        if not self._allowed(metadata.uid or place, now_ns):
            self._counts["spared"] += 1
            return
        identity = _Identity(metadata.uid, place, component, host, type_, reason, message)
        told = self._known.get(identity)
        if told is not None and now_ns - told.last_ns < WINDOW_SECONDS * NS_PER_SECOND:
            event = core.Event()
            event.CopyFrom(told.event)
            event.count += 1
            event.lastTimestamp.CopyFrom(time_from_ns(wall_ns))
        else:
            event = self._new_event(obj, identity, wall_ns)
        self._known[identity] = _Told(event, now_ns)
        self._known.move_to_end(identity)
        if len(self._known) > KNOWN_BOUND:
            self._known.popitem(last=False)
        self._enqueue(event)

    def _new_event(self, obj: ApiObject, identity: _Identity, wall_ns: int) -> core.Event:
        kind, metadata = kind_of(obj), obj.metadata
        namespace = metadata.namespace or NAMESPACE_DEFAULT
        now = time_from_ns(wall_ns)
        event = core.Event(
            reason=identity.reason,
            message=identity.message,
            type=identity.type,
            count=1,
            firstTimestamp=now,
            lastTimestamp=now,
            reportingComponent=identity.component,
            reportingInstance=identity.host,
        )
        event.source.component = identity.component
        if identity.host:
            event.source.host = identity.host
        name = f"{metadata.name[:230]}.{self._rng.getrandbits(64):016x}"
        event.metadata.name, event.metadata.namespace = name, namespace
        event.metadata.uid = self._objects.new_uid()
        event.metadata.creationTimestamp.CopyFrom(now)
        involved = event.involvedObject
        involved.kind, involved.apiVersion = kind.kind, kind.api_version
        involved.name, involved.uid = metadata.name, metadata.uid
        if metadata.namespace:
            involved.namespace = metadata.namespace
        if metadata.resourceVersion:
            involved.resourceVersion = metadata.resourceVersion
        return event

    def _allowed(self, subject: str, now_ns: int) -> bool:
        """Takes one token of the object's bucket, if there is one."""
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._buckets[subject] = _Bucket(BURST, now_ns)
            if len(self._buckets) > KNOWN_BOUND:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(subject)
            since = (now_ns - bucket.at_ns) / NS_PER_SECOND / REFILL_SECONDS
            bucket.tokens = min(BURST, bucket.tokens + since)
            bucket.at_ns = now_ns
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _enqueue(self, event: core.Event) -> None:
        key = (event.metadata.namespace, event.metadata.name)
        self._queue[key] = event
        if len(self._queue) > QUEUE_BOUND:
            self._queue.popitem(last=False)
            self._counts["dropped"] += 1
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when everything recorded so far has been written or given up (run() must be under way)."""
        await self._idle.wait()

    async def run(self) -> None:
        """Writes what is recorded, in batches, until cancelled. Sleeps while there is nothing."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._write_some()
            self._idle.set()

    async def _write_some(self) -> None:
        namespace = next(iter(self._queue))[0]
        keys = [key for key in self._queue if key[0] == namespace][:BATCH]
        batch = [self._queue.pop(key) for key in keys]
        backoff = Backoff(RETRY_INITIAL_MS, RETRY_LIMIT_MS, rng=self._rng)
        for _ in range(WRITE_TRIES):
            try:
                await self._objects.put_events(namespace, batch)
            except (Unavailable, DeadlineExceeded) as error:
                log.debug("events wait for the store", why=error, events=len(batch))
                await asyncio.sleep(backoff.next_ms() / 1000)
            except (NotFound, Forbidden) as error:
                log.debug("events of a namespace that is gone", namespace=namespace, why=error)
                self._counts["failed"] += len(batch)
                return
            except ApiError as error:
                log.warning("events were refused", error, namespace=namespace, events=len(batch))
                self._counts["failed"] += len(batch)
                return
            else:
                self._counts["written"] += len(batch)
                return
        log.warning("events were given up: the store does not answer", events=len(batch))
        self._counts["failed"] += len(batch)


class ComponentRecorder:
    """Records under one component's name through a shared EventRecorder."""

    __slots__ = ("_component", "_recorder")

    def __init__(self, recorder: EventRecorder, component: str) -> None:
        self._recorder = recorder
        self._component = component

    def record(self, obj: ApiObject, type: EventType, reason: str, message: str, *, host: str = "") -> None:
        """Tells that something happened to an object. Never blocks, never raises."""
        self._recorder.record(obj, type, reason, message, host=host, component=self._component)
