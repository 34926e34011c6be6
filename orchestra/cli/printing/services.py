"""Tables of what takes traffic: services and endpoint slices."""

from collections.abc import Sequence

from orchestra.cli.printing.ages import age
from orchestra.cli.printing.words import labels_text
from orchestra.pb import core, discovery

SERVICE_COLUMNS = ("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE")
SERVICE_WIDE_COLUMNS = ("SELECTOR",)
SLICE_COLUMNS = ("NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE")
_SHOWN_MAX = 3


def _external(obj: core.Service) -> str:
    spec = obj.spec
    if spec.type == "ExternalName":
        return spec.externalName
    addresses = list(spec.externalIPs)
    if spec.type == "LoadBalancer":
        addresses = [i.ip or i.hostname for i in obj.status.loadBalancer.ingress] + addresses
        return ",".join(addresses) or "<pending>"
    return ",".join(addresses) or "<none>"


def ports(found: Sequence[core.ServicePort]) -> str:
    """`80/TCP,443:30443/TCP`: the port, and the node port where there is one."""
    said = [
        f"{port.port}:{port.nodePort}/{port.protocol or 'TCP'}"
        if port.nodePort
        else f"{port.port}/{port.protocol or 'TCP'}"
        for port in found
    ]
    return ",".join(said) or "<none>"


def service(obj: core.Service, now_ns: int) -> list[str]:
    """The cluster's address, the outside's, and the ports."""
    return [
        obj.metadata.name,
        obj.spec.type or "ClusterIP",
        obj.spec.clusterIP or "<none>",
        _external(obj),
        ports(obj.spec.ports),
        age(obj.metadata, now_ns),
        labels_text(obj.spec.selector),
    ]


def _some(values: Sequence[str]) -> str:
    shown = ",".join(values[:_SHOWN_MAX])
    return f"{shown} + {len(values) - _SHOWN_MAX} more..." if len(values) > _SHOWN_MAX else shown


def endpoint_slice(obj: discovery.EndpointSlice, now_ns: int) -> list[str]:
    """The first few ports and addresses."""
    numbers = [str(port.port) if port.HasField("port") else "*" for port in obj.ports]
    addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
    return [
        obj.metadata.name,
        obj.addressType,
        _some(numbers) or "<unset>",
        _some(addresses) or "<unset>",
        age(obj.metadata, now_ns),
    ]
