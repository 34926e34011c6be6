"""The scheduling cycle, pure: a pod's shape and the cluster in, a decision out.

For each shape, nodes that fit stand in a heap by score. A decision makes one node worse, and that is found
out when the node comes to the top of a heap again: so the next pod costs the filters and scores of a node or
two and heap operations, not a pass over all nodes.
"""

import heapq
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from orchestra.scheduling.plugins import FILTERS, SCORES
from orchestra.scheduling.plugins.contract import Filter, Score
from orchestra.scheduling.view import ClusterView, NodeView, PodShape

# (-score, turn, node, version)
_Entry: TypeAlias = tuple[int, int, str, int]

# Shapes remembered at once; the one unused for longest goes.
SHAPES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Decision:
    """node: where to, None if nowhere. reasons: why nodes were refused, with how many each."""

    node: str | None
    reasons: tuple[tuple[str, int], ...] = ()
    nodes: int = 0

    @property
    def message(self) -> str:
        """`0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.`"""
        if not self.nodes:
            return "no nodes available to schedule pods"
        reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in self.reasons))
        return f"0/{self.nodes} nodes are available: {reasons}."


class _Ranking:
    """Nodes that fit one shape, best first.

    An entry whose node has a newer version since tells at most too good a score. latest: the version of the
    one entry of each node that counts; older ones are dropped where they are met. refused: the version of the
    cluster at which no node fitted, and why: many pods of one shape wait for the same reasons.
    """

    __slots__ = ("heap", "latest", "position", "refused")

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self.latest: dict[str, int] = {}
        self.position = -1
        self.refused: tuple[int, tuple[tuple[str, int], ...]] | None = None


class Cycle:
    """Chooses nodes on one ClusterView.

    seed: turns the order of equally good nodes, so that no node is everybody's first.
    """

    def __init__(
        self,
        view: ClusterView,
        *,
        filters: tuple[Filter, ...] = FILTERS,
        scores: tuple[tuple[Score, int], ...] = SCORES,
        seed: int = 0,
    ) -> None:
        self._view = view
        self._filters = filters
        self._scores = scores
        self._turn = seed
        self._rankings: OrderedDict[PodShape, _Ranking] = OrderedDict()

    def choose(self, shape: PodShape) -> Decision:
        """The best node for a pod of this shape, or why there is none."""
        ranking = self._rankings.get(shape)
        if ranking is None:
            ranking = self._rankings[shape] = _Ranking()
            if len(self._rankings) > SHAPES_KEPT:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(shape)
        self._refresh(ranking, shape)
        nodes, heap = self._view.nodes, ranking.heap
        while heap:
            _, _, name, version = heap[0]
            node = nodes.get(name)
            if node is not None and node.version == version:
                return Decision(name)
            heapq.heappop(heap)
            # Worse than it was when it was ranked: ranked anew, it may no longer be the best.
            if node is not None and ranking.latest.get(name) == version:
                self._rank(ranking, shape, node)
        if ranking.refused is None or ranking.refused[0] != self._view.version:
            ranking.refused = (self._view.version, self._refusals(shape))
        return Decision(None, ranking.refused[1], len(nodes))

    def _refresh(self, ranking: _Ranking, shape: PodShape) -> None:
        """Ranks nodes that may have become better since the last time."""
        view = self._view
        changed = view.changed_since(ranking.position) if ranking.position >= 0 else None
        ranking.position = view.position
        # Dead entries are dropped lazily; when they outnumber the nodes, starting over is cheaper.
        if changed is None or len(ranking.heap) > 2 * len(view.nodes) + 64:
            entries = [entry for node in view.nodes.values() if (entry := self._entry(shape, node))]
            ranking.latest = {entry[2]: entry[3] for entry in entries}
            heapq.heapify(entries)
            ranking.heap = entries
            return
        for name in changed:
            node = view.nodes.get(name)
            if node is not None:
                self._rank(ranking, shape, node)

    def _rank(self, ranking: _Ranking, shape: PodShape, node: NodeView) -> None:
        entry = self._entry(shape, node)
        if entry is None:
            ranking.latest.pop(node.name, None)
        elif ranking.latest.get(node.name) != node.version:
            ranking.latest[node.name] = node.version
            heapq.heappush(ranking.heap, entry)

    def _entry(self, shape: PodShape, node: NodeView) -> _Entry | None:
        if self.refusal(shape, node) is not None:
            return None
        score = sum(weight * plugin.score(shape, node) for plugin, weight in self._scores)
        # A Weyl sequence: ties fall differently each time, without chance and without a pattern of nodes.
        self._turn = (self._turn + 0x9E3779B1) & 0xFFFFFFFF
        return (-score, self._turn, node.name, node.version)

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """The first filter's reason against the node, None if it fits."""
        for plugin in self._filters:
            reason = plugin.refusal(shape, node)
            if reason is not None:
                return reason
        return None

    def _refusals(self, shape: PodShape) -> tuple[tuple[str, int], ...]:
        reasons = Counter(
            reason for node in self._view.nodes.values() if (reason := self.refusal(shape, node)) is not None
        )
        return tuple(reasons.most_common())
