"""Tables of the cluster itself: nodes, namespaces, events."""

from orchestra.cli.printing.ages import age, since
from orchestra.pb import core

NODE_COLUMNS = ("NAME", "STATUS", "ROLES", "AGE", "VERSION")
NODE_WIDE_COLUMNS = ("INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME")
NAMESPACE_COLUMNS = ("NAME", "STATUS", "AGE")
EVENT_COLUMNS = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")
EVENT_WIDE_COLUMNS = ("SUBOBJECT", "SOURCE", "FIRST SEEN", "COUNT", "NAME")

_ROLE_PREFIX = "node-role.kubernetes.io/"


def node_status(obj: core.Node) -> str:
    """`Ready`, `NotReady`, `Unknown`, and `SchedulingDisabled` when cordoned."""
    ready = next((c for c in obj.status.conditions if c.type == "Ready"), None)
    said = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    return said + (",SchedulingDisabled" if obj.spec.unschedulable else "")


def node_roles(obj: core.Node) -> str:
    """What the node's role labels say, or `<none>`."""
    roles = {key.removeprefix(_ROLE_PREFIX) for key in obj.metadata.labels if key.startswith(_ROLE_PREFIX)}
    named = obj.metadata.labels.get("kubernetes.io/role", "")
    return ",".join(sorted(role for role in roles | {named} if role)) or "<none>"


def _address(obj: core.Node, kind: str) -> str:
    return next((a.address for a in obj.status.addresses if a.type == kind), "<none>")


def node(obj: core.Node, now_ns: int) -> list[str]:
    """STATUS and ROLES are derived, VERSION is the agent's."""
    info = obj.status.nodeInfo
    return [
        obj.metadata.name,
        node_status(obj),
        node_roles(obj),
        age(obj.metadata, now_ns),
        info.kubeletVersion,
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.osImage or "<unknown>",
        info.kernelVersion or "<unknown>",
        info.containerRuntimeVersion or "<unknown>",
    ]


def namespace(obj: core.Namespace, now_ns: int) -> list[str]:
    """Active or Terminating."""
    return [obj.metadata.name, obj.status.phase, age(obj.metadata, now_ns)]


def event(obj: core.Event, now_ns: int) -> list[str]:
    """One line of what happened to what."""
    timed = obj.HasField("firstTimestamp")
    first = since(obj.firstTimestamp if timed else obj.eventTime, now_ns)
    last = since(obj.lastTimestamp, now_ns) if obj.HasField("lastTimestamp") else first
    count = obj.count or 1
    if obj.HasField("series"):
        last, count = since(obj.series.lastObservedTime, now_ns), obj.series.count
    source = obj.source.component or obj.reportingComponent
    host = obj.source.host or obj.reportingInstance
    return [
        last,
        obj.type,
        obj.reason,
        f"{obj.involvedObject.kind.lower()}/{obj.involvedObject.name}",
        obj.message.strip(),
        obj.involvedObject.fieldPath,
        f"{source}, {host}" if source and host else source or host,
        first,
        str(count),
        obj.metadata.name,
    ]


def event_interval(obj: core.Event, now_ns: int) -> str:
    """`5s`, or `5s (x3 over 2m)` for one that came more than once."""
    first = since(obj.eventTime if obj.HasField("eventTime") else obj.firstTimestamp, now_ns)
    if obj.HasField("series"):
        return f"{since(obj.series.lastObservedTime, now_ns)} (x{obj.series.count} over {first})"
    if obj.count > 1:
        return f"{since(obj.lastTimestamp, now_ns)} (x{obj.count} over {first})"
    return first
