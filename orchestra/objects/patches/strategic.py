"""Strategic merge patch: merge patch that knows which items of two lists are the same item.

Source: Kubernetes, apimachinery/pkg/util/strategicpatch/patch.go (mergeMap, mergeSlice,
normalizeElementOrder), whose outcomes it reproduces, the order of list items included.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from google.protobuf.message import Message

from orchestra.base.errors import BadRequest
from orchestra.objects.codec.schema import Field, Schema, schema_of
from orchestra.objects.patches.values import check, clone, identity

PATCH: Final = "$patch"
RETAIN_KEYS: Final = "$retainKeys"
SET_ORDER: Final = "$setElementOrder/"
DELETE_FROM: Final = "$deleteFromPrimitiveList/"


def strategic_merge(message_type: type[Message], target: Any, patch: Any) -> dict[str, Any]:
    """The target (an object's JSON) with the patch merged in.

    Raises: BadRequest for a directive or an item that makes no sense. Bound: as load_patch.
    """
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch is an object")
    check(patch)
    return _merge_object(schema_of(message_type), target if isinstance(target, dict) else {}, patch, "")


def _merge_object(
    schema: Schema | None, target: dict[str, Any], patch: dict[str, Any], path: str
) -> dict[str, Any]:
    directive = patch.get(PATCH)
    if directive == "delete":
        return {}
    if directive == "replace":
        plain: dict[str, Any] = plain_copy({key: patch[key] for key in patch if key != PATCH})
        return plain
    if directive is not None:
        raise BadRequest(f'{_at(path, PATCH)}: expected "replace" or "delete"')
    merged = {
        key: value if key in patch and not _is_directive(key) else clone(value)
        for key, value in target.items()
    }
    _retain_keys(merged, patch, path)
    fields = schema.by_name if schema is not None else {}
    ordered: set[str] = set()
    for key, order in patch.items():
        if key.startswith(SET_ORDER):
            name = key.removeprefix(SET_ORDER)
            ordered.add(name)
            _merge_ordered(fields.get(name), merged, patch, name, order, path)
    for key, value in patch.items():
        if _is_directive(key) or key in ordered:
            continue
        place = _at(path, key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge_value(fields.get(key), merged.get(key), value, place)
        elif isinstance(value, list):
            merged[key] = _merge_list(fields.get(key), merged.get(key), value, place)
        else:
            merged[key] = value
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            _delete_from(merged, key.removeprefix(DELETE_FROM), value, _at(path, key))
    return merged


def _retain_keys(merged: dict[str, Any], patch: dict[str, Any], path: str) -> None:
    keys = patch.get(RETAIN_KEYS)
    if keys is None:
        return
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BadRequest(f"{_at(path, RETAIN_KEYS)}: expected a list of keys")
    retained = set(keys)
    for key, value in patch.items():
        if value is not None and not _is_directive(key) and key not in retained:
            raise BadRequest(f'{_at(path, RETAIN_KEYS)}: it must name "{key[:64]}", which the patch sets')
    for key in [key for key in merged if key not in retained]:
        del merged[key]


def _merge_value(field: Field | None, target: Any, patch: dict[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(target, dict) or (field is not None and field.replace):
        plain: dict[str, Any] = plain_copy(patch)
        return plain
    schema = field.schema if field is not None and not field.many else None
    return _merge_object(schema, target, patch, path)


def _merge_list(field: Field | None, target: Any, patch: list[Any], path: str) -> list[Any]:
    """The merged list in Kubernetes' order, nothing shared with either."""
    if not isinstance(target, list):
        return [plain_copy(item) for item in patch if not _speaks(item)]
    if field is not None and field.merge_key:
        return _merge_items(field, target, patch, path)
    if field is not None and field.merge_set:
        added = {identity(value): value for value in patch}
        kept = {identity(value): value for value in target if identity(value) not in added}
        return _interleave(kept.values(), added.values(), _places(map(identity, target)), identity)
    # An item's directives make no sense in a list that is replaced; the codec will name them.
    return [clone(item) for item in patch]


def _merge_items(field: Field, current: list[Any], patch: list[Any], path: str) -> list[Any]:
    replaced, deleted, changes = _sort_out(field.merge_key, patch, path)
    if replaced:
        return [plain_copy(item) for item in changes]
    ident = _ident(field.merge_key)
    wanted = _places(map(ident, changes))
    merged = [item for item in current if ident(item) not in deleted]
    index = {ident(item): at for at, item in reversed(list(enumerate(merged)))}
    changed: set[int] = set()
    for item in changes:
        at = index.setdefault(ident(item), len(merged))
        if at == len(merged):
            merged.append(plain_copy(item))
        else:
            base = merged[at] if isinstance(merged[at], dict) else {}
            merged[at] = _merge_object(field.schema, base, item, f"{path}[{at}]")
        changed.add(at)
    merged = [item if at in changed else clone(item) for at, item in enumerate(merged)]
    return _in_order(merged, wanted, _places(map(ident, current)), ident)


def _sort_out(key: str, patch: list[Any], path: str) -> tuple[bool, set[Hashable], list[dict[str, Any]]]:
    """(whether the list is replaced, the identities of deleted items, the items to merge)."""
    replaced = False
    deleted: set[Hashable] = set()
    changes: list[dict[str, Any]] = []
    for index, item in enumerate(patch):
        place = f"{path}[{index}]"
        if not isinstance(item, dict):
            raise BadRequest(f"{place}: expected an object")
        directive = item.get(PATCH)
        if directive == "replace":
            # It speaks for the list and is no item of it, as in Kubernetes.
            replaced = True
            continue
        if directive not in (None, "delete"):
            raise BadRequest(f'{place}.{PATCH}: expected "replace" or "delete"')
        if item.get(key) is None:
            raise BadRequest(f'{place}: "{key}" is missing: it says which item of the list is meant')
        if directive == "delete":
            deleted.add(identity(item[key]))
        else:
            changes.append(item)
    return replaced, deleted, changes


def _merge_ordered(
    field: Field | None, merged: dict[str, Any], patch: dict[str, Any], name: str, order: Any, path: str
) -> None:
    """Merges one list, then puts its items in the order of its $setElementOrder."""
    place = _at(path, SET_ORDER + name)
    if field is None or not (field.merge_key or field.merge_set):
        raise BadRequest(f"{place}: that is no list whose items are merged")
    if not isinstance(order, list):
        raise BadRequest(f"{place}: expected a list")
    key = field.merge_key
    if key and any(not isinstance(item, dict) or item.get(key) is None for item in order):
        raise BadRequest(f'{place}: expected objects with "{key}"')
    ident = _ident(key)
    wanted = _places(map(ident, order))
    current = merged.get(name)
    changes = patch.get(name)
    if changes is None:
        if name in patch:
            merged.pop(name, None)
            return
        if not isinstance(current, list):
            return
        items = clone(current)
    elif isinstance(changes, list):
        _check_order(ident, changes, wanted, place)
        items = _merge_list(field, current, changes, _at(path, name))
    else:
        raise BadRequest(f"{_at(path, name)}: expected a list")
    before = _places(map(ident, current)) if isinstance(current, list) else {}
    merged[name] = _in_order(items, wanted, before, ident)


def _check_order(
    ident: Callable[[Any], Hashable], changes: list[Any], wanted: dict[Hashable, int], place: str
) -> None:
    last = -1
    for item in changes:
        if _speaks(item):
            continue
        at = wanted.get(ident(item), -1)
        if at < 0 or at < last:
            raise BadRequest(f"{place}: the list in the patch has other items or another order")
        last = at


def _delete_from(merged: dict[str, Any], name: str, values: Any, place: str) -> None:
    if not isinstance(values, list):
        raise BadRequest(f"{place}: expected a list")
    current = merged.get(name)
    if isinstance(current, list):
        deleted = set(map(identity, values))
        merged[name] = [value for value in current if identity(value) not in deleted]


def _in_order(
    items: list[Any],
    wanted: dict[Hashable, int],
    before: dict[Hashable, int],
    ident: Callable[[Any], Hashable],
) -> list[Any]:
    """The items that are wanted in that order, the others among them where they stood before."""
    mine = sorted((item for item in items if ident(item) in wanted), key=lambda item: wanted[ident(item)])
    theirs = [item for item in items if ident(item) not in wanted]
    return _interleave(theirs, mine, before, ident)


def _interleave(
    theirs: Iterable[Any],
    mine: Iterable[Any],
    before: dict[Hashable, int],
    ident: Callable[[Any], Hashable],
) -> list[Any]:
    """One of theirs comes first only if it stood in front of the next of mine; else mine do."""
    merged: list[Any] = []
    ours = list(mine)
    taken = 0
    for item in theirs:
        at = before.get(ident(item))
        while taken < len(ours):
            place = before.get(ident(ours[taken]))
            if at is not None and place is not None and at < place:
                break
            merged.append(ours[taken])
            taken += 1
        merged.append(item)
    return merged + ours[taken:]


def _ident(key: str) -> Callable[[Any], Hashable]:
    """What makes an item the same item: its merge key, or the item itself."""
    if not key:
        return identity
    return lambda item: identity(item.get(key)) if isinstance(item, dict) else identity(item)


def _places(identities: Iterable[Hashable]) -> dict[Hashable, int]:
    """Where each stands first."""
    places: dict[Hashable, int] = {}
    for at, one in enumerate(identities):
        places.setdefault(one, at)
    return places


def plain_copy(value: Any) -> Any:
    """A copy of a patch's value for where there is nothing to merge with: no directives, no nulls."""
    if isinstance(value, dict):
        if value.get(PATCH) == "delete":
            return {}
        return {
            key: plain_copy(item)
            for key, item in value.items()
            if item is not None and not _is_directive(key)
        }
    if isinstance(value, list):
        return [plain_copy(item) for item in value if not _speaks(item)]
    return value


def _speaks(item: Any) -> bool:
    """True for an item that is a directive about the list."""
    return isinstance(item, dict) and PATCH in item


def _is_directive(key: str) -> bool:
    return key in (PATCH, RETAIN_KEYS) or key.startswith((SET_ORDER, DELETE_FROM))


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
