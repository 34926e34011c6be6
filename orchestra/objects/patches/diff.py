"""Apply's three-way diff: from what was applied last, what is wanted now and what is there, to a patch.

Source: Kubernetes, apimachinery/pkg/util/strategicpatch/patch.go (CreateThreeWayMergePatch), with two
differences: nothing is in the patch that would change nothing, and a list whose items cannot be told apart by
its merge key (two ports of one number) is replaced as a whole instead of being merged wrongly.
"""

from typing import Any

from google.protobuf.message import Message

from orchestra.objects.codec.schema import Field, Schema, schema_of
from orchestra.objects.patches.strategic import DELETE_FROM, PATCH, RETAIN_KEYS, SET_ORDER, plain_copy
from orchestra.objects.patches.values import check, clone, identity, same


def three_way(message_type: type[Message], original: Any, modified: Any, current: Any) -> dict[str, Any]:
    """The strategic merge patch that brings `current` to `modified`, {} if it is there.

    What `original` has and `modified` has not is deleted; what only `current` has is left alone. A null in
    `modified` deletes too.
    Raises: BadRequest for values beyond the bounds of patches.
    """
    for value in (original, modified, current):
        check(value)
    return _diff_objects(schema_of(message_type), _object(original), _object(modified), _object(current))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _diff_objects(
    schema: Schema | None, original: dict[str, Any], modified: dict[str, Any], current: dict[str, Any]
) -> dict[str, Any]:
    fields = schema.by_name if schema is not None else {}
    patch: dict[str, Any] = {}
    for key, wanted in modified.items():
        field = fields.get(key)
        there = current.get(key)
        if wanted is None:
            if there is not None:
                patch[key] = None
        elif there is None:
            value = plain_copy(wanted)
            if not _means_nothing(field, wanted, value):
                patch[key] = value
        elif isinstance(wanted, dict) and isinstance(there, dict):
            _diff_values(field, patch, key, _object(original.get(key)), wanted, there)
        elif isinstance(wanted, list) and isinstance(there, list):
            before = original.get(key)
            _diff_lists(field, patch, key, before if isinstance(before, list) else [], wanted, there)
        elif not same(wanted, there):
            patch[key] = clone(wanted)
    for key, before in original.items():
        if key not in modified and before is not None and current.get(key) is not None:
            patch[key] = None
    return patch


def _means_nothing(field: Field | None, wanted: Any, value: Any) -> bool:
    """Empty lists and maps are the same as unset ones; an empty message only if it had but nulls."""
    if not isinstance(value, list | dict) or value:
        return False
    return bool(wanted) or (field is not None and (field.many or field.mapping))


def _diff_values(
    field: Field | None,
    patch: dict[str, Any],
    key: str,
    original: dict[str, Any],
    wanted: dict[str, Any],
    there: dict[str, Any],
) -> None:
    if field is not None and field.replace:
        value = plain_copy(wanted)
        if not same(value, there):
            patch[key] = value
        return
    schema = field.schema if field is not None else None
    changes = _diff_objects(schema, original, wanted, there)
    if changes:
        if field is not None and field.retain_keys:
            changes[RETAIN_KEYS] = _keys(wanted)
        patch[key] = changes


def _keys(wanted: dict[str, Any]) -> list[str]:
    return sorted(key for key, value in wanted.items() if value is not None)


def _diff_lists(
    field: Field | None,
    patch: dict[str, Any],
    key: str,
    original: list[Any],
    wanted: list[Any],
    there: list[Any],
) -> None:
    if field is not None and field.merge_key:
        _diff_items(field, patch, key, original, wanted, there)
    elif field is not None and field.merge_set:
        _diff_sets(patch, key, original, wanted, there)
    else:
        value = plain_copy(wanted)
        if not same(value, there):
            patch[key] = value


def _diff_sets(
    patch: dict[str, Any], key: str, original: list[Any], wanted: list[Any], there: list[Any]
) -> None:
    here = {identity(value): value for value in there}
    keep = {identity(value): value for value in wanted}
    added = [value for one, value in keep.items() if one not in here]
    deleted = [value for value in original if identity(value) in here and identity(value) not in keep]
    kept = [one for one in here if one in keep]
    if not added and not deleted and kept == list(keep):
        return
    patch[SET_ORDER + key] = clone(list(keep.values()))
    if added:
        patch[key] = clone(added)
    if deleted:
        patch[DELETE_FROM + key] = clone(deleted)


def _diff_items(
    field: Field, patch: dict[str, Any], key: str, original: list[Any], wanted: list[Any], there: list[Any]
) -> None:
    by_key = field.merge_key
    mine, theirs = _by_identity(by_key, wanted), _by_identity(by_key, there)
    if mine is None or theirs is None:
        values = plain_copy(wanted)
        if not same(values, there):
            patch[key] = [{PATCH: "replace"}, *values]
        return
    before = _by_identity(by_key, original) or {}
    changes: list[dict[str, Any]] = []
    for one, item in mine.items():
        if one not in theirs:
            changes.append(plain_copy(item))
            continue
        change = _diff_objects(field.schema, before.get(one, {}), item, theirs[one])
        if change:
            if field.retain_keys:
                change[RETAIN_KEYS] = _keys(item)
            changes.append({by_key: item[by_key], **change})
    changes.extend(
        {PATCH: "delete", by_key: item[by_key]}
        for one, item in before.items()
        if one in theirs and one not in mine
    )
    if not changes and [one for one in theirs if one in mine] == list(mine):
        return
    patch[SET_ORDER + key] = [{by_key: item[by_key]} for item in mine.values()]
    if changes:
        patch[key] = changes


def _by_identity(key: str, items: list[Any]) -> dict[Any, dict[str, Any]] | None:
    """The items by what their merge key holds; None if that does not tell them apart."""
    found: dict[Any, dict[str, Any]] = {}
    for item in items:
        if not isinstance(item, dict) or item.get(key) is None:
            return None
        found[identity(item[key])] = item
    return found if len(found) == len(items) else None
