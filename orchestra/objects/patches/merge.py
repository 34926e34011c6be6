"""JSON merge patch. Source: RFC 7386."""

from typing import Any

from orchestra.objects.patches.values import check, clone


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with the patch's fields set, and those removed that the patch has as null.

    Raises: BadRequest for a patch beyond the bounds.
    """
    check(patch)
    return _merged(target, patch)


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return {key: value if key in patch else clone(value) for key, value in merged.items()}
