"""Pods of one owner apart from each other."""

from orchestra.scheduling.view import NodeView, PodShape

MAX_SCORE = 100


class OwnerSpread:
    """Prefers nodes with fewer pods of the same owner, so that one node's death takes few of them."""

    def score(self, shape: PodShape, node: NodeView) -> int:
        """100, 50, 33 … for 0, 1, 2 … of them. Does not depend on other nodes, so it can be kept."""
        return MAX_SCORE // (1 + node.owners.get(shape.owner, 0)) if shape.owner else MAX_SCORE
