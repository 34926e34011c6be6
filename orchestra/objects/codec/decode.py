"""JSON value → message, strict, with every mistake collected."""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from json import dumps
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from orchestra.base.errors import Violation
from orchestra.objects import intstr
from orchestra.objects.codec.problems import (
    PROBLEMS_MAX,
    TYPE_INVALID,
    UNKNOWN,
    FieldProblem,
    MapKey,
    Path,
    shown,
)  # fmt: skip
from orchestra.objects.codec.schema import Field, Schema, Shape, schema_of
from orchestra.objects.codec.suggestions import unknown_field
from orchestra.objects.quantity import canonical
from orchestra.objects.times import parse_rfc3339

M = TypeVar("M", bound=Message)

_SURROGATE = "expected a string of Unicode characters, got half of a surrogate pair"

SUGGESTIONS_MAX = 100

# A path under construction: the way to the parent, and the last step. None is the root.
_Way: TypeAlias = tuple[Any, str | int] | None


@dataclass(frozen=True, slots=True)
class Decoded(Generic[M]):
    """The message, holding whatever was right, and everything that was wrong."""

    message: M
    problems: tuple[FieldProblem, ...]


def decode(message_type: type[M], data: Any, *, strict: bool = True) -> Decoded[M]:
    """The message of a JSON value.

    null means unset. strict: unknown fields are mistakes too. Bound: 1000 mistakes are kept.
    """
    message = message_type()
    run = _Run(strict)
    if isinstance(data, dict):
        run.fill(schema_of(message_type), message, data, None)
    else:
        run.wrong(None, "an object", data)
    return Decoded(message, tuple(run.problems))


def from_json(
    message_type: type[M], data: Any, *, path: str = "", strict: bool = True
) -> tuple[M, list[Violation]]:
    """decode(), with the mistakes as people see them. path: where the value itself stands."""
    decoded = decode(message_type, data, strict=strict)
    return decoded.message, [problem.violation(path) for problem in decoded.problems]


class _Wrong(Exception):
    """A value that does not fit its field; str() says why."""


class _Run:
    """One decoding: what has been wrong so far."""

    __slots__ = ("problems", "strict")

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.problems: list[FieldProblem] = []

    def add(self, way: _Way, message: str, reason: str = TYPE_INVALID) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(FieldProblem(_path(way), message, reason))

    def wrong(self, way: _Way, expected: str, value: Any) -> None:
        self.add(way, f"expected {expected}, got {shown(value)}")

    def fill(self, schema: Schema, message: Any, data: dict[Any, Any], way: _Way) -> None:
        fields = schema.by_name
        for key, value in data.items():
            field = fields.get(key)
            if field is None:
                self.unknown(schema, key, way)
            elif value is not None:
                self.fill_field(field, field.holder(message) if field.via else message, value, (way, key))

    def unknown(self, schema: Schema, key: Any, way: _Way) -> None:
        if not isinstance(key, str):
            self.add((way, MapKey(key)), f"expected a field's name, got {shown(key)}: put it in quotes")
        elif self.strict:
            # Looking for what was meant takes its time; the first mistakes are those that a person reads.
            clear = len(self.problems) < SUGGESTIONS_MAX
            self.add((way, key), unknown_field(schema, key) if clear else "unknown field", UNKNOWN)

    def fill_field(self, field: Field, holder: Any, value: Any, way: _Way) -> None:
        name = field.name
        if field.many:
            if not isinstance(value, list):
                hint = ': begin each item with "- "' if isinstance(value, dict) else ""
                self.add(way, f"expected a list, got {shown(value)}{hint}")
            elif value:
                self.fill_list(field, getattr(holder, name), value, way)
        elif field.mapping:
            if not isinstance(value, dict):
                self.wrong(way, "an object", value)
            elif value:
                self.fill_map(field, getattr(holder, name), value, way)
        elif field.shape in _MESSAGES:
            self.fill_message(field, getattr(holder, name), value, way)
        else:
            try:
                setattr(holder, name, _READERS[field.shape](value, field))
            except _Wrong as problem:
                self.add(way, str(problem))
            except UnicodeEncodeError:
                self.add(way, _SURROGATE)

    def fill_list(self, field: Field, values: Any, items: list[Any], way: _Way) -> None:
        if field.shape in _MESSAGES:
            for index, item in enumerate(items):
                self.fill_message(field, values.add(), item, (way, index))
            return
        read = _READERS[field.shape]
        for index, item in enumerate(items):
            try:
                values.append(read(item, field))
            except _Wrong as problem:
                self.add((way, index), str(problem))
            except UnicodeEncodeError:
                self.add((way, index), _SURROGATE)

    def fill_map(self, field: Field, values: Any, items: dict[Any, Any], way: _Way) -> None:
        for key, item in items.items():
            if not isinstance(key, str):
                self.add((way, MapKey(key)), f"expected a string as key, got {shown(key)}: put it in quotes")
                continue
            place = (way, MapKey(key))
            try:
                if field.shape in _MESSAGES:
                    self.fill_message(field, values[key], item, place)
                else:
                    values[key] = _READERS[field.shape](item, field)
            except _Wrong as problem:
                self.add(place, str(problem))
            except UnicodeEncodeError:
                self.add(place, _SURROGATE)

    def fill_message(self, field: Field, message: Any, value: Any, way: _Way) -> None:
        if field.schema is not None:
            if isinstance(value, dict):
                message.SetInParent()
                self.fill(field.schema, message, value, way)
            else:
                hint = ': leave out the "- "' if isinstance(value, list) else ""
                self.add(way, f"expected an object, got {shown(value)}{hint}")
            return
        try:
            _WRITERS[field.shape](message, value)
        except _Wrong as problem:
            self.add(way, str(problem))
        except UnicodeEncodeError:
            self.add(way, _SURROGATE)


