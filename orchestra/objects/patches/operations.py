"""JSON patch: a list of operations. Source: RFC 6902, with pointers of RFC 6901."""

import re
from typing import Any, Final

from orchestra.base.errors import BadRequest, Invalid
from orchestra.objects.patches.values import PATCH_BYTES_MAX, check, clone, same, weigh

OPERATIONS_MAX: Final = 10_000

_INDEX = re.compile(r"0|[1-9]\d{0,9}", re.ASCII)
_BAD_ESCAPE = re.compile(r"~(?![01])")
_NEEDS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}


def json_patch(target: Any, ops: Any) -> Any:
    """The target after all operations; if one fails, none counts.

    Raises: BadRequest for what is no patch, Invalid for an operation that does not fit the target.
    Bound: OPERATIONS_MAX operations, PATCH_BYTES_MAX in values, and as much again in copies.
    """
    if not isinstance(ops, list):
        raise BadRequest("a JSON patch is a list of operations")
    if len(ops) > OPERATIONS_MAX:
        raise BadRequest(f"the patch has {len(ops)} operations; at most {OPERATIONS_MAX} are accepted")
    check(ops)
    run = _Run(clone(target))
    for number, op in enumerate(ops):
        run.apply(op, f"operation {number}")
    return run.document


class _Run:
    """One application: the document so far."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.copied = 0

    def apply(self, op: Any, where: str) -> None:
        if not isinstance(op, dict):
            raise BadRequest(f"{where}: expected an object")
        name = op.get("op")
        if not isinstance(name, str) or name not in _NEEDS:
            raise BadRequest(f'{where}: "op" must be one of {", ".join(_NEEDS)}')
        for needed in _NEEDS[name]:
            if needed not in op:
                raise BadRequest(f'{where} ({name}): "{needed}" is missing')
        where = f"{where} ({name} {op.get('path')!s:.200})"
        path = _pointer(op.get("path"), where)
        match name:
            case "add":
                self.add(path, clone(op["value"]), where)
            case "remove":
                self.remove(path, where)
            case "replace":
                self.replace(path, clone(op["value"]), where)
            case "test":
                if not same(self.find(path, where), op["value"]):
                    raise Invalid(f"{where}: the value there is another one")
            case "copy":
                value = self.find(_pointer(op["from"], where), where)
                self.copied += weigh(value, PATCH_BYTES_MAX)
                if self.copied > PATCH_BYTES_MAX:
                    raise BadRequest(f"{where}: the copies are too large")
                self.add(path, clone(value), where)
            case "move":
                self.move(_pointer(op["from"], where), path, where)

    def find(self, path: list[str], where: str) -> Any:
        value = self.document
        for step in path:
            if isinstance(value, dict):
                if step not in value:
                    raise Invalid(f'{where}: there is no "{step[:64]}"')
                value = value[step]
            elif isinstance(value, list):
                value = value[_index(step, len(value) - 1, where)]
            else:
                raise Invalid(f'{where}: there is no "{step[:64]}"')
        return value

    def add(self, path: list[str], value: Any, where: str) -> None:
        if not path:
            self.document = value
            return
        parent, last = self.find(path[:-1], where), path[-1]
        if isinstance(parent, dict):
            parent[last] = value
        elif isinstance(parent, list):
            parent.insert(len(parent) if last == "-" else _index(last, len(parent), where), value)
        else:
            raise Invalid(f'{where}: what should hold "{last[:64]}" is neither an object nor a list')

    def remove(self, path: list[str], where: str) -> Any:
        if not path:
            raise Invalid(f"{where}: the whole object cannot be removed")
        value = self.find(path, where)
        parent = self.find(path[:-1], where)
        del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]
        return value

    def replace(self, path: list[str], value: Any, where: str) -> None:
        self.find(path, where)
        if not path:
            self.document = value
            return
        parent = self.find(path[:-1], where)
        parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = value

    def move(self, source: list[str], path: list[str], where: str) -> None:
        if source == path:
            self.find(source, where)
            return
        if path[: len(source)] == source:
            raise Invalid(f"{where}: a value cannot be moved into itself")
        self.add(path, self.remove(source, where), where)


def _pointer(text: Any, where: str) -> list[str]:
    if not isinstance(text, str):
        raise BadRequest(f"{where}: a path must be a string such as /spec/replicas")
    if not text:
        return []
    if not text.startswith("/"):
        raise BadRequest(f'{where}: a path must be empty or begin with "/"')
    if _BAD_ESCAPE.search(text):
        raise BadRequest(f'{where}: in a path write "~0" for "~" and "~1" for "/"')
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _index(step: str, most: int, where: str) -> int:
    if not _INDEX.fullmatch(step):
        raise Invalid(f'{where}: "{step[:64]}" is no index of a list')
    index = int(step)
    if index > most:
        raise Invalid(f"{where}: the list has no index {index}")
    return index
