"""IntOrString: a number, or a string that is a percentage or a port's name."""

import re

from orchestra.pb import meta

INT = 0
STRING = 1

_PERCENT = re.compile(r"(\d{1,9})%", re.ASCII)


def of(value: int | str) -> meta.IntOrString:
    """The message for a number or a string."""
    if isinstance(value, str):
        return meta.IntOrString(type=STRING, strVal=value)
    return meta.IntOrString(type=INT, intVal=value)


def is_string(value: meta.IntOrString) -> bool:
    """True if it holds a string."""
    return value.type == STRING or (not value.HasField("type") and value.HasField("strVal"))


def value_of(value: meta.IntOrString) -> int | str:
    """What it holds; an empty message holds 0."""
    return value.strVal if is_string(value) else value.intVal


def percent(value: meta.IntOrString) -> int | None:
    """The 25 of `25%`, None for a number or another string."""
    found = _PERCENT.fullmatch(value.strVal) if is_string(value) else None
    return int(found[1]) if found else None


def resolve(value: meta.IntOrString, total: int, round_up: bool) -> int:
    """The number itself, or that percentage of `total`.

    Raises: ValueError for a string that is no percentage.
    """
    if not is_string(value):
        return value.intVal
    share = percent(value)
    if share is None:
        raise ValueError(f'"{value.strVal[:64]}" is neither a number nor a percentage: write 3 or 25%')
    return -(-share * total // 100) if round_up else share * total // 100
