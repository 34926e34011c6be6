"""What a container is told: environment, expanded commands, ports. Pure.

Source: Kubernetes, "Define Dependent Environment Variables", and third_party/forked/golang/expansion.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestra.base.errors import OrchestraError
from orchestra.objects.quantity import Quantity, parse_quantity, quantity_of_bytes, quantity_of_milli
from orchestra.pb import core

_KEYED = re.compile(r"^metadata\.(labels|annotations)\['([^']*)'\]$")
_NOT_A_NAME = re.compile(r"[^A-Z0-9_]")
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_NANOS_PER_UNIT = 1_000_000_000


class EnvironmentFailure(OrchestraError):
    """A variable's source does not exist; the container cannot be started as asked."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the node adds. cpu in thousandths, memory in bytes: the defaults of unset limits.

    base: variables that every container gets (PATH and the like), weaker than everything else.
    """

    name: str
    address: str
    cpu_millis: int
    memory_bytes: int
    base: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A declared port and the port of the host that stands for it."""

    name: str
    container_port: int
    host_port: int
    protocol: str = "TCP"


def variable_name(prefix: str, name: str) -> str:
    """`PORT_` and `http-alt` give `PORT_HTTP_ALT`."""
    return prefix + _NOT_A_NAME.sub("_", name.upper())


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value; `$$` becomes `$`; an unknown name stays as it is written."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def command_of(container: core.Container, variables: Mapping[str, str]) -> list[str]:
    """command and args, expanded."""
    return [expand(word, variables) for word in (*container.command, *container.args)]


def environment_of(
    pod: core.Pod,
    container: core.Container,
    node: NodeFacts,
    ports: Sequence[HostPort],
    volumes: Mapping[str, str],
) -> dict[str, str]:
    """Every variable of a container.

    volumes: where each volume is for this container, told as VOLUME_<NAME>.
    Raises: EnvironmentFailure.
    """
    variables = dict(node.base)
    variables["HOSTNAME"] = hostname_of(pod)
    variables["HOST"] = node.address
    for index, port in enumerate(ports):
        if index == 0:
            variables["PORT"] = str(port.host_port)
        if port.name:
            variables[variable_name("PORT_", port.name)] = str(port.host_port)
    for name, path in volumes.items():
        variables[variable_name("VOLUME_", name)] = path
    for source in container.envFrom:
        _refuse_missing(source)
    for entry in container.env:
        if entry.HasField("valueFrom"):
            value = _value_from(pod, container, entry, node)
            if value is None:
                continue
        else:
            value = expand(entry.value, variables)
        variables[entry.name] = value
    return variables


def hostname_of(pod: core.Pod) -> str:
    """The pod's host name, cut to what Linux takes."""
    return (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")


def _refuse_missing(source: core.EnvFromSource) -> None:
    if source.HasField("configMapRef") and not source.configMapRef.optional:
        raise EnvironmentFailure(f'configmap "{source.configMapRef.localObjectReference.name}" not found')
    if source.HasField("secretRef") and not source.secretRef.optional:
        raise EnvironmentFailure(f'secret "{source.secretRef.localObjectReference.name}" not found')


def _value_from(pod: core.Pod, container: core.Container, entry: core.EnvVar, node: NodeFacts) -> str | None:
    source = entry.valueFrom
    if source.HasField("fieldRef"):
        return field_value(pod, source.fieldRef.fieldPath, node)
    if source.HasField("resourceFieldRef"):
        return _resource_value(pod, container, source.resourceFieldRef, node)
    reference: core.ConfigMapKeySelector | core.SecretKeySelector | None = None
    if source.HasField("configMapKeyRef"):
        kind, reference = "configmap", source.configMapKeyRef
    elif source.HasField("secretKeyRef"):
        kind, reference = "secret", source.secretKeyRef
    if reference is not None:
        if reference.optional:
            return None
        raise EnvironmentFailure(f'{kind} "{reference.localObjectReference.name}" not found')
    raise EnvironmentFailure(f"env {entry.name}: valueFrom names no source this node knows")


def field_value(pod: core.Pod, path: str, node: NodeFacts) -> str:
    """The value of a fieldRef. Raises: EnvironmentFailure for a path that is none."""
    keyed = _KEYED.match(path)
    if keyed:
        found: str = getattr(pod.metadata, keyed[1]).get(keyed[2], "")
        return found
    values = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.nodeName or node.name,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.hostIP": node.address,
        "status.hostIPs": node.address,
        "status.podIP": node.address,
        "status.podIPs": node.address,
    }
    if path not in values:
        raise EnvironmentFailure(f"unsupported fieldPath: {path}: give one of {', '.join(values)}")
    return values[path]


def _resource_value(
    pod: core.Pod, container: core.Container, source: core.ResourceFieldSelector, node: NodeFacts
) -> str:
    if source.containerName:
        everyone = [*pod.spec.initContainers, *pod.spec.containers]
        named = [c for c in everyone if c.name == source.containerName]
        if not named:
            raise EnvironmentFailure(f"container {source.containerName} not found")
        container = named[0]
    which, _, resource = source.resource.partition(".")
    if which not in ("limits", "requests") or not resource:
        raise EnvironmentFailure(f"unsupported resource: {source.resource}")
    quantities = getattr(container.resources, which)
    if resource in quantities:
        amount = parse_quantity(quantities[resource].string)
    elif which == "limits" and resource == "cpu":
        amount = quantity_of_milli(node.cpu_millis)
    elif which == "limits" and resource == "memory":
        amount = quantity_of_bytes(node.memory_bytes)
    else:
        amount = parse_quantity("0")
    divisor = parse_quantity(source.divisor.string or "1")
    return str(_divide_up(amount, divisor))


def _divide_up(amount: Quantity, divisor: Quantity) -> int:
    by = divisor.nanos or _NANOS_PER_UNIT
    return -(-amount.nanos // by)
