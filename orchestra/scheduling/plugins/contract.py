"""The two things a plugin can be."""

from typing import Protocol

from orchestra.scheduling.view import NodeView, PodShape


class Filter(Protocol):
    """Says whether a pod of this shape could run on the node."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """Why not, in the words that a person reads (`Insufficient cpu`), None if it could."""
        ...


class Score(Protocol):
    """Says how good a place the node is."""

    def score(self, shape: PodShape, node: NodeView) -> int:
        """Units: 0 (worst) to 100 (best)."""
        ...
