"""describe service, endpointslice, event."""

from collections.abc import Sequence

from orchestra.cli.describe.containers import port_text
from orchestra.cli.describe.writer import Writer, annotations, events, head, labels, moment
from orchestra.cli.printing.words import labels_text
from orchestra.pb import core, discovery

_ENDPOINTS_SHOWN = 3


def _endpoints(slices: Sequence[discovery.EndpointSlice], port_name: str) -> str:
    """The addresses that answer a port, the first few by name."""
    found = []
    for part in slices:
        for port in part.ports:
            if port.name != port_name:
                continue
            for endpoint in part.endpoints:
                if endpoint.conditions.HasField("ready") and not endpoint.conditions.ready:
                    continue
                found += [_join(address, port.port) for address in endpoint.addresses]
    shown = ",".join(found[:_ENDPOINTS_SHOWN])
    if len(found) > _ENDPOINTS_SHOWN:
        shown += f" + {len(found) - _ENDPOINTS_SHOWN} more..."
    return shown


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def describe_service(
    obj: core.Service,
    slices: Sequence[discovery.EndpointSlice],
    happened: Sequence[core.Event] | None,
    now_ns: int,
) -> str:
    """A service and who answers for it now."""
    writer = Writer(now_ns)
    spec = obj.spec
    head(writer, obj.metadata)
    labels(writer, "Labels", obj.metadata.labels)
    annotations(writer, obj.metadata.annotations)
    writer.field("Selector", labels_text(spec.selector))
    writer.field("Type", spec.type)
    if spec.ipFamilyPolicy:
        writer.field("IP Family Policy", spec.ipFamilyPolicy)
    writer.field("IP Families", ",".join(spec.ipFamilies) or "<none>")
    writer.field("IP", spec.clusterIP)
    writer.field("IPs", ",".join(spec.clusterIPs) or "<none>")
    if spec.externalIPs:
        writer.field("External IPs", ",".join(spec.externalIPs))
    if spec.externalName:
        writer.field("External Name", spec.externalName)
    if obj.status.loadBalancer.ingress:
        ingress = ", ".join(i.ip or i.hostname for i in obj.status.loadBalancer.ingress)
        writer.field("LoadBalancer Ingress", ingress)
    for port in spec.ports:
        name, protocol = port.name or "<unset>", port.protocol or "TCP"
        writer.line(f"Port:\t{name}\t{port.port}/{protocol}")
        writer.field("TargetPort", f"{port_text(port.targetPort)}/{protocol}")
        if port.appProtocol:
            writer.field("AppProtocol", port.appProtocol)
        if port.nodePort:
            writer.line(f"NodePort:\t{name}\t{port.nodePort}/{protocol}")
        writer.field("Endpoints", _endpoints(slices, port.name) if slices else "<none>")
    writer.field("Session Affinity", spec.sessionAffinity)
    if spec.externalTrafficPolicy:
        writer.field("External Traffic Policy", spec.externalTrafficPolicy)
    if spec.internalTrafficPolicy:
        writer.field("Internal Traffic Policy", spec.internalTrafficPolicy)
    events(writer, happened)
    return writer.text()


def _flag(value: bool) -> str:
    return str(value).lower()


def describe_slice(obj: discovery.EndpointSlice, happened: Sequence[core.Event] | None, now_ns: int) -> str:
    """An endpoint slice, endpoint by endpoint."""
    writer = Writer(now_ns)
    head(writer, obj.metadata)
    labels(writer, "Labels", obj.metadata.labels)
    annotations(writer, obj.metadata.annotations)
    writer.field("AddressType", obj.addressType)
    if obj.ports:
        writer.line("Ports:")
        writer.line("Name\tPort\tProtocol", 1)
        writer.line("----\t----\t--------", 1)
        for port in obj.ports:
            number = port.port if port.HasField("port") else "<unset>"
            writer.line(f"{port.name or '<unset>'}\t{number}\t{port.protocol or 'TCP'}", 1)
    else:
        writer.line("Ports: <unset>")
    writer.line("Endpoints:" + ("" if obj.endpoints else " <none>"))
    for endpoint in obj.endpoints:
        writer.line(f"- Addresses:\t{', '.join(endpoint.addresses) or '<none>'}", 1)
        writer.line("Conditions:", 2)
        conditions = endpoint.conditions
        writer.field("Ready", _flag(conditions.ready) if conditions.HasField("ready") else "<unset>", 3)
        if conditions.terminating:
            writer.field("Terminating", "true", 3)
        writer.field("Hostname", endpoint.hostname or "<unset>", 2)
        if endpoint.HasField("targetRef"):
            writer.field("TargetRef", f"{endpoint.targetRef.kind}/{endpoint.targetRef.name}", 2)
        writer.field("NodeName", endpoint.nodeName or "<unset>", 2)
        writer.field("Zone", endpoint.zone or "<unset>", 2)
    events(writer, happened)
    return writer.text()


def describe_event(obj: core.Event, now_ns: int) -> str:
    """One event, in full."""
    writer = Writer(now_ns)
    head(writer, obj.metadata)
    labels(writer, "Labels", obj.metadata.labels)
    annotations(writer, obj.metadata.annotations)
    about = obj.involvedObject
    writer.field("Type", obj.type)
    writer.field("Reason", obj.reason)
    writer.field("Involved Object", f"{about.kind} {about.namespace}/{about.name}".replace(" /", " "))
    writer.field("Count", obj.count)
    writer.field("First Timestamp", moment(obj.firstTimestamp))
    writer.field("Last Timestamp", moment(obj.lastTimestamp))
    writer.field("Source", f"{obj.source.component} {obj.source.host}".strip())
    writer.field("Message", obj.message.strip())
    return writer.text()
