"""Field selectors: `spec.nodeName=n1,status.phase!=Running`, over any single value of an object."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from orchestra.base.errors import BadRequest
from orchestra.objects.codec.encode import value_to_json
from orchestra.objects.codec.schema import Field, Shape, schema_of
from orchestra.objects.codec.suggestions import nearest

SELECTOR_LENGTH_MAX: Final = 32_768

_Reader: TypeAlias = Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition: the field at `path` has, or has not, this value."""

    path: str
    value: str
    negated: bool = False

    def matches(self, obj: Message) -> bool:
        """True if the object fulfils it.

        Raises: BadRequest for a path that its kind does not have.
        """
        kind: Any = type(obj)
        return (self.value in _reader(kind, self.path)(obj)) is not self.negated

    def __str__(self) -> str:
        return f"{self.path}{'!=' if self.negated else '='}{_escaped(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """An object matches when it fulfils every requirement; str() is the canonical text."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Message) -> bool:
        """True if the object fulfils every requirement.

        Raises: BadRequest for a path that its kind does not have.
        """
        return all(one.matches(obj) for one in self.requirements)

    @property
    def everything(self) -> bool:
        """True if it matches any object."""
        return not self.requirements

    def check(self, message_type: type[Message]) -> None:
        """Finds out before any object is met whether the kind has the fields.

        Raises: BadRequest for a path that it does not have.
        """
        kind: Any = message_type
        for one in self.requirements:
            _reader(kind, one.path)

    def exact(self, path: str) -> str | None:
        """The one value that it demands of a field, None if it does not: for an index."""
        for one in self.requirements:
            if one.path == path and not one.negated:
                return one.value
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


@lru_cache(maxsize=512)
def parse_field_selector(text: str, message_type: type[Message] | None = None) -> FieldSelector:
    """The selector of `metadata.name=web,status.phase!=Running`; "" matches everything.

    An unset field equals "" (a flag also false, a number also 0). In values \\\\, \\, and \\= stand for
    themselves. message_type: check() against it.
    Raises: BadRequest with what is wrong and where. Bound: 32768 characters.
    """
    if len(text) > SELECTOR_LENGTH_MAX:
        raise BadRequest(f"the field selector is longer than {SELECTOR_LENGTH_MAX} characters")
    selector = FieldSelector(tuple(_parse(term, text) for term in _split(text) if term.strip()))
    if message_type is not None:
        selector.check(message_type)
    return selector


def _split(text: str) -> Iterable[str]:
    """At the commas that no backslash precedes."""
    term, escaped = "", False
    for character in text:
        if character == "," and not escaped:
            yield term
            term = ""
            continue
        term += character
        escaped = character == "\\" and not escaped
    yield term


def _parse(term: str, text: str) -> FieldRequirement:
    path, equals, value = term.partition("=")
    negated = path.endswith("!")
    path = path.removesuffix("!").strip()
    if not equals or not path:
        raise BadRequest(
            f'field selector "{text[:200]}": "{term.strip()[:64]}" is no condition: '
            "write path=value or path!=value, for instance status.phase=Running"
        )
    return FieldRequirement(path, _unescaped(value.removeprefix("=").strip(), text), negated)


def _unescaped(value: str, text: str) -> str:
    if "\\" not in value and "=" not in value:
        return value
    plain, escaped = "", False
    for character in value:
        if escaped and character not in "\\,=":
            raise BadRequest(
                f'field selector "{text[:200]}": \\{character} is no escape: write \\\\, \\, or \\='
            )
        if not escaped and character == "=":
            raise BadRequest(f'field selector "{text[:200]}": write \\= for an "=" in a value')
        if escaped or character != "\\":
            plain += character
        escaped = character == "\\" and not escaped
    if escaped:
        raise BadRequest(f'field selector "{text[:200]}": a value ends in a lone \\: write \\\\')
    return plain


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


@lru_cache(maxsize=1024)
def _reader(message_type: type[Message], path: str) -> _Reader:
    """Gives the texts that the value of a path equals."""
    schema = schema_of(message_type)
    steps: list[str] = []
    names = path.split(".")
    field: Field | None = None
    for name in names:
        if field is not None:
            if field.schema is None:
                raise _no_field(message_type, path, f'"{field.name}" has no fields')
            schema = field.schema
        found = schema.by_name.get(name)
        if found is None:
            meant = nearest(name, list(schema.by_name))
            hint = f', did you mean "{meant}"?' if meant else ""
            raise _no_field(message_type, path, f'there is no "{name[:64]}"{hint}')
        if found.many or found.mapping:
            raise _no_field(message_type, path, f'"{name}" is not a single value')
        field = found
        steps.extend((*field.via, name))
    if field is None or field.schema is not None or field.shape is Shape.RAW:
        raise _no_field(message_type, path, f'"{names[-1]}" is an object: name one of its fields')
    return _reading(tuple(steps), field)


def _reading(steps: tuple[str, ...], field: Field) -> _Reader:
    *parents, last = steps
    unset: tuple[str, ...] = ("",)
    if field.shape is Shape.BOOL:
        unset = ("", "false")
    elif field.shape in (Shape.INT32, Shape.INT64):
        unset = ("", "0")
    shape = field.shape

    def read(obj: Any) -> tuple[str, ...]:
        for step in parents:
            obj = getattr(obj, step)
        if not obj.HasField(last):
            return unset
        value = getattr(obj, last)
        if isinstance(value, str):
            return (value,)
        value = value_to_json(shape, value)
        if value is None:
            return unset
        return (("true" if value else "false") if isinstance(value, bool) else str(value),)

    return read


def _no_field(message_type: type[Message], path: str, why: str) -> BadRequest:
    return BadRequest(f'field selector: {message_type.DESCRIPTOR.name} has no field "{path[:200]}": {why}')
