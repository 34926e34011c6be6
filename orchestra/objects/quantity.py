"""Quantities: exact amounts with Kubernetes' suffixes (`500m`, `1.5`, `128Mi`, `2e3`).

An amount is a whole number of nano-units, as in Kubernetes, where what is smaller is rounded away from
zero: who asks for any of a resource gets some.
"""

import re
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from typing import Final

NANO: Final = 1_000_000_000
MILLI_IN_NANOS: Final = 1_000_000
LENGTH_MAX: Final = 64
EXPONENT_MAX: Final = 27

DECIMAL: Final = "DecimalSI"
EXPONENT: Final = "DecimalExponent"
BINARY: Final = "BinarySI"

_DECIMAL_POWERS = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_DECIMAL_SUFFIXES = {power: suffix for suffix, power in _DECIMAL_POWERS.items()}
_BINARY_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_GRAMMAR = re.compile(r"([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount; equal when the amounts are, however written.

    format: how str() writes it (DECIMAL, EXPONENT or BINARY), which arithmetic takes from its left operand.
    """

    nanos: int
    format: str = DECIMAL

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_up(self.nanos, NANO)

    def milli(self) -> int:
        """Thousandths (millicores), rounded away from zero."""
        return _divide_up(self.nanos, MILLI_IN_NANOS)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos + other.nanos, self.format if self.nanos else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos - other.nanos, self.format if self.nanos else other.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nanos, self.format)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __eq__(self, other: object) -> bool:
        return self.nanos == other.nanos if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: "Quantity") -> bool:
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __str__(self) -> str:
        return _format(self.nanos, self.format)


ZERO: Final = Quantity(0)


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """The amount that a text names.

    Raises: ValueError with a sentence for people. Bound: 64 characters, exponents up to 27.
    """
    found = _GRAMMAR.fullmatch(text) if len(text) <= LENGTH_MAX else None
    if found is None:
        raise ValueError(
            f'"{text[:LENGTH_MAX]}" is not a quantity: write a number with an optional suffix, '
            "such as 500m, 2, 1.5, 128Mi or 1G"
        )
    sign, whole, fraction, bare_fraction, suffix = found.groups()
    fraction = bare_fraction or fraction or ""
    digits = int((whole or "") + fraction or "0")
    suffix = suffix or ""
    if suffix.endswith("i"):
        amount, power, form = digits << (10 * _BINARY_SUFFIXES.index(suffix)), 0, BINARY
    elif suffix in _DECIMAL_POWERS:
        amount, power, form = digits, _DECIMAL_POWERS[suffix], DECIMAL
    else:
        amount, power, form = digits, int(suffix[1:]), EXPONENT
        if power > EXPONENT_MAX:
            raise ValueError(f'"{text}" is too large a quantity: the exponent is at most {EXPONENT_MAX}')
        # Whatever has fewer digits than this is less than a nano-unit, and becomes one.
        power = max(power, -2 * LENGTH_MAX)
    shift = power + 9 - len(fraction)
    nanos = amount * 10**shift if shift >= 0 else _divide_up(amount, 10**-shift)
    return Quantity(-nanos if sign == "-" else nanos, form)


def quantity_of(units: int) -> Quantity:
    """So many whole units."""
    return Quantity(units * NANO)


def quantity_of_milli(milli: int) -> Quantity:
    """So many thousandths: millicores."""
    return Quantity(milli * MILLI_IN_NANOS)


def quantity_of_bytes(count: int) -> Quantity:
    """So many bytes, written with binary suffixes."""
    return Quantity(count * NANO, BINARY)


def milli(quantity: Quantity) -> int:
    """Thousandths (millicores), rounded away from zero."""
    return quantity.milli()


def as_int(quantity: Quantity) -> int:
    """Whole units, rounded away from zero."""
    return quantity.value()


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The text as Kubernetes writes it back: `0.5` is `500m`, `1024Mi` is `1Gi`.

    Raises: ValueError with a sentence for people.
    """
    return str(parse_quantity(text))


def _divide_up(amount: int, by: int) -> int:
    """Division that rounds away from zero."""
    return -(-amount // by) if amount >= 0 else amount // by


def _format(nanos: int, form: str) -> str:
    # Binary suffixes only where they lose nothing and are not confusing; Source: Kubernetes,
    # apimachinery/pkg/api/resource/quantity.go, CanonicalizeBytes.
    if form == BINARY and abs(nanos) >= 1024 * NANO and nanos % NANO == 0:
        units, step = nanos // NANO, 0
        while units % 1024 == 0 and step < len(_BINARY_SUFFIXES) - 1:
            units, step = units // 1024, step + 1
        return f"{units}{_BINARY_SUFFIXES[step]}"
    if nanos == 0:
        return "0"
    amount, power = nanos, -9
    while amount % 1000 == 0 and (power < 18 or form == EXPONENT):
        amount, power = amount // 1000, power + 3
    if form == EXPONENT:
        return f"{amount}e{power}" if power else str(amount)
    return f"{amount}{_DECIMAL_SUFFIXES[power]}"
