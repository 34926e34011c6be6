"""Pods' events as the agent says them: the same thing again counts up instead of coming anew."""

import os
from collections import OrderedDict

from agents.pod_words import RecordEvent
from orchestra.base.clock import Clock
from orchestra.objects.times import time_from_ns
from orchestra.pb import core

_KEYS_MAX = 1024
_NAME_MAX = 230


class EventCounts:
    """The events of one agent. Bound: the newest 1,024 different ones are counted."""

    def __init__(self, node: str, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._known: OrderedDict[tuple[str, ...], core.Event] = OrderedDict()

    def said(self, pod: core.Pod, event: RecordEvent) -> core.Event:
        """The event to send."""
        key = (pod.metadata.uid, event.type, event.reason, event.message)
        now = time_from_ns(self._clock.wall_ns())
        known = self._known.get(key)
        if known is None:
            known = self._new(pod, event)
            known.firstTimestamp.CopyFrom(now)
            self._known[key] = known
            if len(self._known) > _KEYS_MAX:
                self._known.popitem(last=False)
        known.count += 1
        known.lastTimestamp.CopyFrom(now)
        said = core.Event()
        said.CopyFrom(known)
        return said

    def _new(self, pod: core.Pod, event: RecordEvent) -> core.Event:
        meta = pod.metadata
        found = core.Event(reason=event.reason, message=event.message, type=event.type, count=0)
        found.metadata.namespace = meta.namespace
        found.metadata.name = f"{meta.name[:_NAME_MAX]}.{os.urandom(8).hex()}"
        about = found.involvedObject
        about.kind, about.apiVersion = "Pod", "v1"
        about.namespace, about.name, about.uid = meta.namespace, meta.name, meta.uid
        if event.container:
            about.fieldPath = f"spec.containers{{{event.container}}}"
        found.source.component = found.reportingComponent = "orchestra-agent"
        found.source.host = found.reportingInstance = self._node
        return found
