"""Field selectors: any single value of an object, by its path."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.base.errors import BadRequest
from orchestra.objects.selectors import FieldSelector, parse_field_selector
from orchestra.pb import core, meta

POD = core.Pod(
    metadata={
        "name": "web",
        "namespace": "default",
        "generation": 3,
        "creationTimestamp": {"seconds": 1_767_225_600},
    },
    spec={"nodeName": "n1", "hostNetwork": True},
    status={"phase": "Running"},
)
EVENT = core.Event(involvedObject={"uid": "u-1", "kind": "Pod"}, reason="Started", count=2)
VOLUME = core.Volume(volumeSource={"hostPath": {"path": "/a=b,c"}})
NODE = core.Node(metadata={"name": "n1"})

CASES: list[tuple[str, Any, bool]] = [
    ("", POD, True),
    ("metadata.name=web", POD, True),
    ("metadata.name==web", POD, True),
    ("metadata.name!=web", POD, False),
    (" metadata.name = web , spec.nodeName=n1 ", POD, True),
    ("metadata.name=web,spec.nodeName=n2", POD, False),
    ("status.phase!=Failed,status.phase!=Succeeded", POD, True),
    ("metadata.uid=", POD, True),
    ("metadata.uid!=", POD, False),
    ("spec.hostNetwork=true", POD, True),
    ("spec.hostPID=false", POD, True),
    ("spec.hostPID=", POD, True),
    ("spec.hostPID!=false", POD, False),
    ("metadata.generation=3", POD, True),
    ("spec.priority=0", POD, True),
    ("metadata.creationTimestamp=2026-01-01T00:00:00Z", POD, True),
    ("metadata.deletionTimestamp=", POD, True),
    ("involvedObject.uid=u-1,involvedObject.kind=Pod", EVENT, True),
    ("reason=Started,count=2", EVENT, True),
    ("involvedObject.name=", EVENT, True),
    (r"hostPath.path=/a\=b\,c", VOLUME, True),
    ("spec.unschedulable=false", NODE, True),
    ("spec.unschedulable=true", NODE, False),
]


@pytest.mark.parametrize(("text", "obj", "matches"), CASES)
def test_matches(text: str, obj: Any, matches: bool) -> None:
    selector = parse_field_selector(text, type(obj))
    assert selector.matches(obj) is matches
    assert parse_field_selector(str(selector)) == selector


def test_nothing_is_changed_by_reading() -> None:
    pod = core.Pod()
    assert parse_field_selector("spec.nodeName=,status.phase=").matches(pod)
    assert pod == core.Pod()
    assert not pod.HasField("spec")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("metadata.nam=x", 'did you mean "name"?'),
        ("spec=x", "name one of its fields"),
        ("spec.containers=x", "is not a single value"),
        ("metadata.labels=x", "is not a single value"),
        ("metadata.name.x=y", "has no fields"),
        ("spec.zzz=y", 'there is no "zzz"'),
        ("a..b=c", "there is no"),
        ("metadata.name", "is no condition"),
        ("=x", "is no condition"),
        ("metadata.name=a=b", "write \\= for"),
        ("metadata.name=a\\b", "is no escape"),
        ("metadata.name=a\\", "lone"),
        ("a" * 40_000, "longer than"),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_field_selector(text, core.Pod)
    assert sentence in str(caught.value)


def test_refused_when_it_meets_a_kind_without_the_field() -> None:
    selector = parse_field_selector("involvedObject.uid=x")
    with pytest.raises(BadRequest, match="Pod has no field"):
        selector.matches(POD)


def test_exact() -> None:
    selector = parse_field_selector("spec.nodeName=n1,metadata.name!=x")
    assert selector.exact("spec.nodeName") == "n1"
    assert selector.exact("metadata.name") is None
    assert not selector.everything
    assert FieldSelector().everything


@given(st.text(r"ab\,=! .", max_size=8).map(str.strip))
def test_any_value_survives_its_text(value: str) -> None:
    selector = FieldSelector((parse_field_selector("metadata.name=x").requirements[0],))
    named = core.Pod(metadata=meta.ObjectMeta(name=value))
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    selector = parse_field_selector(f"metadata.name={escaped}")
    assert selector.matches(named)
    assert parse_field_selector(str(selector)) == selector
