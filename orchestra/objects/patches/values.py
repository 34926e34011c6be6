"""JSON values: copies, equality, and the bounds of what is accepted from outside."""

import json
from collections.abc import Hashable
from typing import Any, Final, NoReturn

from orchestra.base.errors import BadRequest

PATCH_BYTES_MAX: Final = 3 * 1024 * 1024
DEPTH_MAX: Final = 64


def load_patch(data: bytes) -> Any:
    """The JSON value of a patch's bytes.

    Raises: BadRequest if they are no JSON. Bound: PATCH_BYTES_MAX, DEPTH_MAX.
    """
    if len(data) > PATCH_BYTES_MAX:
        raise BadRequest(f"the patch has {len(data)} bytes; at most {PATCH_BYTES_MAX} are accepted")
    try:
        patch = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise BadRequest(f"the patch is not JSON: {problem}") from None
    check(patch)
    return patch


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def check(patch: Any) -> None:
    """Refuses what is nested too deeply or is too large to work with.

    Raises: BadRequest.
    """
    weigh(patch, PATCH_BYTES_MAX)


def weigh(value: Any, limit: int) -> int:
    """Roughly how many bytes the value has as JSON.

    Raises: BadRequest beyond `limit`, for nesting beyond DEPTH_MAX, and for what is no JSON key.
    """
    total = 0
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for one in level:
            total += 2
            if isinstance(one, dict):
                for key in one:
                    if not isinstance(key, str):
                        raise BadRequest(f"the patch has {str(key)[:64]} as a key: keys are strings")
                    total += len(key)
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, str):
                total += len(one)
            if total > limit:
                raise BadRequest(f"the patch is too large: at most {limit} bytes are accepted")
        if not below:
            return total
        level = below
    raise BadRequest(f"the patch is nested too deeply: at most {DEPTH_MAX} levels are accepted")


def clone(value: Any) -> Any:
    """A copy that shares no list and no object with the value."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1, and 1 is 1.0."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def identity(value: Any) -> Hashable:
    """Equal for values that are the same() and for no others."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, list):
        return "list", *map(identity, value)
    if isinstance(value, dict):
        return "object", frozenset((key, identity(item)) for key, item in value.items())
    hashable: Hashable = value
    return hashable
