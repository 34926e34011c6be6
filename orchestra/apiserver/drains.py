"""When a pod that is to stop may be told so: once no agent routes new connections to it any more.

Pure bookkeeping over what the session hub sees. A *version* counts changes of EndpointSlices as the hub met
them; every agent has applied everything up to some version. A pod is drained when no slice lists it as ready
and every connected agent has applied the version in which it stopped being listed, or when the wait is over.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestra.base.clock import NS_PER_SECOND
from orchestra.pb import discovery

WAIT_NS_MAX: Final = 2 * NS_PER_SECOND


@dataclass(slots=True)
class _Drain:
    uid: str
    node: str
    deadline_ns: int
    done: bool = False


def ready_uids(endpoints: discovery.EndpointSlice | None) -> set[str]:
    """The uids of the pods that a slice lists as ready (no condition means ready)."""
    if endpoints is None:
        return set()
    return {
        endpoint.targetRef.uid
        for endpoint in endpoints.endpoints
        if endpoint.HasField("targetRef")
        and (not endpoint.conditions.HasField("ready") or endpoint.conditions.ready)
    }


class Drains:
    """What is known of slices, agents and stopping pods; each method answers with what is drained now.

    Answers are (node, uid) pairs, each given once.
    """

    def __init__(self) -> None:
        self.version = 0
        self._listed: Counter[str] = Counter()
        self._unlisted_at: dict[str, int] = {}
        self._applied: dict[str, int] = {}
        self._drains: dict[str, _Drain] = {}
        self._waiting: set[str] = set()
        self._floor = 0

    def slice_changed(
        self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None
    ) -> list[tuple[str, str]]:
        """A slice is new (old None), changed or gone (new None)."""
        self.version += 1
        before, after = ready_uids(old), ready_uids(new)
        for uid in after - before:
            self._listed[uid] += 1
            self._unlisted_at.pop(uid, None)
        for uid in before - after:
            self._listed[uid] -= 1
            if self._listed[uid] <= 0:
                del self._listed[uid]
                self._unlisted_at[uid] = self.version
        return self._released()

    def session_opened(self, node: str) -> None:
        """An agent connected; what it routes is unknown until it has applied its first picture."""
        self._applied[node] = -1
        self._floor = min(self._applied.values())

    def session_closed(self, node: str) -> list[tuple[str, str]]:
        """An agent is gone: nobody waits for it."""
        self._applied.pop(node, None)
        return self._raised()

    def applied(self, node: str, version: int) -> list[tuple[str, str]]:
        """An agent routes as of a version."""
        before = self._applied.get(node)
        if before is None or version <= before:
            return []
        self._applied[node] = version
        return self._raised() if before == self._floor else []

    def pod_stopping(self, node: str, uid: str, now_ns: int) -> list[tuple[str, str]]:
        """A pod has got its deletionTimestamp. Safe to say twice."""
        if uid not in self._drains:
            self._drains[uid] = _Drain(uid, node, now_ns + WAIT_NS_MAX)
            self._waiting.add(uid)
        return self._released((uid,))

    def pod_gone(self, uid: str) -> None:
        """The pod is no more."""
        self._drains.pop(uid, None)
        self._waiting.discard(uid)
        self._unlisted_at.pop(uid, None)

    def expired(self, now_ns: int) -> list[tuple[str, str]]:
        """Pods whose wait is over."""
        late = [uid for uid in self._waiting if self._drains[uid].deadline_ns <= now_ns]
        return [self._finish(uid) for uid in late]

    def drained_on(self, node: str) -> list[str]:
        """Uids on a node that are drained already: to be told again to an agent that reconnects."""
        return [drain.uid for drain in self._drains.values() if drain.done and drain.node == node]

    def next_deadline_ns(self) -> int | None:
        """When expired() has something to say at the earliest, None while nothing waits."""
        return min((self._drains[uid].deadline_ns for uid in self._waiting), default=None)

    def _raised(self) -> list[tuple[str, str]]:
        floor = min(self._applied.values(), default=self.version)
        if floor == self._floor:
            return []
        self._floor = floor
        return self._released()

    def _released(self, uids: Iterable[str] | None = None) -> list[tuple[str, str]]:
        waiting = self._waiting if uids is None else self._waiting.intersection(uids)
        return [self._finish(uid) for uid in tuple(waiting) if self._is_drained(uid)]

    def _is_drained(self, uid: str) -> bool:
        if uid in self._listed:
            return False
        since = self._unlisted_at.get(uid)
        return since is None or not self._applied or self._floor >= since

    def _finish(self, uid: str) -> tuple[str, str]:
        drain = self._drains[uid]
        drain.done = True
        self._waiting.discard(uid)
        return drain.node, uid
