"""What is in the store, as somebody sees it who misses nothing: read off its watch, revision by revision."""

from collections.abc import Iterable
from typing import Any

from orchestra.mvcc.model import Event, EventType
from orchestra.objects.kinds import BY_PLURAL, KINDS, Kind
from orchestra.pb import core, meta

Key = tuple[str, str]


class Violation(AssertionError):
    """Something that must never be so was so."""


class State:
    """Every object, by kind and key."""

    def __init__(self) -> None:
        self.revision = 0
        self._objects: dict[Kind, dict[Key, Any]] = {kind: {} for kind in KINDS}
        self._uids: dict[str, Any] = {}

    def of(self, kind: Kind) -> list[Any]:
        """All objects of a kind."""
        return list(self._objects[kind].values())

    def get(self, kind: Kind, namespace: str, name: str) -> Any | None:
        return self._objects[kind].get((namespace, name))

    def by_uid(self, uid: str) -> Any | None:
        return self._uids.get(uid)

    def owned(self, kind: Kind, uid: str) -> list[Any]:
        """The objects that a uid controls."""
        return [o for o in self._objects[kind].values() if controller_uid(o) == uid]

    def apply(self, event: Event) -> tuple[Kind, Any | None, Any | None] | None:
        """Takes a change in; the kind, the object before and after. None for what is no object."""
        words = event.kv.key.decode().split("/")
        kind = BY_PLURAL.get(words[2]) if len(words) > 3 and words[1] == "registry" else None
        if kind is None:
            return None
        key = (words[3], words[4]) if kind.namespaced else ("", words[3])
        held = self._objects[kind]
        old = held.get(key)
        if event.type == EventType.DELETE:
            held.pop(key, None)
            if old is not None:
                self._uids.pop(old.metadata.uid, None)
            return kind, old, None
        new: Any = kind.message.FromString(event.kv.value)
        if old is not None and old.metadata.uid != new.metadata.uid:
            self._uids.pop(old.metadata.uid, None)
        held[key] = new
        self._uids[new.metadata.uid] = new
        return kind, old, new


def controller_uid(obj: Any) -> str:
    """The uid of what controls an object, "" for nothing."""
    return next((o.uid for o in obj.metadata.ownerReferences if o.controller), "")


def is_deleting(obj: Any) -> bool:
    return bool(obj.metadata.HasField("deletionTimestamp"))


def is_finished(pod: core.Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: core.Pod) -> bool:
    return not is_deleting(pod) and not is_finished(pod)


def ready_since_ns(pod: core.Pod) -> int | None:
    """Wall time since when the pod is ready, None if it is not."""
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.status == "True":
            return time_ns(condition.lastTransitionTime)
    return None


def is_ready(pod: core.Pod) -> bool:
    return ready_since_ns(pod) is not None


def time_ns(time: meta.Time) -> int:
    return int(time.seconds) * 1_000_000_000 + int(time.nanos)


def title(obj: Any) -> str:
    """For a person to read."""
    where = f"{obj.metadata.namespace}/" if obj.metadata.namespace else ""
    return f"{type(obj).__name__} {where}{obj.metadata.name}"


def names(objects: Iterable[Any]) -> str:
    return ", ".join(sorted(o.metadata.name for o in objects)) or "none"
