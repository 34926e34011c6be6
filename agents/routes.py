"""Which endpoints answer for each node port. Pure: objects in, routes out.

Source: Kubernetes, "Virtual IPs and Service Proxies".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestra.pb import core, discovery

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_AFFINITY_SECONDS_DEFAULT = 10_800
_ROUTED = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One node port. affinity_seconds: 0 without session affinity."""

    node_port: int
    service: str
    addresses: frozenset[Address]
    affinity_seconds: int = 0


def routes_of(service: core.Service, slices: Iterable[discovery.EndpointSlice], node: str) -> list[RoutePlan]:
    """The routes of one Service on one node."""
    spec = service.spec
    if spec.type not in _ROUTED:
        return []
    local_only = spec.externalTrafficPolicy == "Local"
    found = list(slices)
    plans = []
    for port in spec.ports:
        if not port.nodePort or (port.protocol or "TCP") != "TCP":
            continue
        addresses = frozenset(
            address
            for slice_ in found
            for address in _ready(
                slice_, port.name, spec.publishNotReadyAddresses, node if local_only else ""
            )
        )
        seconds = 0
        if spec.sessionAffinity == "ClientIP":
            seconds = spec.sessionAffinityConfig.clientIP.timeoutSeconds or _AFFINITY_SECONDS_DEFAULT
        name = f"{service.metadata.namespace}/{service.metadata.name}"
        plans.append(RoutePlan(port.nodePort, name, addresses, seconds))
    return plans


def _ready(
    slice_: discovery.EndpointSlice, port_name: str, unready_too: bool, only_node: str
) -> Iterable[Address]:
    numbers = [
        p.port for p in slice_.ports if p.name == port_name and p.port and (p.protocol or "TCP") == "TCP"
    ]
    for endpoint in slice_.endpoints:
        conditions = endpoint.conditions
        # Unset means ready, as in Kubernetes.
        ready = conditions.ready or not conditions.HasField("ready")
        if conditions.terminating or not (ready or unready_too):
            continue
        if only_node and endpoint.nodeName != only_node:
            continue
        if endpoint.addresses:
            for number in numbers:
                yield Address(endpoint.addresses[0], number)
