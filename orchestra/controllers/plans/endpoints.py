"""Which EndpointSlices a Service has, and how to get there with the fewest writes.

Until pods have addresses of their own each pod has its own ports on its node, so slices are grouped by
the set of ports, and usually hold one pod each.

Source: Kubernetes' pkg/controller/endpointslice and staging/src/k8s.io/endpointslice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.replicas import controller_reference
from orchestra.objects import intstr
from orchestra.pb import core, discovery

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY = "endpointslice-controller.k8s.io"
ENDPOINTS_PER_SLICE_MAX = 100


@dataclass(frozen=True, slots=True)
class EndpointsObserved:
    """A Service, the pods that its selector matches, and the slices that this controller keeps for it."""

    service: core.Service
    pods: Sequence[core.Pod]
    slices: Sequence[discovery.EndpointSlice]


@dataclass(frozen=True, slots=True)
class SlicesPlan:
    """Slices to make (without a name), to write anew, and to remove."""

    create: tuple[discovery.EndpointSlice, ...] = ()
    update: tuple[discovery.EndpointSlice, ...] = ()
    delete: tuple[discovery.EndpointSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    protocol: str
    port: int
    app_protocol: str

    def message(self) -> discovery.EndpointPort:
        made = discovery.EndpointPort(name=self.name, protocol=self.protocol, port=self.port)
        if self.app_protocol:
            made.appProtocol = self.app_protocol
        return made


# What slices are grouped by: the type of address and the ports.
_Group = tuple[str, tuple[_Port, ...]]


def keeps_slices(service: core.Service) -> bool:
    """Whether the Service's slices are ours: it selects pods, and is no alias."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def labels_of(service: core.Service) -> dict[str, str]:
    """The labels of the Service's slices."""
    labels = dict(service.metadata.labels)
    labels[SERVICE_NAME_LABEL] = service.metadata.name
    labels[MANAGED_BY_LABEL] = MANAGED_BY
    if service.spec.clusterIP == "None":
        labels["service.kubernetes.io/headless"] = ""
    return labels


def is_ours(found: discovery.EndpointSlice) -> bool:
    """Whether this controller keeps the slice."""
    return found.metadata.labels.get(MANAGED_BY_LABEL) == MANAGED_BY


def pod_matters(old: core.Pod | None, new: core.Pod | None) -> bool:
    """Whether a change of a pod can change any slice."""
    if old is None or new is None:
        return True
    if old.metadata.labels != new.metadata.labels or old.spec.nodeName != new.spec.nodeName:
        return True
    return _digest(old) != _digest(new)


def _digest(pod: core.Pod) -> tuple[object, ...]:
    return (
        pod.metadata.uid,
        podq.is_ready(pod),
        podq.is_deleting(pod),
        podq.is_finished(pod),
        pod.status.podIP,
        [(s.name, [(p.name, p.containerPort, p.hostPort, p.protocol) for p in s.ports])
         for s in pod.status.containerStatuses],
    )  # fmt: skip


def plan(observed: EndpointsObserved, now_ns: int) -> SlicesPlan:
    """What brings the slices to what the pods say."""
    del now_ns  # Readiness is the pods' word; nothing here follows from time passing.
    service = observed.service
    if not keeps_slices(service):
        return SlicesPlan()
    groups = _wanted(service, observed.pods)
    alive = [found for found in observed.slices if not found.metadata.HasField("deletionTimestamp")]
    existing = sorted(alive, key=lambda s: s.metadata.name)
    placed, free = _keep(groups, existing)
    contents = _place(groups, placed)
    create: list[discovery.EndpointSlice] = []
    update: list[discovery.EndpointSlice] = []
    for found, group, endpoints in contents:
        base = found
        if base is None:
            # An emptied slice takes new content: one write in place of two.
            base = next((spare for spare in free if spare.addressType == group[0]), None)
            if base is not None:
                free.remove(base)
        written = _slice(service, base, group, endpoints)
        if base is None:
            create.append(written)
        elif written != base:
            update.append(written)
    if not contents:
        # A Service that matches nothing has one empty slice, so that this is visible.
        empty = next(iter(free), None)
        written = _slice(service, empty, (empty.addressType if empty else _ip_family(service), ()), [])
        if empty is None:
            create.append(written)
        else:
            free.remove(empty)
            if written != empty:
                update.append(written)
    return SlicesPlan(tuple(create), tuple(update), tuple(free))


def _ip_family(service: core.Service) -> str:
    return service.spec.ipFamilies[0] if service.spec.ipFamilies else "IPv4"


def _wanted(service: core.Service, pods: Iterable[core.Pod]) -> dict[_Group, dict[str, discovery.Endpoint]]:
    """Every endpoint by pod uid, grouped."""
    groups: dict[_Group, dict[str, discovery.Endpoint]] = {}
    for pod in sorted(pods, key=lambda p: p.metadata.name):
        if podq.is_finished(pod) or not pod.status.podIP:
            continue
        family = "IPv6" if ":" in pod.status.podIP else "IPv4"
        group = (family, _ports(service, pod))
        groups.setdefault(group, {})[pod.metadata.uid] = _endpoint(service, pod)
    return groups


