"""Messages ⇄ Kubernetes' JSON: every field of every kind, and the exact forms."""

import json
from base64 import b64encode
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from orchestra.objects import codec
from orchestra.objects.codec import Field, Schema, Shape, schema_of
from orchestra.objects.kinds import BY_NAME, KINDS
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import apps, autoscaling, core, meta


def reachable() -> list[Schema]:
    """Every message type that some kind contains, and those of subresources and options."""
    found: dict[str, Schema] = {}
    waiting = [schema_of(kind.message) for kind in KINDS]
    waiting += [
        schema_of(one) for one in (autoscaling.Scale, core.Binding, meta.DeleteOptions, meta.ListMeta)
    ]
    while waiting:
        schema = waiting.pop()
        if schema.name not in found:
            found[schema.name] = schema
            waiting += [field.schema for field in schema.direct.values() if field.schema is not None]
    return list(found.values())


ONE: dict[Shape, Any] = {
    Shape.STRING: "text ü",
    Shape.INT32: -(2**31),
    Shape.INT64: 2**63 - 1,
    Shape.BOOL: True,
    Shape.BYTES: b"\x00\xff",
    Shape.TIME: meta.Time(seconds=1_767_225_600),
    Shape.MICRO_TIME: meta.MicroTime(seconds=1_767_225_600, nanos=123_456_000),
    Shape.QUANTITY: meta.Quantity(string="1500m"),
    Shape.INT_OR_STRING: meta.IntOrString(type=1, strVal="25%"),
    Shape.RAW: meta.FieldsV1(Raw=b'{"f:spec":{"f:replicas":{}}}'),
}
OTHER: dict[Shape, Any] = {
    **ONE,
    Shape.STRING: "",
    Shape.INT32: 0,
    Shape.INT64: 0,
    Shape.BOOL: False,
    Shape.BYTES: b"",
    Shape.INT_OR_STRING: meta.IntOrString(type=0, intVal=8080),
}


def fill(message: Any, schema: Schema, table: dict[Shape, Any]) -> Any:
    """Sets every field: two items in every list and map."""
    for field in schema.direct.values():
        put(message, field, table)
    return message


def put(message: Any, field: Field, table: dict[Shape, Any]) -> None:
    holder = getattr(message, field.name)
    if field.shape is Shape.OBJECT:
        assert field.schema is not None
        if field.mapping:
            fill(holder["key"], field.schema, table)
        elif field.many:
            fill(holder.add(), field.schema, ONE)
            fill(holder.add(), field.schema, OTHER)
        else:
            fill(holder, field.schema, table)
            holder.SetInParent()
        return
    value = table[field.shape]
    if field.mapping:
        for key in ("a", "example.com/b"):
            if isinstance(value, Message):
                holder[key].CopyFrom(value)
            else:
                holder[key] = value
    elif field.many:
        holder.extend([ONE[field.shape], OTHER[field.shape]])
    elif isinstance(value, Message):
        holder.CopyFrom(value)
    else:
        setattr(message, field.name, value)


@pytest.mark.parametrize("schema", reachable(), ids=lambda schema: schema.name)
@pytest.mark.parametrize("table", [ONE, OTHER], ids=["set", "zero"])
def test_every_field_of_every_message(schema: Schema, table: dict[Shape, Any]) -> None:
    message = fill(schema.message_type(), schema, table)
    for fill_required in (True, False):
        data = json.loads(json.dumps(codec.to_json(message, fill_required=fill_required)))
        assert data.keys() == schema.by_name.keys()
        again, violations = codec.from_json(schema.message_type, data)
        assert violations == []
        assert again == message
        assert codec.to_json(again) == data


def test_there_are_many_messages() -> None:
    assert len(reachable()) > 100


@pytest.mark.parametrize("schema", reachable(), ids=lambda schema: schema.name)
def test_an_empty_message_shows_what_is_required(schema: Schema) -> None:
    empty = schema.message_type()
    assert codec.to_json(empty, fill_required=False) == {}
    data = codec.to_json(empty)
    assert set(data) == {field.name for field in schema if field.required}
    again, violations = codec.from_json(schema.message_type, data)
    assert violations == []
    assert codec.to_json(again) == data


