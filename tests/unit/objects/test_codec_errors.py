"""What is wrong with a manifest: said in one go, at the right place, with what to do."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.objects import codec
from orchestra.objects.codec import FieldProblem, MapKey, decode, decode_manifest, from_json, from_manifest
from orchestra.objects.kinds import KINDS
from orchestra.pb import apps, core, meta

# (message type, data, path, what the sentence contains)
MISTAKES: list[tuple[Any, Any, str, str]] = [
    (core.Container, {"comand": []}, "comand", 'unknown field, did you mean "command"?'),
    (core.Container, {"IMAGE": "x"}, "IMAGE", 'did you mean "image"?'),
    (core.Container, {"zzz": 1}, "zzz", "unknown field"),
    (apps.Deployment, {"replicas": 3}, "replicas", 'unknown field here, did you mean "spec.replicas"?'),
    (apps.Deployment, {"spec": {"containers": []}}, "spec.containers",
     'unknown field here, did you mean "template.spec.containers"?'),
    (core.Pod, {"metadata": {"name": 5}}, "metadata.name", "expected a string, got 5 (a number): put it in quotes"),
    (core.Pod, {"metadata": {"name": True}}, "metadata.name", "got true (a boolean): put it in quotes"),
    (core.Pod, {"metadata": {"name": ["a"]}}, "metadata.name", "expected a string, got a list"),
    (core.Pod, {"metadata": {"labels": {"a": 1}}}, "metadata.labels[a]", "put it in quotes"),
    (core.Pod, {"metadata": {"labels": {"a": None}}}, "metadata.labels[a]", 'got null: write ""'),
    (core.Pod, {"metadata": {"labels": {1: "a"}}}, "metadata.labels[1]", "expected a string as key, got 1"),
    (core.Pod, {"metadata": {"labels": ["a"]}}, "metadata.labels", "expected an object, got a list"),
    (core.Pod, {"metadata": "x"}, "metadata", 'expected an object, got "x" (a string)'),
    (core.Pod, {"spec": [{}]}, "spec", 'got a list: leave out the "- "'),
    (core.Pod, {"spec": {"containers": {}}}, "spec.containers", 'got an object: begin each item with "- "'),
    (core.Pod, {"spec": {"containers": [None]}}, "spec.containers[0]", "expected an object, got null"),
    (core.Pod, {"spec": {"containers": ["a"]}}, "spec.containers[0]", "expected an object"),
    (core.Container, {"command": "sleep 1"}, "command", "expected a list"),
    (core.Container, {"command": ["sleep", 1]}, "command[1]", "put it in quotes"),
    (apps.DeploymentSpec, {"replicas": "3"}, "replicas", 'got "3" (a string): remove the quotes'),
    (apps.DeploymentSpec, {"replicas": "many"}, "replicas", 'expected a whole number, got "many" (a string)'),
    (apps.DeploymentSpec, {"replicas": 2.0}, "replicas", "expected a whole number, got 2.0"),
    (apps.DeploymentSpec, {"replicas": True}, "replicas", "expected a whole number, got true"),
    (apps.DeploymentSpec, {"replicas": 2**31}, "replicas", "from -2147483648 to 2147483647, got 2147483648"),
    (meta.ObjectMeta, {"generation": 2**63}, "generation", "expected a number from"),
    (apps.DeploymentSpec, {"paused": "true"}, "paused", "expected true or false, got \"true\" (a string): remove"),
    (apps.DeploymentSpec, {"paused": "yes"}, "paused", "write true"),
    (apps.DeploymentSpec, {"paused": "Off"}, "paused", "write false"),
    (apps.DeploymentSpec, {"paused": 1}, "paused", "expected true or false"),
    (meta.ObjectMeta, {"creationTimestamp": ""}, "creationTimestamp", "is not a time"),
    (meta.ObjectMeta, {"creationTimestamp": "2026-01-01"}, "creationTimestamp", "is not a time"),
    (meta.ObjectMeta, {"creationTimestamp": "2026-13-01T00:00:00Z"}, "creationTimestamp", "month must be"),
    (meta.ObjectMeta, {"creationTimestamp": 5}, "creationTimestamp", "expected a time"),
    (core.ResourceRequirements, {"limits": {"cpu": "1 core"}}, "limits[cpu]", "is not a quantity"),
    (core.ResourceRequirements, {"limits": {"cpu": {}}}, "limits[cpu]", "expected a quantity"),
    (core.ResourceRequirements, {"limits": {"cpu": None}}, "limits[cpu]", "expected a quantity"),
    (core.ResourceRequirements, {"limits": {"cpu": float("nan")}}, "limits[cpu]", "is not a quantity"),
    (core.TCPSocketAction, {"port": {"intVal": 80}}, "port", "expected a whole number or a string, got an object"),
    (core.TCPSocketAction, {"port": 80.5}, "port", "expected a whole number or a string"),
    (core.TCPSocketAction, {"port": 2**31}, "port", "expected a number from"),
    (meta.ManagedFieldsEntry, {"fieldsV1": []}, "fieldsV1", "expected an object"),
    (core.Volume, {"hostPath": {"path": 1}}, "hostPath.path", "put it in quotes"),
    (core.Container, {"name": "\ud800"}, "name", "surrogate"),
    (core.Container, {"args": ["\ud800"]}, "args[0]", "surrogate"),
    (meta.ObjectMeta, {"labels": {"\ud800": "a"}}, "labels[\ud800]", "surrogate"),
    (core.Pod, [], "", "expected an object, got a list"),
    (core.Pod, {1: 2}, "[1]", "expected a field's name"),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "data", "path", "sentence"), MISTAKES)
def test_mistake(message_type: Any, data: Any, path: str, sentence: str) -> None:
    _, violations = from_json(message_type, data)
    assert [one.path for one in violations] == [path]
    assert sentence in violations[0].message


def test_all_mistakes_at_once_and_the_rest_is_kept() -> None:
    manifest = {
        "apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": 1, "b": "2"}},
        "spec": {"replicas": "3", "template": {"spec": {"containers": [
            {"name": "ok"}, {"name": "bad", "comand": ["x"], "ports": [{"containerPort": "80"}]}]}}},
    }  # fmt: skip
    obj, violations = from_manifest(manifest)
    assert [(one.path, one.reason) for one in violations] == [
        ("apiVersion", "FieldValueNotSupported"),
        ("metadata.labels[a]", "FieldValueTypeInvalid"),
        ("spec.replicas", "FieldValueTypeInvalid"),
        ("spec.template.spec.containers[1].comand", "FieldValueUnknown"),
        ("spec.template.spec.containers[1].ports[0].containerPort", "FieldValueTypeInvalid"),
    ]
    assert obj is not None
    assert obj.metadata.name == "web"
    assert obj.metadata.labels == {"b": "2"}
    assert [one.name for one in obj.spec.template.spec.containers] == ["ok", "bad"]


def test_paths_lead_back_to_the_value() -> None:
    manifest = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"example.com/x": 7}},
        "spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]},
    }  # fmt: skip
    _, problems = decode_manifest(manifest)
    found = []
    for problem in problems:
        value: Any = manifest
        for step in problem.path:
            value = value[step]
        found.append(value)
    assert found == [7, "x"]
    assert problems[0].field == "metadata.annotations[example.com/x]"


def test_prefix_of_a_path() -> None:
    _, violations = from_json(core.Container, {"name": 1}, path="spec.containers[0]")
    assert violations[0].path == "spec.containers[0].name"
    _, violations = from_json(core.Container, [], path="spec.containers[0]")
    assert violations[0].path == "spec.containers[0]"
    assert FieldProblem((MapKey("a"),), "m").violation("limits").path == "limits[a]"


def test_not_strict() -> None:
    message, violations = from_json(
        core.Container, {"name": "a", "future": {"x": 1}, "tty": "no"}, strict=False
    )
    assert message.name == "a"
    assert [one.path for one in violations] == ["tty"]


HEADS: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("apiVersion", "is missing"), ("kind", "is missing")]),
    ({"kind": "Deploymnt", "apiVersion": "apps/v1"}, [("kind", 'did you mean "Deployment"?')]),
    ({"kind": "deploy", "apiVersion": "apps/v1"}, [("kind", 'did you mean "Deployment"?')]),
    ({"kind": "pod", "apiVersion": "v1"}, [("kind", 'did you mean "Pod"?')]),
    ({"kind": "Unicorn", "apiVersion": "v1"}, [("kind", "the kinds are Namespace, Node")]),
    ({"kind": "Pod"}, [("apiVersion", "is missing")]),
    ({"kind": 1, "apiVersion": 2}, [("apiVersion", "expected a string"), ("kind", "expected a string")]),
    (
        {"kind": "Deployment", "apiVersion": "extensions/v1beta1"},
        [("apiVersion", "Deployment is in apps/v1")],
    ),
    ([], [("", "expected an object, got a list")]),
    (None, [("", "expected an object, got null")]),
]


@pytest.mark.parametrize(("manifest", "expected"), HEADS)
def test_head_of_a_manifest(manifest: Any, expected: list[tuple[str, str]]) -> None:
    _, violations = from_manifest(manifest)
    assert [one.path for one in violations] == [path for path, _ in expected]
    for one, (_, sentence) in zip(violations, expected, strict=True):
        assert sentence in one.message


def test_the_number_of_mistakes_and_the_search_for_what_was_meant_are_bounded() -> None:
    data: Any = {"metadata": {"labels": {str(number): number for number in range(5_000)}}}
    assert len(decode(core.Pod, data).problems) == 1000
    problems = decode(core.Pod, {"spec": {f"nodeNam{number}": 1 for number in range(200_000)}}).problems
    assert len(problems) == 1000
    assert problems[0].message == 'unknown field, did you mean "nodeName"?'
    assert problems[-1].message == "unknown field"


@pytest.mark.parametrize("message_type", [core.TCPSocketAction, core.GRPCAction, core.ResourceFieldSelector])
def test_numbers_of_thousands_of_digits(message_type: Any) -> None:
    name = "divisor" if message_type is core.ResourceFieldSelector else "port"
    _, violations = from_json(message_type, {name: 1 << 20_000})
    assert [one.path for one in violations] == [name]
    assert len(violations[0].message) < 200


names = st.sampled_from(
    ["metadata", "spec", "status", "labels", "name", "containers", "template", "ports", "resources", "limits",
     "creationTimestamp", "env", "conditions", "selector", "volumes", "involvedObject", "eventTime", "x"]
)  # fmt: skip
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "5", "25%", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(kind=st.sampled_from(KINDS), data=st.dictionaries(names, anything, max_size=3))
def test_nothing_raises_and_what_is_accepted_is_stable(kind: Any, data: Any) -> None:
    obj, violations = from_manifest({"apiVersion": kind.api_version, "kind": kind.kind, **data})
    text = json.dumps(codec.to_manifest(obj))
    again, more = from_manifest(json.loads(text))
    assert more == []
    assert json.dumps(codec.to_manifest(again)) == text
    for one in violations:
        assert one.message
