"""Which of the nodes are lost, kept as they change: to know how many costs nothing, however many nodes.

Times named *_ns are monotonic.
"""

from bisect import bisect_left, insort
from heapq import heappop, heappush


class Losses:
    """The lost nodes, in the order of their loss, and the nodes that are lost unless they dial in time.

    Bound: the nodes that its owner tells it of, and one entry more for each wait that is not over yet.
    """

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []
        self._waits: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def names(self) -> list[str]:
        """The lost nodes, the oldest loss first."""
        return [name for _, name in self._order]

    def lost(self, name: str, at_ns: int) -> None:
        """The node is lost since then."""
        if self._at.get(name) == at_ns:
            return
        self.not_lost(name)
        self._at[name] = at_ns
        insort(self._order, (at_ns, name))

    def not_lost(self, name: str) -> None:
        """The node is there, is awaited, or is none any more."""
        at_ns = self._at.pop(name, None)
        if at_ns is not None:
            del self._order[bisect_left(self._order, (at_ns, name))]

    def awaited(self, name: str, until_ns: int) -> None:
        """The node is not lost yet, and is to be judged anew then."""
        self.not_lost(name)
        heappush(self._waits, (until_ns, name))

    def due(self, now_ns: int) -> list[str]:
        """The nodes that were awaited until now; each is told once for each wait."""
        names = []
        while self._waits and self._waits[0][0] <= now_ns:
            names.append(heappop(self._waits)[1])
        return names

    def turn(self, name: str, since_ns: int, interval_ns: int) -> int | None:
        """When the node may be evicted while the cluster is disrupted, None if it is not lost.

        One node goes each interval, the oldest loss first; that one waits an interval too, in case they all
        return.
        """
        at_ns = self._at.get(name)
        if at_ns is None:
            return None
        return since_ns + (bisect_left(self._order, (at_ns, name)) + 1) * interval_ns
