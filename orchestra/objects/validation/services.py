"""Rules of Service and EndpointSlice."""

from ipaddress import ip_address, ip_network

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.metadata import validate_labels
from orchestra.objects.validation.ports import PROTOCOLS, validate_port_number, validate_port_reference
from orchestra.pb import core, discovery

SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
NODE_PORT_MIN, NODE_PORT_MAX = 30_000, 32_767
HEADLESS = "None"
AFFINITY_SECONDS_MAX = 86_400
ENDPOINTS_MAX = 1_000
ENDPOINT_PORTS_MAX = 100
ADDRESSES_MAX = 100
ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")

_AFFINITIES = ("ClientIP", "None")
_TRAFFIC_POLICIES = ("Cluster", "Local")
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def validate_service(found: Findings, service: core.Service) -> None:
    """A Service."""
    spec = service.spec
    found.one_of("spec.type", spec.type, SERVICE_TYPES, optional=False)
    if not spec.ports and spec.clusterIP != HEADLESS and spec.type != "ExternalName":
        found.required("spec.ports", "a service needs at least one port")
    _address(found, spec)
    _ports(found, spec)
    validate_labels(found, spec.selector, "spec.selector")
    found.one_of("spec.sessionAffinity", spec.sessionAffinity, _AFFINITIES)
    timeout = spec.sessionAffinityConfig.clientIP
    path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    if timeout.HasField("timeoutSeconds") and not 1 <= timeout.timeoutSeconds <= AFFINITY_SECONDS_MAX:
        found.invalid(
            path, timeout.timeoutSeconds, f"must be between 1 and {AFFINITY_SECONDS_MAX}, inclusive"
        )
    if spec.HasField("sessionAffinityConfig") and spec.sessionAffinity == "None":
        found.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    found.one_of("spec.internalTrafficPolicy", spec.internalTrafficPolicy, _TRAFFIC_POLICIES)
    found.one_of("spec.externalTrafficPolicy", spec.externalTrafficPolicy, _TRAFFIC_POLICIES)
    if spec.externalTrafficPolicy and spec.type not in _NODE_PORT_TYPES and not spec.externalIPs:
        found.invalid(
            "spec.externalTrafficPolicy",
            spec.externalTrafficPolicy,
            "may only be set for externally-accessible services (type NodePort or LoadBalancer)",
        )
    for index, address in enumerate(spec.externalIPs):
        found.check(f"spec.externalIPs[{index}]", address, ip_problem)
    for index, block in enumerate(spec.loadBalancerSourceRanges):
        found.check(f"spec.loadBalancerSourceRanges[{index}]", block.strip(), cidr_problem)


def _address(found: Findings, spec: core.ServiceSpec) -> None:
    if spec.type == "ExternalName":
        if spec.clusterIP:
            found.forbidden("spec.clusterIP", "may not be set when `type` is 'ExternalName'")
        found.check_required("spec.externalName", spec.externalName.rstrip("."), names.dns_subdomain)
        return
    if spec.clusterIP == HEADLESS:
        if spec.type in _NODE_PORT_TYPES:
            found.invalid("spec.clusterIP", HEADLESS, f"may not be set to 'None' for {spec.type} services")
    elif spec.clusterIP:
        found.check("spec.clusterIP", spec.clusterIP, ip_problem)


def _ports(found: Findings, spec: core.ServiceSpec) -> None:
    seen_names, seen, seen_node_ports = set[str](), set[tuple[int, str]](), set[tuple[int, str]]()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        if port.name:
            if found.check(f"{path}.name", port.name, names.dns_label):
                found.unique(f"{path}.name", port.name, seen_names)
        elif len(spec.ports) > 1:
            found.required(f"{path}.name", "every port of a service with several has a name")
        validate_port_number(found, f"{path}.port", port.port)
        found.one_of(f"{path}.protocol", port.protocol, PROTOCOLS, optional=False)
        validate_port_reference(found, port.targetPort, f"{path}.targetPort")
        key = (port.port, port.protocol)
        if key in seen:
            found.duplicate(path, f"{port.port}/{port.protocol}")
        seen.add(key)
        if port.nodePort:
            _node_port(found, spec, port, f"{path}.nodePort", seen_node_ports)


