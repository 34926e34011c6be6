"""Message → JSON value."""

from base64 import b64encode
from collections.abc import Callable
from json import JSONDecodeError, loads
from typing import Any, TypeAlias

from google.protobuf.message import Message

from orchestra.objects import intstr
from orchestra.objects.codec.schema import Field, Schema, Shape, schema_of
from orchestra.objects.quantity import canonical
from orchestra.objects.times import format_micros, format_seconds

# Takes a value and whether required fields are filled in; None stands for "the value itself".
_Convert: TypeAlias = Callable[[Any, bool], Any] | None


class _Plan:
    """What to do with each field of one message type, by its number."""

    __slots__ = ("fields", "order", "required")

    def __init__(self) -> None:
        # (name, inline, convert)
        self.fields: dict[int, tuple[str, bool, _Convert]] = {}
        # Names as they follow each other, inlined ones included.
        self.order: tuple[str, ...] = ()
        # (name, inline, the value to write when unset)
        self.required: tuple[tuple[str, bool, Callable[[], Any]], ...] = ()

    def encode(self, message: Any, fill: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        fields = self.fields
        for descriptor, value in message.ListFields():
            name, inline, convert = fields[descriptor.number]
            if convert is None:
                out[name] = value
                continue
            value = convert(value, fill)
            if inline:
                out.update(value)
            elif value is not None:
                out[name] = value
        return self.filled(out) if fill and self.required else out

    def filled(self, out: dict[str, Any]) -> dict[str, Any]:
        """With required fields that are unset, all in the order of the fields."""
        missing: dict[str, Any] = {}
        for name, inline, zero in self.required:
            if inline:
                missing.update({key: value for key, value in zero().items() if key not in out})
            elif name not in out:
                missing[name] = zero()
        if not missing:
            return out
        out.update(missing)
        return {name: out[name] for name in self.order if name in out}


_plans: dict[str, _Plan] = {}


def to_json(obj: Message, *, fill_required: bool = True) -> dict[str, Any]:
    """The message as Kubernetes' JSON, without apiVersion and kind.

    fill_required: unset required fields are written too, as zero, "", [], {} or (a time) null; without it
    only what is set is written, and from_json gives back an equal message.
    """
    return _plan_of(obj.DESCRIPTOR.full_name, obj).encode(obj, fill_required)


def value_to_json(shape: Shape, value: Any) -> Any:
    """One value of a field that is no object: for selectors and printers."""
    convert = _SPECIAL.get(shape)
    return value if convert is None else convert(value, True)


def _plan_of(name: str, obj: Message) -> _Plan:
    plan = _plans.get(name)
    return plan if plan is not None else _build(schema_of(type(obj)), name)


def _build(schema: Schema, name: str) -> _Plan:
    plan = _plans.get(name)
    if plan is not None:
        return plan
    plan = _plans[name] = _Plan()
    for number, field in schema.direct.items():
        plan.fields[number] = (field.name, field.inline, _converter(field))
    plan.order = tuple(schema.by_name)
    plan.required = tuple(
        (field.name, field.inline, _zero(field))
        for field in schema.direct.values()
        if field.required or (field.inline and _has_required(field))
    )
    return plan


def _has_required(field: Field) -> bool:
    return field.schema is not None and bool(field.schema.required)


def _converter(field: Field) -> _Convert:
    single = _single(field)
    if field.mapping:
        # In order, because protobuf's own order differs from process to process.
        if single is None:
            return lambda values, _fill: {key: values[key] for key in sorted(values)}
        return lambda values, fill: {key: single(values[key], fill) for key in sorted(values)}
    if field.many:
        if single is None:
            return lambda values, _fill: list(values)
        return lambda values, fill: [single(value, fill) for value in values]
    return single


def _single(field: Field) -> _Convert:
    if field.schema is not None:
        return _build(field.schema, field.schema.message_type.DESCRIPTOR.full_name).encode
    if field.enum is not None:
        names = {value.number: value.name for value in field.enum.values}
        return lambda value, _fill: names.get(value, value)
    return _SPECIAL.get(field.shape)


def _zero(field: Field) -> Callable[[], Any]:
    if field.mapping:
        return dict
    if field.many:
        return list
    if field.schema is not None:
        empty = field.schema.message_type()
        plan = _build(field.schema, empty.DESCRIPTOR.full_name)
        return lambda: plan.encode(empty, True)
    return _ZEROS[field.shape]


def _time(value: Any, _fill: bool) -> str | None:
    # An empty Time is how Kubernetes' protobuf clients write an unset one.
    return format_seconds(value.seconds) if value.seconds or value.nanos else None


def _micro_time(value: Any, _fill: bool) -> str | None:
    return format_micros(value.seconds, value.nanos) if value.seconds or value.nanos else None


def _quantity(value: Any, _fill: bool) -> str:
    try:
        return canonical(value.string) if value.string else "0"
    except ValueError:
        # Shown as it is: refusing it is validation's business.
        return str(value.string)


def _int_or_string(value: Any, _fill: bool) -> int | str:
    return intstr.value_of(value)


def _raw(value: Any, _fill: bool) -> Any:
    try:
        return loads(value.Raw) if value.Raw else {}
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _bytes(value: Any, _fill: bool) -> str:
    return b64encode(value).decode("ascii")


_SPECIAL: dict[Shape, Callable[[Any, bool], Any]] = {
    Shape.TIME: _time,
    Shape.MICRO_TIME: _micro_time,
    Shape.QUANTITY: _quantity,
    Shape.INT_OR_STRING: _int_or_string,
    Shape.RAW: _raw,
    Shape.BYTES: _bytes,
}


def _nothing() -> None:
    return None


_ZEROS: dict[Shape, Callable[[], Any]] = {
    Shape.STRING: str,
    Shape.BYTES: str,
    Shape.ENUM: str,
    Shape.INT32: int,
    Shape.INT64: int,
    Shape.BOOL: bool,
    Shape.TIME: _nothing,
    Shape.MICRO_TIME: _nothing,
    Shape.QUANTITY: lambda: "0",
    Shape.INT_OR_STRING: int,
    Shape.RAW: dict,
}
