"""Ports of the host that a pod insists on."""

from orchestra.scheduling.view import NodeView, PodShape


class NodePorts:
    """Refuses a node where a declared hostPort is taken."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) didn't have free ports for the requested pod ports`."""
        for port in shape.host_ports:
            if node.host_ports.get(port):
                return "node(s) didn't have free ports for the requested pod ports"
        return None
