"""Which pod is placed next: by priority, then in order of arrival; those that did not fit wait.

Pure: time comes in as nanoseconds. Three places, as in Kubernetes: active (to be tried now), waiting for a
time (back-off after a failure), and parked (did not fit: tried again when the cluster changes, or after a
while in case a change was missed).
"""

import heapq
from dataclasses import dataclass

NS_PER_MS = 1_000_000
BACKOFF_INITIAL_MS = 50
BACKOFF_LIMIT_MS = 10_000
# A parked pod is tried again after this long even if nothing seems to have changed.
PARKED_LIMIT_MS = 300_000


@dataclass(slots=True)
class _Entry:
    key: str
    priority: int
    arrival: int
    failures: int = 0
    until_ns: int = 0
    stamp: int = 0


class SchedulingQueue:
    """Keys of pods that need a node.

    Bound: one entry a pending pod.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._active: list[tuple[int, int, str, int]] = []
        self._timed: list[tuple[int, str, int]] = []
        self._parked: set[str] = set()
        self._arrivals = 0
        self._stamps = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: str, priority: int = 0) -> None:
        """A pod that needs a node; one already here is left where it is."""
        if key not in self._entries:
            self._arrivals += 1
            entry = self._entries[key] = _Entry(key, priority, self._arrivals)
            self._activate(entry)

    def remove(self, key: str) -> None:
        """The pod needs no node any more."""
        self._entries.pop(key, None)
        self._parked.discard(key)

    def pop(self, now_ns: int) -> str | None:
        """The next pod to try, None if none is due. It stays known until remove() or failed()."""
        while self._timed and self._timed[0][0] <= now_ns:
            _, key, stamp = heapq.heappop(self._timed)
            entry = self._entries.get(key)
            if entry is not None and entry.stamp == stamp:
                self._activate(entry)
        while self._active:
            _, _, key, stamp = heapq.heappop(self._active)
            entry = self._entries.get(key)
            if entry is not None and entry.stamp == stamp:
                self._restamp(entry)
                return key
        return None

    def failed(self, key: str, now_ns: int, *, parked: bool) -> None:
        """The try did not succeed. parked: because no node fits, so only a change can help."""
        entry = self._entries.get(key)
        if entry is None:
            return
        backoff_ms = min(BACKOFF_INITIAL_MS << min(entry.failures, 20), BACKOFF_LIMIT_MS)
        entry.failures += 1
        self._restamp(entry)
        entry.until_ns = now_ns + backoff_ms * NS_PER_MS
        if parked:
            self._parked.add(key)
            self._wait(entry, now_ns + PARKED_LIMIT_MS * NS_PER_MS)
        else:
            self._wait(entry, entry.until_ns)

    def changed(self, now_ns: int) -> None:
        """Something in the cluster changed that may make room: parked pods get another try, not before
        their back-off."""
        parked, self._parked = self._parked, set()
        for key in parked:
            entry = self._entries[key]
            self._restamp(entry)
            if entry.until_ns <= now_ns:
                self._activate(entry)
            else:
                self._wait(entry, entry.until_ns)

    def next_ns(self) -> int | None:
        """When the next waiting pod is due; None if nothing waits for a time."""
        while self._timed:
            until, key, stamp = self._timed[0]
            entry = self._entries.get(key)
            if entry is not None and entry.stamp == stamp:
                return until
            heapq.heappop(self._timed)
        return None

    def _restamp(self, entry: _Entry) -> None:
        """What stands in a heap with an older stamp is no longer meant."""
        self._stamps += 1
        entry.stamp = self._stamps

    def _activate(self, entry: _Entry) -> None:
        self._parked.discard(entry.key)
        self._restamp(entry)
        heapq.heappush(self._active, (-entry.priority, entry.arrival, entry.key, entry.stamp))

    def _wait(self, entry: _Entry, until_ns: int) -> None:
        heapq.heappush(self._timed, (until_ns, entry.key, entry.stamp))
