"""What can be set about the controllers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Each field says its unit; the defaults suit a cluster on a local network."""

    # How long after a node's loss its pods are evicted: long enough for a stream to be dialled anew.
    node_eviction_grace_ms: int = 400
    # How long a node that has not dialled in keeps its pods after the master's start, or when enough nodes
    # are back after most were lost.
    startup_grace_ms: int = 10_000
    # While most nodes are lost: one node is evicted each such while.
    disrupted_eviction_interval_ms: int = 10_000
    # How many objects of one kind are worked on at once. Writes share commits, so this is what batches them.
    workers: int = 8