def _node_port(
    found: Findings, spec: core.ServiceSpec, port: core.ServicePort, path: str, seen: set[tuple[int, str]]
) -> None:
    if spec.type in SERVICE_TYPES and spec.type not in _NODE_PORT_TYPES:
        found.forbidden(path, f"may not be used when `type` is '{spec.type}'")
    if not NODE_PORT_MIN <= port.nodePort <= NODE_PORT_MAX:
        found.invalid(
            path,
            port.nodePort,
            "provided port is not in the valid range. "
            f"The range of valid ports is {NODE_PORT_MIN}-{NODE_PORT_MAX}",
        )
    key = (port.nodePort, port.protocol)
    if key in seen:
        found.duplicate(path, port.nodePort)
    seen.add(key)


def validate_service_update(found: Findings, new: core.Service, old: core.Service) -> None:
    """A cluster address stays, once given."""
    both = "ExternalName" not in (new.spec.type, old.spec.type)
    if both and old.spec.clusterIP and new.spec.clusterIP != old.spec.clusterIP:
        found.immutable("spec.clusterIP", new.spec.clusterIP)


def validate_endpoint_slice(found: Findings, endpoint_slice: discovery.EndpointSlice) -> None:
    """An EndpointSlice."""
    found.one_of("addressType", endpoint_slice.addressType, ADDRESS_TYPES, optional=False)
    if len(endpoint_slice.endpoints) > ENDPOINTS_MAX:
        found.too_many("endpoints", len(endpoint_slice.endpoints), ENDPOINTS_MAX)
    else:
        for index, endpoint in enumerate(endpoint_slice.endpoints):
            _endpoint(found, endpoint, f"endpoints[{index}]", endpoint_slice.addressType)
    if len(endpoint_slice.ports) > ENDPOINT_PORTS_MAX:
        found.too_many("ports", len(endpoint_slice.ports), ENDPOINT_PORTS_MAX)
        return
    seen = set[str]()
    for index, port in enumerate(endpoint_slice.ports):
        path = f"ports[{index}]"
        if port.name:
            found.check(f"{path}.name", port.name, names.dns_label)
        found.unique(f"{path}.name", port.name, seen)
        found.one_of(f"{path}.protocol", port.protocol, PROTOCOLS, optional=False)
        if port.HasField("port"):
            validate_port_number(found, f"{path}.port", port.port)


def _endpoint(found: Findings, endpoint: discovery.Endpoint, path: str, address_type: str) -> None:
    if not endpoint.addresses:
        found.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(endpoint.addresses) > ADDRESSES_MAX:
        found.too_many(f"{path}.addresses", len(endpoint.addresses), ADDRESSES_MAX)
    else:
        for index, address in enumerate(endpoint.addresses):
            place = f"{path}.addresses[{index}]"
            if address_type == "FQDN":
                found.check(place, address, names.dns_subdomain)
            elif address_type in ADDRESS_TYPES:
                found.check(place, address, _IP_CHECKS[address_type])
    if endpoint.hostname:
        found.check(f"{path}.hostname", endpoint.hostname, names.dns_label)
    if endpoint.nodeName:
        found.check(f"{path}.nodeName", endpoint.nodeName, names.dns_subdomain)


def validate_endpoint_slice_update(
    found: Findings, new: discovery.EndpointSlice, old: discovery.EndpointSlice
) -> None:
    """The type of the addresses stays."""
    if new.addressType != old.addressType:
        found.immutable("addressType", new.addressType)


def ip_problem(text: str) -> str | None:
    """An IPv4 or IPv6 address."""
    return None if _version(text) else "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def _ipv4_problem(text: str) -> str | None:
    return None if _version(text) == 4 else "must be a valid IPv4 address, (e.g. 10.9.8.7)"


def _ipv6_problem(text: str) -> str | None:
    return None if _version(text) == 6 else "must be a valid IPv6 address, (e.g. 2001:db8::ffff)"


_IP_CHECKS = {"IPv4": _ipv4_problem, "IPv6": _ipv6_problem}


def _version(text: str) -> int:
    try:
        return ip_address(text).version if "%" not in text else 0
    except ValueError:
        return 0


def cidr_problem(text: str) -> str | None:
    """A block of addresses."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    return None if "/" in text else "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
