"""Readiness, and a pod's where more than one has a word in it. Pure."""

from typing import Final

from orchestra.objects.kinds import ApiObject
from orchestra.pb import core

# The reason of a Ready condition that the master made False because it had lost the pod's node.
NODE_NOT_READY: Final = "NodeNotReady"


def is_ready(obj: ApiObject) -> bool:
    """Whether the Ready condition of a pod or a node is True."""
    return any(c.type == "Ready" and c.status == "True" for c in obj.status.conditions)


def is_doubted(pod: core.Pod) -> bool:
    """Whether the master has doubted the pod's readiness, and its node has not answered since."""
    return any(c.type == "Ready" and c.reason == NODE_NOT_READY for c in pod.status.conditions)