def _endpoint(service: core.Service, pod: core.Pod) -> discovery.Endpoint:
    serving = podq.is_ready(pod)
    terminating = podq.is_deleting(pod)
    made = discovery.Endpoint(
        addresses=[pod.status.podIP],
        conditions=discovery.EndpointConditions(
            ready=service.spec.publishNotReadyAddresses or (serving and not terminating),
            serving=serving,
            terminating=terminating,
        ),
        targetRef=core.ObjectReference(
            kind="Pod",
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
        ),
    )
    if pod.spec.nodeName:
        made.nodeName = pod.spec.nodeName
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        made.hostname = pod.spec.hostname
    return made


def _ports(service: core.Service, pod: core.Pod) -> tuple[_Port, ...]:
    found = []
    for port in service.spec.ports:
        protocol = port.protocol or "TCP"
        number = resolve_port(pod, port)
        if number:
            found.append(_Port(port.name, protocol, number, port.appProtocol))
    return tuple(found)


def resolve_port(pod: core.Pod, port: core.ServicePort) -> int | None:
    """Where the pod answers a Service's port: the host's port that its container got, else as declared.

    None for a name that no container of the pod declares.
    """
    protocol = port.protocol or "TCP"
    target = intstr.value_of(port.targetPort) if port.HasField("targetPort") else 0
    target = target or port.port
    given = _given_ports(pod)
    for container in pod.spec.containers:
        for declared in container.ports:
            if (declared.protocol or "TCP") != protocol:
                continue
            if target not in (declared.name, declared.containerPort):
                continue
            host_port = given.get((container.name, declared.containerPort, protocol))
            return host_port or declared.hostPort or declared.containerPort
    return target if isinstance(target, int) else None


def _given_ports(pod: core.Pod) -> Mapping[tuple[str, int, str], int]:
    return {
        (status.name, port.containerPort, port.protocol or "TCP"): port.hostPort
        for status in pod.status.containerStatuses
        for port in status.ports
        if port.hostPort
    }


def _group_of(found: discovery.EndpointSlice) -> _Group:
    return (
        found.addressType,
        tuple(_Port(p.name, p.protocol or "TCP", p.port, p.appProtocol) for p in found.ports),
    )


_Content = tuple[discovery.EndpointSlice | None, _Group, list[discovery.Endpoint]]


def _keep(
    groups: dict[_Group, dict[str, discovery.Endpoint]], existing: Sequence[discovery.EndpointSlice]
) -> tuple[list[_Content], list[discovery.EndpointSlice]]:
    """Each slice with those of its endpoints that stay (taken out of `groups`), and the slices left empty."""
    placed: list[_Content] = []
    free: list[discovery.EndpointSlice] = []
    for found in existing:
        group = _group_of(found)
        wanted = groups.get(group, {})
        kept: list[discovery.Endpoint] = []
        for endpoint in found.endpoints:
            if len(kept) < ENDPOINTS_PER_SLICE_MAX and endpoint.targetRef.uid in wanted:
                kept.append(wanted.pop(endpoint.targetRef.uid))
        if kept:
            placed.append((found, group, kept))
        else:
            free.append(found)
    return placed, free


def _place(groups: dict[_Group, dict[str, discovery.Endpoint]], placed: Sequence[_Content]) -> list[_Content]:
    """Fills the remaining endpoints into slices of their group with room, then into new ones."""
    contents = list(placed)
    by_group: dict[_Group, list[list[discovery.Endpoint]]] = {}
    for _, group, kept in placed:
        by_group.setdefault(group, []).append(kept)
    for group, endpoints in groups.items():
        rest = list(endpoints.values())
        for kept in by_group.get(group, ()):
            room = ENDPOINTS_PER_SLICE_MAX - len(kept)
            kept.extend(rest[:room])
            rest = rest[room:]
        for start in range(0, len(rest), ENDPOINTS_PER_SLICE_MAX):
            contents.append((None, group, rest[start : start + ENDPOINTS_PER_SLICE_MAX]))
    return contents


def _slice(
    service: core.Service,
    base: discovery.EndpointSlice | None,
    group: _Group,
    endpoints: Sequence[discovery.Endpoint],
) -> discovery.EndpointSlice:
    """The slice with this content; `base`, if given, with everything else as it is."""
    made = discovery.EndpointSlice()
    if base is not None:
        made.CopyFrom(base)
    else:
        made.metadata.namespace = service.metadata.namespace
        made.metadata.generateName = f"{service.metadata.name}-"
    reference = controller_reference(service)
    if list(made.metadata.ownerReferences) != [reference]:
        del made.metadata.ownerReferences[:]
        made.metadata.ownerReferences.append(reference)
    labels = labels_of(service)
    if dict(made.metadata.labels) != labels:
        made.metadata.labels.clear()
        for key, value in labels.items():
            made.metadata.labels[key] = value
    made.addressType = group[0]
    del made.ports[:]
    made.ports.extend(port.message() for port in group[1])
    del made.endpoints[:]
    made.endpoints.extend(endpoints)
    return made
