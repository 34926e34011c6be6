"""Label selectors: `app=web,tier in (a,b),!canary`, and their object form; re-exports field selectors."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from orchestra.base.errors import BadRequest
from orchestra.objects.field_selectors import FieldSelector, parse_field_selector
from orchestra.objects.names import label_value, qualified_name
from orchestra.pb import meta

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "FieldSelector",
    "Requirement",
    "Selector",
    "check_label_key",
    "check_label_value",
    "parse_field_selector",
    "parse_label_selector",
    "requirement",
    "selector_from",
    "selector_from_map",
]

SELECTOR_LENGTH_MAX: Final = 32_768

IN: Final = "In"
NOT_IN: Final = "NotIn"
EXISTS: Final = "Exists"
DOES_NOT_EXIST: Final = "DoesNotExist"
GREATER: Final = "Gt"
LESS: Final = "Lt"

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. values are sorted and distinct; build it with requirement()."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if the labels fulfil it. A missing label fulfils NotIn and DoesNotExist only."""
        operator = self.operator
        if operator == EXISTS:
            return self.key in labels
        if operator == DOES_NOT_EXIST:
            return self.key not in labels
        value = labels.get(self.key)
        if operator == IN:
            return value is not None and value in self.values
        if operator == NOT_IN:
            return value is None or value not in self.values
        if value is None or not _INTEGER.fullmatch(value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if operator == GREATER else int(value) < bound

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "Gt":
                return f"{self.key}>{self.values[0]}"
            case "Lt":
                return f"{self.key}<{self.values[0]}"
        positive = self.operator == IN
        if len(self.values) == 1:
            return f"{self.key}{'=' if positive else '!='}{self.values[0]}"
        return f"{self.key} {'in' if positive else 'notin'} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels match when they fulfil every requirement; str() is the canonical text.

    nothing: matches no labels at all, whatever they are.
    """

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if the labels fulfil every requirement."""
        if self.nothing:
            return False
        return all(one.matches(labels) for one in self.requirements)

    @property
    def everything(self) -> bool:
        """True if it matches any labels."""
        return not self.requirements and not self.nothing

    def exact(self) -> dict[str, str]:
        """The labels whose one value it demands: for an index, and for what a new pod must carry."""
        return {
            one.key: one.values[0] for one in self.requirements if one.operator == IN and len(one.values) == 1
        }

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(nothing=True)


def check_label_key(key: str) -> str | None:
    """The error sentence for a label's key, None if it is right."""
    return qualified_name(key)


def check_label_value(value: str) -> str | None:
    """The error sentence for a label's value, None if it is right."""
    return label_value(value)


def requirement(key: str, operator: str, values: Iterable[str] = ()) -> Requirement:
    """A checked requirement.

    operator: In, NotIn, Exists, DoesNotExist, Gt or Lt.
    Raises: BadRequest with what is wrong.
    """
    distinct = tuple(sorted(set(values)))
    problem = qualified_name(key)
    if problem:
        raise BadRequest(f'label key "{key[:64]}": {problem}')
    if operator in (IN, NOT_IN):
        if not distinct:
            raise BadRequest(f'label "{key}": operator {operator} needs at least one value')
    elif operator in (EXISTS, DOES_NOT_EXIST):
        if distinct:
            raise BadRequest(f'label "{key}": operator {operator} takes no values')
    elif operator in (GREATER, LESS):
        if len(distinct) != 1 or not _INTEGER.fullmatch(distinct[0]):
            raise BadRequest(f'label "{key}": operator {operator} needs exactly one value, a whole number')
    else:
        raise BadRequest(
            f'label "{key}": "{operator[:64]}" is no operator: '
            "write In, NotIn, Exists, DoesNotExist, Gt or Lt"
        )
    for value in distinct:
        problem = label_value(value)
        if problem:
            raise BadRequest(f'label "{key}": value "{value[:64]}": {problem}')
    return Requirement(key, operator, distinct)


def _selector(requirements: Iterable[Requirement]) -> Selector:
    return Selector(tuple(sorted(set(requirements), key=lambda one: (one.key, one.operator, one.values))))


def selector_from_map(labels: Mapping[str, str]) -> Selector:
    """Demands exactly these values; an empty map matches everything."""
    return _selector(Requirement(key, IN, (value,)) for key, value in labels.items())


def selector_from(selector: meta.LabelSelector | None) -> Selector:
    """The object form; None matches nothing, an empty one everything.

    Raises: BadRequest with what is wrong.
    """
    if selector is None:
        return NOTHING
    exact = [requirement(key, IN, (value,)) for key, value in selector.matchLabels.items()]
    others = [requirement(one.key, one.operator, one.values) for one in selector.matchExpressions]
    for one in others:
        if one.operator in (GREATER, LESS):
            raise BadRequest(
                f'label "{one.key}": "{one.operator}" is no operator of a label selector: '
                "write In, NotIn, Exists or DoesNotExist"
            )
    return _selector([*exact, *others])


@lru_cache(maxsize=512)
def parse_label_selector(text: str) -> Selector:
    """The selector of `a=b,a==b,a!=b,a in (x,y),a notin (x),a,!a,a>1,a<5`; "" matches everything.

    Raises: BadRequest with what is wrong and where. Bound: 32768 characters.
    """
    if len(text) > SELECTOR_LENGTH_MAX:
        raise BadRequest(f"the label selector is longer than {SELECTOR_LENGTH_MAX} characters")
    return _selector(_Parser(text).requirements())


_TOKEN = re.compile(r"\s*(==|!=|[=<>!(),]|[^\s=<>!(),]+)")


class _Parser:
    """Recursive descent over the tokens of a selector."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, int]] = [
            (found[1], found.start(1)) for found in _TOKEN.finditer(text.rstrip())
        ]
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def fail(self, expected: str) -> BadRequest:
        if self.at < len(self.tokens):
            token, column = self.tokens[self.at]
            met = f'found "{token[:64]}" at character {column + 1}'
        else:
            met = "it ends there"
        return BadRequest(f'label selector "{self.text[:200]}": expected {expected}, but {met}')

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self.tokens:
            found.append(self.one())
            if self.at == len(self.tokens):
                break
            if self.peek() != ",":
                raise self.fail('"," between two conditions')
            self.at += 1
        return found

    def one(self) -> Requirement:
        negated = self.peek() == "!"
        self.at += negated
        key = self.word("a label's key")
        if negated:
            return self.checked(key, DOES_NOT_EXIST, ())
        operator = self.peek()
        if operator in ("", ","):
            return self.checked(key, EXISTS, ())
        if operator in ("in", "notin"):
            self.at += 1
            return self.checked(key, IN if operator == "in" else NOT_IN, self.values())
        if operator in ("=", "==", "!=", "<", ">"):
            self.at += 1
            name = {"<": LESS, ">": GREATER, "!=": NOT_IN}.get(operator, IN)
            return self.checked(key, name, (self.maybe_word(),))
        raise self.fail("one of =, ==, !=, in, notin, <, >")

    def checked(self, key: str, operator: str, values: Iterable[str]) -> Requirement:
        try:
            return requirement(key, operator, values)
        except BadRequest as problem:
            raise BadRequest(f'label selector "{self.text[:200]}": {problem}') from None

    def word(self, expected: str) -> str:
        if self.peek() in ("", "=", "==", "!=", "<", ">", "!", "(", ")", ","):
            raise self.fail(expected)
        return self.take()

    def maybe_word(self) -> str:
        return "" if self.peek() in ("", ",", ")") else self.word("a value")

    def values(self) -> list[str]:
        if self.peek() != "(":
            raise self.fail('"("')
        self.at += 1
        found = [self.maybe_word()]
        while self.peek() == ",":
            self.at += 1
            found.append(self.maybe_word())
        if self.peek() != ")":
            raise self.fail('"," or ")"')
        self.at += 1
        return found
