"""Nodes that take no new pods at all."""

from orchestra.scheduling.view import NodeView, PodShape, Taint


class NodeUnschedulable:
    """Refuses a cordoned node, unless the pod tolerates just that."""

    _taint = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) were unschedulable`."""
        if node.unschedulable and not shape.tolerates(self._taint):
            return "node(s) were unschedulable"
        return None


class NodeReady:
    """Refuses a node whose Ready condition is not True: its agent has not been heard of."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) were not ready`."""
        return None if node.ready else "node(s) were not ready"
