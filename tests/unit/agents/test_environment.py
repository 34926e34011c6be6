"""What containers are told."""

import pytest

from agents.environment import (
    EnvironmentFailure,
    HostPort,
    NodeFacts,
    command_of,
    environment_of,
    expand,
    hostname_of,
    variable_name,
)
from orchestra.pb import core

NODE = NodeFacts("n1", "127.77.0.10", 4000, 8 << 30, {"PATH": "/bin"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$A ${A} $( A)", "$A ${A} $( A)"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("a$$b", "a$b"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def pod() -> core.Pod:
    found = core.Pod()
    found.metadata.name, found.metadata.namespace, found.metadata.uid = "web-1", "shop", "u1"
    found.metadata.labels["app"] = "web"
    found.metadata.annotations["note/x"] = "hi"
    found.spec.containers.add(name="main")
    return found


def test_later_variables_see_earlier_ones_and_ports_and_volumes() -> None:
    found = pod()
    container = found.spec.containers[0]
    container.env.add(name="A", value="$(PORT)-$(VOLUME_MY_CACHE)")
    container.env.add(name="B", value="$(A)/$(C)")
    container.env.add(name="C", value="c")
    container.env.add(name="PATH", value="/opt:$(PATH)")
    container.command.extend(["serve", "$(PORT_HTTP_ALT)", "$$(A)"])
    ports = [HostPort("", 80, 20001), HostPort("http-alt", 8080, 20002)]
    told = environment_of(found, container, NODE, ports, {"my-cache": "/cache"})
    assert told["A"] == "20001-/cache"
    assert told["B"] == "20001-/cache/$(C)"
    assert told["PATH"] == "/opt:/bin"
    assert (told["HOST"], told["HOSTNAME"]) == ("127.77.0.10", "web-1")
    assert command_of(container, told) == ["serve", "20002", "$(A)"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note/x']", "hi"),
        ("spec.nodeName", "n1"),
        ("status.hostIP", "127.77.0.10"),
        ("status.podIP", "127.77.0.10"),
    ],
)
def test_fields_are_told(path: str, value: str) -> None:
    found = pod()
    entry = found.spec.containers[0].env.add(name="X")
    entry.valueFrom.fieldRef.fieldPath = path
    assert environment_of(found, found.spec.containers[0], NODE, [], {})["X"] == value


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("requests.cpu", "", "1"),
        ("requests.cpu", "1m", "250"),
        ("limits.cpu", "1m", "4000"),
        ("limits.memory", "", str(8 << 30)),
        ("limits.memory", "1Mi", "8192"),
        ("requests.memory", "1Mi", "64"),
    ],
)
def test_resources_are_told_rounded_up_and_default_to_the_nodes(
    resource: str, divisor: str, value: str
) -> None:
    found = pod()
    container = found.spec.containers[0]
    container.resources.requests["cpu"].string = "250m"
    container.resources.requests["memory"].string = "65000Ki"
    entry = container.env.add(name="X")
    entry.valueFrom.resourceFieldRef.resource = resource
    if divisor:
        entry.valueFrom.resourceFieldRef.divisor.string = divisor
    assert environment_of(found, container, NODE, [], {})["X"] == value


def test_what_is_not_there_is_refused_unless_optional() -> None:
    found = pod()
    container = found.spec.containers[0]
    entry = container.env.add(name="X")
    entry.valueFrom.configMapKeyRef.localObjectReference.name = "settings"
    with pytest.raises(EnvironmentFailure, match='configmap "settings" not found'):
        environment_of(found, container, NODE, [], {})
    entry.valueFrom.configMapKeyRef.optional = True
    assert "X" not in environment_of(found, container, NODE, [], {})
    entry.valueFrom.fieldRef.fieldPath = "spec.nope"
    with pytest.raises(EnvironmentFailure, match="unsupported fieldPath"):
        environment_of(found, container, NODE, [], {})


def test_names_fit_what_linux_and_shells_take() -> None:
    assert variable_name("PORT_", "http-alt.1") == "PORT_HTTP_ALT_1"
    found = pod()
    found.metadata.name = "a" * 62 + ".b"
    assert hostname_of(found) == "a" * 62
