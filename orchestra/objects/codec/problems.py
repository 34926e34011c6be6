"""What is wrong with a JSON value, and exactly where."""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from orchestra.base.errors import Violation

INVALID: Final = "FieldValueInvalid"
TYPE_INVALID: Final = "FieldValueTypeInvalid"
UNKNOWN: Final = "FieldValueUnknown"
REQUIRED: Final = "FieldValueRequired"
NOT_SUPPORTED: Final = "FieldValueNotSupported"

PROBLEMS_MAX: Final = 1000
SHOWN_LENGTH_MAX: Final = 48


# Python refuses to write integers of thousands of digits.
_REPR_SAFE: Final = 10**40


class MapKey(str):
    """A key of a map rather than the name of a field: `labels[app]`, not `labels.app`."""

    __slots__ = ()


Path: TypeAlias = tuple[str | int, ...]


def render_path(path: Path) -> str:
    """The path as Kubernetes writes it: `spec.containers[0].resources.limits[cpu]`."""
    text = ""
    for step in path:
        if isinstance(step, int | MapKey):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One mistake.

    path: keys and indices from the root of the JSON value, for whoever knows on which line each stands.
    """

    path: Path
    message: str
    reason: str = INVALID

    @property
    def field(self) -> str:
        """The path as a person writes it."""
        return render_path(self.path)

    def violation(self, prefix: str = "") -> Violation:
        """The same for people. prefix: the path of the value that was decoded."""
        field = self.field
        joint = "." if prefix and field and not field.startswith("[") else ""
        return Violation(prefix + joint + field, self.message, self.reason)


def shown(value: Any) -> str:
    """A JSON value in an error sentence: `5 (a number)`."""
    match value:
        case None:
            return "null"
        case bool():
            return f"{'true' if value else 'false'} (a boolean)"
        case int() if abs(value) >= _REPR_SAFE:
            return "one of far too many digits"
        case int() | float():
            return f"{_short(repr(value))} (a number)"
        case str():
            return f'"{_short(value)}" (a string)'
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"{_short(str(value))} (a {type(value).__name__})"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 1] + "…"
