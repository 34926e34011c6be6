"""Whole objects: JSON that says by apiVersion and kind what it is."""

from typing import Any

from google.protobuf.message import Message

from orchestra.base.errors import Violation
from orchestra.objects import kinds
from orchestra.objects.codec.decode import decode
from orchestra.objects.codec.encode import to_json
from orchestra.objects.codec.problems import (
    NOT_SUPPORTED,
    REQUIRED,
    TYPE_INVALID,
    FieldProblem,
    shown,
)  # fmt: skip
from orchestra.objects.codec.suggestions import nearest
from orchestra.pb import autoscaling, core, meta

# What has an apiVersion and a kind but is no kind that is stored.
_VIRTUAL: dict[type[Message], tuple[str, str]] = {
    autoscaling.Scale: ("autoscaling/v1", "Scale"),
    core.Binding: ("v1", "Binding"),
    meta.DeleteOptions: ("v1", "DeleteOptions"),
}
_TYPE_META: dict[type[Message], tuple[str, str]] = {
    **{kind.message: (kind.api_version, kind.kind) for kind in kinds.KINDS},
    **_VIRTUAL,
}


def type_meta(message_type: type[Message]) -> tuple[str, str] | None:
    """The (apiVersion, kind) of a message type, None if it is part of an object only."""
    return _TYPE_META.get(message_type)


def to_manifest(obj: Message, *, fill_required: bool = True) -> dict[str, Any]:
    """to_json() with apiVersion and kind in front, where the object has such."""
    body = to_json(obj, fill_required=fill_required)
    found = _TYPE_META.get(type(obj))
    if found is None:
        return body
    return {"apiVersion": found[0], "kind": found[1], **body}


def decode_manifest(
    data: Any, *, strict: bool = True
) -> tuple[kinds.ApiObject | None, tuple[FieldProblem, ...]]:
    """The object of a manifest and everything wrong with it; None if what it is cannot be told."""
    if not isinstance(data, dict):
        return None, (FieldProblem((), f"expected an object, got {shown(data)}", TYPE_INVALID),)
    api_version, kind_name = data.get("apiVersion"), data.get("kind")
    problems = [
        problem
        for problem in (_named("apiVersion", api_version), _named("kind", kind_name))
        if problem is not None
    ]
    kind = None
    if isinstance(kind_name, str) and kind_name:
        kind = kinds.BY_NAME.get(kind_name)
        if kind is None:
            problems.append(FieldProblem(("kind",), _unknown_kind(kind_name), NOT_SUPPORTED))
        elif isinstance(api_version, str) and api_version and api_version != kind.api_version:
            problems.append(
                FieldProblem(("apiVersion",), f"{kind.kind} is in {kind.api_version}", NOT_SUPPORTED)
            )
    if kind is None:
        return None, tuple(problems)
    body = {key: value for key, value in data.items() if key not in ("apiVersion", "kind")}
    decoded = decode(kind.message, body, strict=strict)
    return decoded.message, (*problems, *decoded.problems)


def from_manifest(data: Any, *, strict: bool = True) -> tuple[kinds.ApiObject | None, list[Violation]]:
    """decode_manifest(), with the mistakes as people see them."""
    obj, problems = decode_manifest(data, strict=strict)
    return obj, [problem.violation() for problem in problems]


def _named(field: str, value: Any) -> FieldProblem | None:
    if value is None or value == "":
        example = "apps/v1" if field == "apiVersion" else "Deployment"
        return FieldProblem((field,), f"is missing: every manifest names one, such as {example}", REQUIRED)
    if not isinstance(value, str):
        return FieldProblem((field,), f"expected a string, got {shown(value)}", TYPE_INVALID)
    return None


def _unknown_kind(name: str) -> str:
    exact = kinds.kind_named(name)
    meant = exact.kind if exact is not None else nearest(name, list(kinds.BY_NAME))
    if meant is not None:
        return f'unknown kind {shown(name).removesuffix(" (a string)")}, did you mean "{meant}"?'
    known = ", ".join(kinds.BY_NAME)
    return f"unknown kind {shown(name).removesuffix(' (a string)')}: the kinds are {known}"
