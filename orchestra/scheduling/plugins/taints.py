"""Taints and tolerations."""

from orchestra.scheduling.view import NodeView, PodShape

MAX_SCORE = 100


class TaintToleration:
    """Refuses a node with a taint that forbids and is not tolerated; likes fewer PreferNoSchedule ones."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) had untolerated taint {key: value}`."""
        for taint in node.taints:
            if taint.effect in ("NoSchedule", "NoExecute") and not shape.tolerates(taint):
                return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
        return None

    def score(self, shape: PodShape, node: NodeView) -> int:
        """100 without such a taint, a share of it with some."""
        if not node.taints:
            return MAX_SCORE
        disliked = sum(t.effect == "PreferNoSchedule" and not shape.tolerates(t) for t in node.taints)
        return MAX_SCORE // (1 + disliked)
