"""kubectl's JSONPath templates: text, `{.a.b}`, `[0]`, `[*]`, `..name`, `[?(@.a=="b")]`, `{range}` … `{end}`.

Source: the template language of `kubectl get -o jsonpath=`; a field that is missing prints nothing.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestra.base.errors import UsageError

_FIELD = re.compile(r"(?:\\.|[^\s.\[\]{}()'\"=<>!,|&])+")
_FILTER = re.compile(r"^\s*(.+?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?)\s*)?$", re.S)
_DEPTH_MAX = 64
_TEMPLATE_MAX = 64 * 1024


@dataclass(slots=True)
class _Step:
    """One step of a path. kind: field, index, slice, all, deep, filter, union, literal."""

    kind: str
    value: Any = None


@dataclass(slots=True)
class _Node:
    """A piece of a template: text, paths (several print one after another), or a range with a body."""

    text: str = ""
    paths: list[list[_Step]] = field(default_factory=list)
    body: "list[_Node] | None" = None


def _wrong(template: str, why: str) -> UsageError:
    return UsageError(f"error parsing jsonpath {template}, {why}")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, why: str) -> UsageError:
        return _wrong(self.text, why)

    def template(self, inside: bool = False, depth: int = 0) -> list[_Node]:
        nodes: list[_Node] = []
        if depth > _DEPTH_MAX:
            raise self.fail("ranges are nested too deep")
        while self.at < len(self.text):
            start = self.text.find("{", self.at)
            if start < 0:
                nodes.append(_Node(self.text[self.at :]))
                self.at = len(self.text)
                break
            if start > self.at:
                nodes.append(_Node(self.text[self.at : start]))
            self.at = start + 1
            action = self.action().strip()
            if action == "end":
                if not inside:
                    raise self.fail("an {end} without a {range}")
                return nodes
            if re.match(r"range\s", action):
                paths = [path(action[5:].strip(), self.text)]
                nodes.append(_Node(paths=paths, body=self.template(True, depth + 1)))
            else:
                nodes.append(_Node(paths=[path(part, self.text) for part in _parts(action)]))
        if inside:
            raise self.fail("a {range} without an {end}")
        return nodes

    def action(self) -> str:
        """What stands up to the brace that closes, quotes respected."""
        quote = ""
        start = self.at
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if quote:
                if character == "\\":
                    self.at += 1
                elif character == quote:
                    quote = ""
            elif character in "'\"":
                quote = character
            elif character == "}":
                return self.text[start : self.at - 1]
        raise self.fail("unclosed action")


def _parts(action: str) -> list[str]:
    """The blank-separated pieces of an action, quotes and brackets respected."""
    parts, piece, quote, depth = [], "", "", 0
    for character in action:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[(":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character.isspace() and not depth:
            if piece:
                parts.append(piece)
            piece = ""
            continue
        piece += character
    return [*parts, piece] if piece else parts


def path(text: str, template: str = "") -> list[_Step]:
    """A path taken apart.

    Raises: UsageError.
    """
    template = template or text
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return [_Step("literal", _unquote(text))]
    rest = text.removeprefix("$").removeprefix("@")
    steps: list[_Step] = []
    while rest:
        if rest.startswith(".."):
            steps.append(_Step("deep"))
            rest = rest[1:] if rest[2:3] != "[" else rest[2:]
        elif rest.startswith("["):
            end = _closing(rest, template)
            steps.append(_bracket(rest[1:end].strip(), template))
            rest = rest[end + 1 :]
        elif rest.startswith(".") or not steps:
            rest = rest.removeprefix(".")
            if rest.startswith("*"):
                steps.append(_Step("all"))
                rest = rest[1:]
            elif match := _FIELD.match(rest):
                steps.append(_Step("field", re.sub(r"\\(.)", r"\1", match[0])))
                rest = rest[match.end() :]
            elif rest and not rest.startswith("["):
                raise _wrong(template, f'"{rest}" is no field')
        else:
            raise _wrong(template, f'unexpected "{rest}"')
    return steps


def _unquote(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            pass
    return text[1:-1].replace("\\n", "\n").replace("\\t", "\t").replace("\\'", "'")


def _closing(text: str, template: str) -> int:
    depth, quote = 0, ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if not depth:
                return at
    raise _wrong(template, "unterminated array")


def _bracket(text: str, template: str) -> _Step:
    if text == "*":
        return _Step("all")
    if text.startswith("?(") and text.endswith(")"):
        match = _FILTER.match(text[2:-1])
        if match is None:
            raise _wrong(template, f"the filter {text} cannot be read")
        left, operator, right = match.groups()
        sides = [_side(left, template), _side(right, template) if right is not None else None]
        return _Step("filter", (sides[0], operator, sides[1]))
    if re.fullmatch(r"-?\d{1,9}", text):
        return _Step("index", int(text))
    if re.fullmatch(r"(-?\d{0,9}):(-?\d{0,9})(:\d{0,9})?", text):
        numbers = [int(part) if part else None for part in text.split(":")]
        if len(numbers) == 3 and numbers[2] == 0:
            raise _wrong(template, "a slice's step must not be 0")
        return _Step("slice", slice(*numbers))
    if text[:1] in "'\"" and text[-1:] == text[:1] and "," not in text:
        return _Step("field", _unquote(text))
    if "," in text:
        return _Step("union", [_bracket(part.strip(), template) for part in text.split(",")])
    raise _wrong(template, f"invalid array index {text}")


def _side(text: str, template: str) -> list[_Step]:
    if text.startswith(("@", "$", ".", "'", '"')):
        return path(text, template)
    try:
        return [_Step("literal", json.loads(text))]
    except ValueError:
        raise _wrong(template, f"unrecognized identifier {text}") from None


def _deep(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        found = stack.pop()
        yield found
        inner = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
        stack.extend(reversed(inner))


def _take(step: _Step, value: Any) -> Iterator[Any]:
    if step.kind == "literal":
        yield step.value
    elif step.kind == "field":
        if isinstance(value, dict) and step.value in value:
            yield value[step.value]
    elif step.kind == "all":
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    elif step.kind == "deep":
        yield from _deep(value)
    elif step.kind == "union":
        for part in step.value:
            yield from _take(part, value)
    elif step.kind == "filter":
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        yield from (item for item in items if _holds(step.value, item))
    elif isinstance(value, list):
        if step.kind == "slice":
            yield from value[step.value]
        elif -len(value) <= step.value < len(value):
            yield value[step.value]


def _holds(wanted: tuple[list[_Step], str | None, list[_Step] | None], item: Any) -> bool:
    left, operator, right = wanted
    found = find(left, item)
    if operator is None or right is None:
        return bool(found)
    other = find(right, item)
    if not found or not other:
        return False
    a, b = found[0], other[0]
    if operator == "==":
        return bool(a == b)
    if operator == "!=":
        return bool(a != b)
    try:
        return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator])
    except TypeError:
        return False


def find(steps: list[_Step], value: Any) -> list[Any]:
    """All values that a path leads to."""
    found = [value]
    for step in steps:
        found = [inner for outer in found for inner in _take(step, outer)]
    return found


def show(value: Any) -> str:
    """A value as a template prints it: text bare, the rest as JSON that is safe in HTML, as Go writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Template:
    """A template, ready to be filled."""

    def __init__(self, text: str) -> None:
        if len(text) > _TEMPLATE_MAX:
            raise UsageError(f"the jsonpath is longer than {_TEMPLATE_MAX} characters")
        self._nodes = _Reader(text).template()

    def fill(self, data: Any) -> str:
        """The text for one object or list."""
        return "".join(_filled(self._nodes, data))

    def values(self, data: Any) -> list[Any]:
        """The values that its paths find, for jsonpath-as-json."""
        return [value for node in self._nodes for steps in node.paths for value in find(steps, data)]


def _filled(nodes: list[_Node], data: Any) -> Iterator[str]:
    for node in nodes:
        if node.body is not None:
            for item in find(node.paths[0], data):
                yield from _filled(node.body, item)
        elif node.paths:
            for steps in node.paths:
                yield " ".join(show(value) for value in find(steps, data))
        else:
            yield node.text


def relaxed(text: str) -> list[_Step]:
    """A path as --sort-by and custom-columns take it: `metadata.name`, `.metadata.name`, `{.a.b}`."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    return path(inner, text)
