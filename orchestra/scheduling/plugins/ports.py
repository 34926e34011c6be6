"""Ports of the host that a pod insists on."""

from orchestra.scheduling.view import ANY_ADDRESS, NodeView, PodShape


class NodePorts:
    """Refuses a node where a declared hostPort is taken: a port of all addresses is one of each."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) didn't have free ports for the requested pod ports`."""
        for wanted in shape.host_ports:
            if any(_conflict(wanted, taken) for taken in node.host_ports):
                return "node(s) didn't have free ports for the requested pod ports"
        return None


def _conflict(left: tuple[str, str, int], right: tuple[str, str, int]) -> bool:
    (protocol, address, port), (other_protocol, other_address, other_port) = left, right
    if (protocol, port) != (other_protocol, other_port):
        return False
    return address == other_address or ANY_ADDRESS in (address, other_address)
