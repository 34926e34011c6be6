"""Patches and client-side apply, worked out on the JSON form: pure but for the words it borrows."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from orchestra.base.errors import BadRequest, invalid
from orchestra.objects.codec import from_json, from_manifest, to_manifest
from orchestra.objects.kinds import ApiObject, Kind, kind_of
from orchestra.objects.lifecycle import copy_of
from orchestra.objects.patches import json_patch, merge_patch, strategic_merge, three_way
from orchestra.pb import autoscaling
from orchestra.store.scaling import check_scalable, scale_of, set_replicas

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
PATCH_TYPES = ("merge", "json", "strategic")


def parse_patch(patch: bytes) -> Any:
    """The patch as JSON. Raises: BadRequest."""
    try:
        said = json.loads(patch)
        if b"\\u" in patch:
            # Half of a surrogate pair is no text: neither can it be stored, nor can its refusal be sent.
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequest("the patch is not JSON: it has half of a surrogate pair in a string") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the patch is not JSON: {error}") from error
    return said


def patched(kind: Kind, old: ApiObject, patch_type: str, patch: Any) -> ApiObject:
    """The object that the patch makes of `old`.

    Raises: BadRequest for a patch that makes no sense, Invalid for a result that is no object of the kind.
    """
    return _object(kind, old.metadata.name, _patched(kind.message, old, patch_type, patch))


def patched_scale(kind: Kind, old: ApiObject, patch_type: str, patch: Any) -> ApiObject:
    """`old` with the replicas that the patch of its scale gives it.

    Raises: NotFound for a kind that cannot be scaled; BadRequest, Invalid.
    """
    check_scalable(kind, old.metadata.name)
    body = _patched(autoscaling.Scale, scale_of(old), patch_type, patch)
    scale, violations = from_json(autoscaling.Scale, _without_type(body))
    if violations:
        raise invalid("Scale", old.metadata.name, violations)
    scaled = copy_of(old)
    set_replicas(scaled, scale, None)
    return scaled


def _patched(message_type: type[Message], old: Message, patch_type: str, patch: Any) -> Any:
    if patch_type == "json":
        # What a JSON patch tests and replaces is what its author was shown; a path through a spec that says
        # nothing is still a path.
        shown = to_manifest(old)
        for part in ("spec", "status"):
            if part in old.DESCRIPTOR.fields_by_name:
                shown.setdefault(part, {})
        return json_patch(shown, patch)
    if patch_type == "merge":
        return merge_patch(to_manifest(old, fill_required=False), patch)
    if patch_type == "strategic":
        return strategic_merge(message_type, to_manifest(old, fill_required=False), patch)
    raise BadRequest(f'unknown patch type "{patch_type}": use one of {", ".join(PATCH_TYPES)}')


def _without_type(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}


def _object(kind: Kind, name: str, body: Any) -> ApiObject:
    obj, violations = from_manifest(body)
    if violations:
        raise invalid(kind.kind, name, violations)
    if obj is None or kind_of(obj) is not kind:
        raise BadRequest(f"a patch must not change apiVersion or kind of a {kind.kind}")
    return obj


def applied_form(obj: ApiObject) -> dict[str, Any]:
    """What the caller of apply says, in JSON, with the record of exactly that in its annotation."""
    said = to_manifest(obj, fill_required=False)
    said.pop("status", None)
    metadata = said.setdefault("metadata", {})
    for server_only in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"):
        metadata.pop(server_only, None)
    annotations = metadata.setdefault("annotations", {})
    annotations.pop(LAST_APPLIED, None)
    record = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    annotations[LAST_APPLIED] = record
    return said


def first_applied(obj: ApiObject, said: Mapping[str, Any]) -> ApiObject:
    """The object to create when there is none: a copy of `obj` with the annotation."""
    new = copy_of(obj)
    new.metadata.annotations[LAST_APPLIED] = said["metadata"]["annotations"][LAST_APPLIED]
    return new


def merged(kind: Kind, current: ApiObject, said: Mapping[str, Any]) -> ApiObject | None:
    """`current` with what changed between the last apply and this one; None when nothing did.

    Raises: BadRequest, Invalid.
    """
    before = current.metadata.annotations.get(LAST_APPLIED, "")
    try:
        original = json.loads(before) if before else {}
    except (ValueError, RecursionError):
        # Somebody edited the annotation: what was applied before is not known, so nothing is taken away.
        original = {}
    if not isinstance(original, dict):
        original = {}
    present = to_manifest(current, fill_required=False)
    patch = three_way(kind.message, original, dict(said), present)
    if not patch:
        return None
    return _object(kind, current.metadata.name, strategic_merge(kind.message, present, patch))
