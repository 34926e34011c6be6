"""Room on a node: what pods request against what the node can give."""

from orchestra.scheduling.view import NodeView, PodShape

MAX_SCORE = 100


class NodeResourcesFit:
    """Refuses a node where a request, or the pod itself, has no room."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`Too many pods` or `Insufficient <resource>`."""
        if node.pod_count + 1 > node.pods_allowed:
            return "Too many pods"
        for resource, amount in shape.requests:
            if amount > node.allocatable.get(resource, 0) - node.requested.get(resource, 0):
                return f"Insufficient {resource}"
        return None


class LeastAllocated:
    """Prefers the node with the largest free share of cpu and memory."""

    def score(self, shape: PodShape, node: NodeView) -> int:
        """The mean of both free shares once the pod is there."""
        cpu = _free_share(node.weighed_cpu_millis + shape.weighed_cpu_millis, node.allocatable.get("cpu", 0))
        memory = _free_share(
            node.weighed_memory_bytes + shape.weighed_memory_bytes, node.allocatable.get("memory", 0)
        )
        return (cpu + memory) // 2


def _free_share(used: int, capacity: int) -> int:
    return 0 if used >= capacity else (capacity - used) * MAX_SCORE // capacity
