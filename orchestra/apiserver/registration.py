"""What a registering agent may say, and the Node object that comes of it."""

from typing import Final

from orchestra.objects.kinds import ApiObject
from orchestra.objects.names import dns_subdomain
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import core, meta

LABEL_HOSTNAME: Final = "kubernetes.io/hostname"
LABEL_ARCH: Final = "kubernetes.io/arch"
LABEL_OS: Final = "kubernetes.io/os"
# Which labels the agent set, so that one it no longer says is taken away, and a user's own is kept.
ANNOTATION_LABELS: Final = "orchestra.dev/agent-labels"
_INSTANCE_CHARS_MAX: Final = 128


def refusal(register: agent.Register) -> str:
    """Why the agent cannot be taken, "" if it can."""
    wrong = dns_subdomain(register.name)
    if wrong:
        return f'the node name "{register.name[:64]}" is not valid: {wrong}'
    if not 0 < len(register.instance) <= _INSTANCE_CHARS_MAX:
        return "the agent names no instance: it has to be new at each start of the agent"
    return ""


def node_of(register: agent.Register) -> core.Node:
    """The Node object of an agent that registers for the first time."""
    node = core.Node(metadata=meta.ObjectMeta(name=register.name))
    update_node(node, register)
    update_node_status(node, register)
    return node


def update_node(node: ApiObject, register: agent.Register) -> bool:
    """Brings the agent's labels into the Node; what others set stays. Whether anything changed."""
    wanted = dict(register.labels)
    wanted[LABEL_HOSTNAME] = register.name
    info = register.node_info
    if info.architecture:
        wanted[LABEL_ARCH] = info.architecture
    if info.operatingSystem:
        wanted[LABEL_OS] = info.operatingSystem
    labels, annotations = node.metadata.labels, node.metadata.annotations
    said = ",".join(sorted(wanted))
    stale = set(filter(None, annotations.get(ANNOTATION_LABELS, "").split(","))) - set(wanted)
    changed = annotations.get(ANNOTATION_LABELS) != said or any(
        labels.get(key) != value for key, value in wanted.items()
    )
    if not changed:
        return False
    for key in stale:
        labels.pop(key, None)
    for key, value in wanted.items():
        labels[key] = value
    annotations[ANNOTATION_LABELS] = said
    return True


def update_node_status(node: ApiObject, register: agent.Register) -> bool:
    """Brings addresses, capacity and system information into the Node's status; conditions stay."""
    before = core.NodeStatus()
    before.CopyFrom(node.status)
    status = node.status
    del status.addresses[:]
    status.addresses.extend(register.addresses)
    for field in ("capacity", "allocatable"):
        status.ClearField(field)
        for name, quantity in getattr(register, field).items():
            getattr(status, field)[name].CopyFrom(quantity)
    status.nodeInfo.CopyFrom(register.node_info)
    return bool(status != before)