def scalars(field: Field) -> st.SearchStrategy[Any]:
    match field.shape:
        case Shape.INT32:
            return st.integers(-(2**31), 2**31 - 1)
        case Shape.INT64:
            return st.integers(-(2**63), 2**63 - 1)
        case Shape.BOOL:
            return st.booleans()
        case Shape.STRING:
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        case Shape.BYTES:
            return st.binary(max_size=8).map(lambda raw: b64encode(raw).decode())
        case Shape.TIME:
            return (
                st.datetimes().map(lambda when: when.replace(microsecond=0).isoformat() + "Z").filter(is_set)
            )
        case Shape.MICRO_TIME:
            return st.datetimes().map(lambda when: f"{when:%H:%M:%S.%f}").map("2026-01-31T{}Z".format)
        case Shape.QUANTITY:
            return st.integers(-(10**9), 10**9).map(
                lambda milli: codec.to_json(quantity_holder(milli))["divisor"]
            )
        case Shape.INT_OR_STRING:
            return st.integers(-(2**31), 2**31 - 1) | st.text("abc%019", max_size=5)
        case _:
            return st.dictionaries(st.text("abc", max_size=3), st.integers(0, 9), max_size=2)


def is_set(text: str) -> bool:
    return text != "1970-01-01T00:00:00Z"


def quantity_holder(milli: int) -> core.ResourceFieldSelector:
    return core.ResourceFieldSelector(divisor=meta.Quantity(string=f"{milli}m"))


@st.composite
def objects(draw: st.DrawFn, schema: Schema, depth: int = 0) -> dict[str, Any]:
    """The JSON of a message with some of its fields."""
    names = sorted(schema.by_name)
    chosen = (
        draw(st.lists(st.sampled_from(names), max_size=5 if depth < 5 else 1, unique=True)) if names else []
    )
    data: dict[str, Any] = {}
    for name in chosen:
        field = schema.by_name[name]
        item = objects(field.schema, depth + 1) if field.schema is not None else scalars(field)
        if field.many:
            data[name] = draw(st.lists(item, min_size=1, max_size=2))
        elif field.mapping:
            data[name] = draw(st.dictionaries(st.text("abc/.", max_size=4), item, min_size=1, max_size=2))
        else:
            data[name] = draw(item)
    return data


@given(st.data())
def test_json_to_message_and_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    wanted = data.draw(objects(schema_of(kind.message)))
    manifest = {"apiVersion": kind.api_version, "kind": kind.kind, **wanted}
    obj, violations = codec.from_manifest(manifest)
    assert violations == []
    assert without_empty(codec.to_manifest(obj, fill_required=False)) == without_empty(manifest)
    filled = codec.to_manifest(obj)
    assert codec.to_manifest(codec.from_manifest(filled)[0]) == filled


def without_empty(data: Any) -> Any:
    """Without {}: an inlined message that is empty cannot be told from one that is unset."""
    if isinstance(data, dict):
        found = {key: without_empty(value) for key, value in data.items()}
        return {key: value for key, value in found.items() if value != {}}
    return [without_empty(item) for item in data] if isinstance(data, list) else data


