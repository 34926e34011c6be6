"""When a pod that is to stop may be told so: once no agent routes new connections to it any more.

Pure bookkeeping over what the session hub sees. A *version* counts changes of EndpointSlices as the hub met
them; every agent has applied everything up to some version. A pod is drained when no slice lists it as ready
and every connected agent has applied the version in which it stopped being listed, or when the wait is over.
Pods, slices and sessions are heard of separately: of a pod that may be listed any moment it has to be heard
first that its slices know of its end, and of one that was stopping before this hub began nothing is known.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestra.base.clock import NS_PER_SECOND
from orchestra.pb import discovery

WAIT_NS_MAX: Final = 2 * NS_PER_SECOND
# Pods that were listed once and of which it is kept since when they are not.
UNLISTED_MAX: Final = 16_384


@dataclass(slots=True)
class _Drain:
    """One pod that is to stop; blind and awaits as in Drains.pod_stopping."""

    uid: str
    node: str
    deadline_ns: int
    blind: bool = False
    awaits: bool = False
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


def stopping_uids(endpoints: discovery.EndpointSlice | None) -> set[str]:
    """The uids of the pods that a slice says are on their way out."""
    if endpoints is None:
        return set()
    return {endpoint.targetRef.uid for endpoint in endpoints.endpoints if endpoint.conditions.terminating}


class Drains:
    """What is known of slices, agents and stopping pods; each method answers with what is drained now.

    Answers are (node, uid) pairs, each given once.
    Bound: one entry for each stopping pod, listed pod and agent; UNLISTED_MAX for pods no longer listed, but
    for those that some agent may still route to.
    """

    def __init__(self) -> None:
        self.version = 0
        self._listed: Counter[str] = Counter()
        self._unlisted_at: dict[str, int] = {}
        self._applied: dict[str, int] = {}
        # How many agents have applied each version.
        self._agents_at: Counter[int] = Counter()
        self._drains: dict[str, _Drain] = {}
        # In the order of their deadlines, which is the order they came in.
        self._waiting: dict[str, None] = {}
        self._awaiting: set[str] = set()
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
        gone = sorted(before - after)
        for uid in gone:
            self._listed[uid] -= 1
            if self._listed[uid] <= 0:
                del self._listed[uid]
                self._unlisted_at[uid] = self.version
        self._forget_unlisted()
        known: list[str] = []
        if self._awaiting:
            known = sorted(self._awaiting & (stopping_uids(new) | set(gone)))
            for uid in known:
                self._drains[uid].awaits = False
            self._awaiting.difference_update(known)
        return self._released([*gone, *known])

    def _forget_unlisted(self) -> None:
        """Pods that went before their slices did would be kept for ever; the oldest stand first."""
        while len(self._unlisted_at) > UNLISTED_MAX:
            uid = next(iter(self._unlisted_at))
            if self._applied and self._unlisted_at[uid] > self._floor:
                return
            del self._unlisted_at[uid]

    def is_listed(self, uid: str) -> bool:
        """Whether a slice lists the pod as ready."""
        return uid in self._listed

    def session_opened(self, node: str) -> None:
        """An agent connected; what it routes is unknown until it has applied its first picture."""
        self._moved(node, -1)
        self._floor = -1

    def session_closed(self, node: str) -> list[tuple[str, str]]:
        """An agent is gone: nobody waits for it."""
        self._moved(node, None)
        return self._raised()

    def applied(self, node: str, version: int) -> list[tuple[str, str]]:
        """An agent routes as of a version."""
        before = self._applied.get(node)
        if before is None or version <= before:
            return []
        self._moved(node, version)
        return self._raised() if before == self._floor and before not in self._agents_at else []

    def _moved(self, node: str, version: int | None) -> None:
        """An agent is at another version; None: it is gone."""
        before = self._applied.pop(node, None)
        if before is not None:
            self._agents_at[before] -= 1
            if not self._agents_at[before]:
                del self._agents_at[before]
        if version is not None:
            self._applied[node] = version
            self._agents_at[version] += 1

    def pod_stopping(
        self, node: str, uid: str, now_ns: int, *, blind: bool = False, awaits: bool = False
    ) -> list[tuple[str, str]]:
        """A pod has got its deletionTimestamp. Safe to say twice; the first time counts.

        blind: it had it when the hub began, and agents that have not dialled yet may route to it.
        awaits: a slice is about to list it, or to say that it is stopping.
        """
        if uid not in self._drains:
            self._drains[uid] = _Drain(uid, node, now_ns + WAIT_NS_MAX, blind, awaits)
            self._waiting[uid] = None
            if awaits:
                self._awaiting.add(uid)
        return self._released((uid,))

    def pod_gone(self, uid: str) -> None:
        """The pod is no more."""
        self._drains.pop(uid, None)
        self._waiting.pop(uid, None)
        self._awaiting.discard(uid)
        self._unlisted_at.pop(uid, None)

    def expired(self, now_ns: int) -> list[tuple[str, str]]:
        """Pods whose wait is over."""
        late: list[str] = []
        for uid in self._waiting:
            if self._drains[uid].deadline_ns > now_ns:
                break
            late.append(uid)
        return [self._finish(uid) for uid in late]

    def drained_on(self, node: str) -> list[str]:
        """Uids on a node that are drained already: to be told again to an agent that reconnects."""
        return [drain.uid for drain in self._drains.values() if drain.done and drain.node == node]

    def next_deadline_ns(self) -> int | None:
        """When expired() has something to say at the earliest, None while nothing waits."""
        first = next(iter(self._waiting), None)
        return None if first is None else self._drains[first].deadline_ns

    def _raised(self) -> list[tuple[str, str]]:
        floor = min(self._agents_at, default=self.version)
        if floor == self._floor:
            return []
        self._floor = floor
        return self._released()

    def _released(self, uids: Iterable[str] | None = None) -> list[tuple[str, str]]:
        waiting = tuple(self._waiting if uids is None else uids)
        return [self._finish(uid) for uid in waiting if uid in self._waiting and self._is_drained(uid)]

    def _is_drained(self, uid: str) -> bool:
        drain = self._drains[uid]
        if uid in self._listed or drain.blind or drain.awaits:
            return False
        since = self._unlisted_at.get(uid)
        return since is None or not self._applied or self._floor >= since

    def _finish(self, uid: str) -> tuple[str, str]:
        drain = self._drains[uid]
        drain.done = True
        self._waiting.pop(uid, None)
        self._awaiting.discard(uid)
        return drain.node, uid