def _path(way: _Way) -> Path:
    steps: list[str | int] = []
    while way is not None:
        way, step = way
        steps.append(step)
    return tuple(reversed(steps))


def _string(value: Any, _field: Field) -> str:
    if isinstance(value, str):
        return value
    hint = "" if isinstance(value, list | dict) else ': write ""' if value is None else ": put it in quotes"
    raise _Wrong(f"expected a string, got {shown(value)}{hint}")


def _integer(least: int, most: int) -> Callable[[Any, Field], int]:
    def read(value: Any, _field: Field) -> int:
        if type(value) is not int:
            raise _Wrong(f"expected a whole number, got {shown(value)}{_unquote(value)}")
        if not least <= value <= most:
            raise _Wrong(f"expected a number from {least} to {most}, got {shown(value)}")
        return value

    return read


def _unquote(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 20:
        return ""
    try:
        int(value)
    except ValueError:
        return ""
    return ": remove the quotes"


def _bool(value: Any, _field: Field) -> bool:
    if isinstance(value, bool):
        return value
    hint = ""
    if isinstance(value, str):
        word = value.lower()
        if word in ("true", "false"):
            hint = ": remove the quotes"
        elif word in ("yes", "on", "y"):
            hint = ": write true"
        elif word in ("no", "off", "n"):
            hint = ": write false"
    raise _Wrong(f"expected true or false, got {shown(value)}{hint}")


def _bytes(value: Any, _field: Field) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise _Wrong(f"expected a string in base64, got {shown(value)}") from None


def _enum(value: Any, field: Field) -> int:
    if field.enum is not None and isinstance(value, str) and value in field.enum.values_by_name:
        return int(field.enum.values_by_name[value].number)
    names = ", ".join(field.enum.values_by_name) if field.enum is not None else ""
    raise _Wrong(f"expected one of {names}, got {shown(value)}")


_READERS: dict[Shape, Callable[[Any, Field], Any]] = {
    Shape.STRING: _string,
    Shape.INT32: _integer(-(2**31), 2**31 - 1),
    Shape.INT64: _integer(-(2**63), 2**63 - 1),
    Shape.BOOL: _bool,
    Shape.BYTES: _bytes,
    Shape.ENUM: _enum,
}


def _parsed_time(value: Any) -> tuple[int, int]:
    if not isinstance(value, str):
        raise _Wrong(
            f"expected a time such as 2026-01-31T12:00:00Z, got {shown(value)}"
            + ("" if value is None or isinstance(value, list | dict) else ": put it in quotes")
        )
    try:
        return parse_rfc3339(value)
    except ValueError as problem:
        raise _Wrong(str(problem)) from None


def _write_time(message: Any, value: Any) -> None:
    message.seconds = _parsed_time(value)[0]


def _write_micro_time(message: Any, value: Any) -> None:
    seconds, nanos = _parsed_time(value)
    message.seconds = seconds
    message.nanos = nanos // 1000 * 1000


def _write_quantity(message: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Wrong(f"expected a quantity such as 500m or 128Mi, got {shown(value)}")
    try:
        message.string = canonical(value if isinstance(value, str) else repr(value))
    except ValueError as problem:
        raise _Wrong(str(problem)) from None


def _write_int_or_string(message: Any, value: Any) -> None:
    if isinstance(value, str):
        message.type = intstr.STRING
        message.strVal = value
    elif type(value) is not int:
        raise _Wrong(f"expected a whole number or a string, got {shown(value)}")
    elif not -(2**31) <= value < 2**31:
        raise _Wrong(f"expected a number from {-(2**31)} to {2**31 - 1}, got {shown(value)}")
    else:
        message.type = intstr.INT
        message.intVal = value


def _write_raw(message: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise _Wrong(f"expected an object, got {shown(value)}")
    try:
        message.Raw = dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise _Wrong(f"expected an object that is JSON: {problem}") from None


_WRITERS: dict[Shape, Callable[[Any, Any], None]] = {
    Shape.TIME: _write_time,
    Shape.MICRO_TIME: _write_micro_time,
    Shape.QUANTITY: _write_quantity,
    Shape.INT_OR_STRING: _write_int_or_string,
    Shape.RAW: _write_raw,
}
_MESSAGES = frozenset((Shape.OBJECT, *_WRITERS))