FORMS: list[tuple[Any, dict[str, Any]]] = [
    (core.Volume(name="v", volumeSource=core.VolumeSource(hostPath=core.HostPathVolumeSource(path="/x"))),
     {"name": "v", "hostPath": {"path": "/x"}}),
    (core.Probe(handler=core.ProbeHandler(tcpSocket=core.TCPSocketAction(port=meta.IntOrString(intVal=80))),
                periodSeconds=5), {"tcpSocket": {"port": 80}, "periodSeconds": 5}),
    (core.EnvVarSource(configMapKeyRef=core.ConfigMapKeySelector(
        localObjectReference=core.LocalObjectReference(name="m"), key="k")),
     {"configMapKeyRef": {"name": "m", "key": "k"}}),
    (core.ServicePort(port=80, targetPort=meta.IntOrString(type=1, strVal="http")),
     {"port": 80, "targetPort": "http"}),
    (core.ResourceRequirements(limits={"cpu": meta.Quantity(string="0.5")}), {"limits": {"cpu": "500m"}}),
    (core.ResourceRequirements(limits={"cpu": meta.Quantity(string="nonsense")}),
     {"limits": {"cpu": "nonsense"}}),
    (meta.ObjectMeta(generation=5, creationTimestamp=meta.Time(seconds=1_767_225_600, nanos=999)),
     {"generation": 5, "creationTimestamp": "2026-01-01T00:00:00Z"}),
    (meta.ObjectMeta(creationTimestamp=meta.Time()), {}),
    (core.EventSeries(lastObservedTime=meta.MicroTime(seconds=1_767_225_600, nanos=5_000)),
     {"lastObservedTime": "2026-01-01T00:00:00.000005Z"}),
    (core.Event(message="m"), {"message": "m", "metadata": {}, "involvedObject": {}}),
    (core.Container(), {"name": ""}),
    (core.PodSpec(), {"containers": []}),
    (core.NodeDaemonEndpoints(kubeletEndpoint=core.DaemonEndpoint()), {"kubeletEndpoint": {"Port": 0}}),
    (meta.Condition(type="Ready"),
     {"type": "Ready", "status": "", "lastTransitionTime": None, "reason": "", "message": ""}),
    (apps.DeploymentSpec(replicas=0), {"replicas": 0, "selector": {}, "template": {}}),
    (apps.ReplicaSetStatus(), {"replicas": 0}),
    (core.ContainerStatus(), {"name": "", "ready": False, "restartCount": 0, "image": "", "imageID": ""}),
    (core.HTTPGetAction(), {"port": 0}),
    (core.PreferredSchedulingTerm(), {"weight": 0, "preference": {}}),
    (meta.ManagedFieldsEntry(fieldsV1=meta.FieldsV1(Raw=b'{"f:a":{}}')), {"fieldsV1": {"f:a": {}}}),
    (meta.ManagedFieldsEntry(fieldsV1=meta.FieldsV1(Raw=b"broken")), {"fieldsV1": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), FORMS, ids=[json.dumps(row[1])[:40] for row in FORMS])
def test_form(message: Any, expected: dict[str, Any]) -> None:
    assert codec.to_json(message) == expected


ACCEPTED: list[tuple[Any, dict[str, Any], Any]] = [
    (core.Pod, {"metadata": {"creationTimestamp": None}, "spec": None, "status": {}},
     core.Pod(metadata={}, status={})),
    (core.PodSpec, {"containers": None, "nodeSelector": None, "hostNetwork": None}, core.PodSpec()),
    (core.Container, {"name": "c", "resources": {}}, core.Container(name="c", resources={})),
    (core.ResourceRequirements, {"limits": {"cpu": 1, "memory": 0.5, "x": "1024Mi"}},
     core.ResourceRequirements(limits={
         name: meta.Quantity(string=text) for name, text in (("cpu", "1"), ("memory", "500m"), ("x", "1Gi"))
     })),
    (meta.ObjectMeta, {"creationTimestamp": "2026-01-01T01:00:00.25+01:00"},
     meta.ObjectMeta(creationTimestamp=meta.Time(seconds=1_767_225_600))),
    (core.Event, {"eventTime": "2026-01-01T00:00:00.1234567Z"},
     core.Event(eventTime=meta.MicroTime(seconds=1_767_225_600, nanos=123_456_000))),
    (core.TCPSocketAction, {"port": 80}, core.TCPSocketAction(port=meta.IntOrString(type=0, intVal=80))),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "data", "expected"), ACCEPTED)
def test_accepted(message_type: Any, data: dict[str, Any], expected: Any) -> None:
    message, violations = codec.from_json(message_type, data)
    assert violations == []
    assert message == expected


def test_enumerations_and_bytes() -> None:
    request = api.PatchRequest(kind=api.POD, name="web", patch=b"\x00\xff")
    data = codec.to_json(request)
    assert data == {"kind": "POD", "name": "web", "patch": "AP8="}
    assert codec.from_json(api.PatchRequest, data) == (request, [])
    _, violations = codec.from_json(api.PatchRequest, {"kind": "UNICORN", "patch": "?"})
    assert [one.path for one in violations] == ["kind", "patch"]
    assert "expected one of KIND_UNSPECIFIED, NAMESPACE" in violations[0].message
    assert "expected a string in base64" in violations[1].message


def test_manifest_order_and_type() -> None:
    pod = core.Pod(spec={"nodeName": "n"}, metadata={"name": "web"}, status={"phase": "Running"})
    assert list(codec.to_manifest(pod)) == ["apiVersion", "kind", "metadata", "spec", "status"]
    for kind in KINDS:
        manifest = codec.to_manifest(kind.new())
        assert (manifest["apiVersion"], manifest["kind"]) == (kind.api_version, kind.kind)
        obj, violations = codec.from_manifest(manifest)
        assert violations == []
        assert type(obj) is BY_NAME[kind.kind].message
    assert codec.to_manifest(autoscaling.Scale())["apiVersion"] == "autoscaling/v1"
    assert "kind" not in codec.to_manifest(core.Container())
    assert codec.type_meta(core.Container) is None


def test_maps_are_written_in_order():
    # Protobuf's own order differs from process to process; a person's diff must not.
    keys = [f"k{number:03}" for number in range(100)]
    obj = core.Pod(metadata=meta.ObjectMeta(name="a", labels=dict.fromkeys(reversed(keys), "v")))
    assert list(codec.to_json(obj)["metadata"]["labels"]) == keys
