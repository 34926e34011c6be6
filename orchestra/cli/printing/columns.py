"""-o custom-columns=NAME:.metadata.name,… and --sort-by."""

import re
from collections.abc import Sequence
from typing import Any

from orchestra.base.errors import UsageError
from orchestra.cli.printing.jsonpath import find, relaxed, show
from orchestra.cli.printing.tables import plain_table


class CustomColumns:
    """A table whose columns the person names."""

    def __init__(self, spec: str, *, headers: bool = True) -> None:
        if not spec:
            raise UsageError("custom-columns format specified but no custom columns given")
        self._columns = []
        for part in _split(spec):
            name, colon, path = part.partition(":")
            if not colon or not path:
                raise UsageError(
                    f'unexpected custom-columns spec: "{part}", expected <header>:<json-path-expr>'
                )
            self._columns.append((name, relaxed(path)))
        self._headers = headers

    def text(self, manifests: Sequence[dict[str, Any]]) -> str:
        """The whole table."""
        rows = [[self._cell(steps, data) for _, steps in self._columns] for data in manifests]
        return plain_table([name for name, _ in self._columns], rows, headers=self._headers)

    @staticmethod
    def _cell(steps: list[Any], data: dict[str, Any]) -> str:
        return ",".join(show(value) for value in find(steps, data)) or "<none>"


def _split(spec: str) -> list[str]:
    """At commas that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(spec):
        depth += (character in "[(") - (character in ")]")
        if character == "," and not depth:
            parts.append(spec[start:at])
            start = at + 1
    return [*parts, spec[start:]]


def from_file(text: str) -> str:
    """The spec in a custom-columns-file: a line of headers over a line of paths."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]):
        raise UsageError("a custom-columns-file has one line of headers and one of as many paths")
    return ",".join(f"{name}:{path}" for name, path in zip(*lines, strict=True))


def _order(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return 1, int(value)
    if isinstance(value, int | float):
        return 1, value
    if isinstance(value, str):
        amount = _quantity(value)
        if amount is not None:
            return 1, amount
        pieces = re.split(r"(\d+)", value)
        return 2, tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in pieces)
    return (0, 0) if value is None else (3, show(value))


def _quantity(text: str) -> int | None:
    """What a quantity (`100m`, `2Gi`) amounts to, so that amounts sort by size; None for other text."""
    if not re.fullmatch(r"[+-]?[\d.]{1,30}([numkMGTPE]|[KMGTPE]i)?", text):
        return None
    from orchestra.objects.quantity import parse_quantity

    try:
        return parse_quantity(text).nanos
    except ValueError:
        return None


def sort_by(expression: str, manifests: Sequence[dict[str, Any]]) -> list[int]:
    """The order of the manifests by what a path finds in each; those without come first."""
    steps = relaxed(expression)
    keys = [_order(next(iter(find(steps, data)), None)) for data in manifests]
    if manifests and all(key == (0, 0) for key in keys):
        raise UsageError(f'couldn\'t find any field with path "{expression}" in the list of objects')
    return sorted(range(len(manifests)), key=keys.__getitem__)
