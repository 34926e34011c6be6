"""Collects what is wrong, in Kubernetes' sentences."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from orchestra.base.errors import Violation
from orchestra.objects.quantity import Quantity, parse_quantity

# A check of a text: an error sentence, or None.
Check = Callable[[str], str | None]

# More than anybody reads in one go; what is wrong beyond that comes up at the next try.
VIOLATIONS_MAX = 1_000
_SHOWN_LENGTH_MAX = 128


def shown(value: Any) -> str:
    """A value inside a sentence: texts in quotes, long ones cut."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_LENGTH_MAX else value[: _SHOWN_LENGTH_MAX - 1] + "…"
        return json.dumps(cut, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)[:_SHOWN_LENGTH_MAX]


class Findings:
    """The violations found so far; each method adds one, in the words of Kubernetes' field errors."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def _add(self, path: str, message: str, reason: str) -> None:
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(path, message, reason))

    def required(self, path: str, detail: str = "") -> None:
        """A field that has to be there is not."""
        said = f"Required value: {detail}" if detail else "Required value"
        self._add(path, said, "FieldValueRequired")

    def invalid(self, path: str, value: Any, detail: str) -> None:
        """A value that breaks a rule."""
        self._add(path, f"Invalid value: {shown(value)}: {detail}", "FieldValueInvalid")

    def immutable(self, path: str, value: Any) -> None:
        """A value that differs from the stored one, which stays for the object's life."""
        self.invalid(path, value, "field is immutable")

    def not_supported(self, path: str, value: str, supported: Iterable[str]) -> None:
        """A word that is none of an enumeration's."""
        known = ", ".join(shown(word) for word in supported)
        message = f"Unsupported value: {shown(value)}: supported values: {known}"
        self._add(path, message, "FieldValueNotSupported")

    def duplicate(self, path: str, value: Any) -> None:
        """A value that stands there twice."""
        self._add(path, f"Duplicate value: {shown(value)}", "FieldValueDuplicate")

    def forbidden(self, path: str, detail: str) -> None:
        """A field that may not be set, or not changed, here."""
        self._add(path, f"Forbidden: {detail}", "FieldValueForbidden")

    def not_found(self, path: str, value: str) -> None:
        """A reference to something that is not in the object."""
        self._add(path, f"Not found: {shown(value)}", "FieldValueNotFound")

    def too_long(self, path: str, limit_bytes: int) -> None:
        """More bytes than may be stored."""
        self._add(path, f"Too long: may not be more than {limit_bytes} bytes", "FieldValueTooLong")

    def too_many(self, path: str, count: int, limit: int) -> None:
        """More items than a list may have."""
        self._add(path, f"Too many: {count}: must have at most {limit} items", "FieldValueTooMany")

    def check(self, path: str, value: str, check: Check, prefix: str = "") -> bool:
        """Whether the text passes; what the check says is kept."""
        problem = check(value)
        if problem is not None:
            self.invalid(path, value, prefix + problem)
        return problem is None

    def check_required(self, path: str, value: str, check: Check, detail: str = "") -> bool:
        """The same for a text that has to be there."""
        if value:
            return self.check(path, value, check)
        self.required(path, detail)
        return False

    def one_of(self, path: str, value: str, supported: Iterable[str], *, optional: bool = True) -> bool:
        """Whether the word is one of an enumeration's. optional: "" passes."""
        supported = tuple(supported)
        if value in supported or (optional and not value):
            return True
        if value:
            self.not_supported(path, value, supported)
        else:
            self.required(path, "supported values: " + ", ".join(shown(word) for word in supported))
        return False

    def at_least(self, path: str, value: int, least: int) -> bool:
        """Whether the number is large enough."""
        if value >= least:
            return True
        self.invalid(path, value, f"must be greater than or equal to {least}")
        return False

    def quantity(self, path: str, text: str) -> Quantity | None:
        """The amount, None if it is none or negative."""
        try:
            amount = parse_quantity(text)
        except ValueError as problem:
            self.invalid(path, text, str(problem))
            return None
        if amount.nanos < 0:
            self.invalid(path, text, "must be greater than or equal to 0")
            return None
        return amount

    def unique(self, path: str, value: Any, seen: set[Any]) -> None:
        """Notes a value that may stand there once."""
        if value in seen:
            self.duplicate(path, value)
        seen.add(value)
