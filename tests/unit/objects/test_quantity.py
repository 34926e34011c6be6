"""Quantities: exact, canonical as Kubernetes writes them."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestra.objects.quantity import (
    BINARY,
    DECIMAL,
    EXPONENT,
    NANO,
    ZERO,
    Quantity,
    as_int,
    canonical,
    milli,
    parse_quantity,
    quantity_of,
    quantity_of_bytes,
    quantity_of_milli,
)

CANONICAL = [
    ("0", "0"), ("0.0", "0"), ("-0", "0"), ("0Ki", "0"), ("0m", "0"), ("0e9", "0"),
    ("1", "1"), ("+1", "1"), ("-1", "-1"), ("1.", "1"), (".5", "500m"), ("0.5", "500m"), ("-0.5", "-500m"),
    ("1000m", "1"), ("1500m", "1500m"), ("1.5", "1500m"), ("100m", "100m"), ("1000", "1k"), ("1500", "1500"),
    ("1000000", "1M"), ("1G", "1G"), ("1.5G", "1500M"), ("1E", "1E"), ("1000E", "1000E"), ("5u", "5u"), ("5n", "5n"),
    ("1000n", "1u"), ("0.1n", "1n"), ("-0.1n", "-1n"), ("1.1n", "2n"), ("0.0000000001", "1n"), ("1e-100", "1e-9"),
    ("1Ki", "1Ki"), ("1024", "1024"), ("1024Ki", "1Mi"), ("1024Mi", "1Gi"), ("1536Mi", "1536Mi"),
    ("1.5Gi", "1536Mi"), ("0.5Ki", "512"), ("0.1Ki", "102400m"), ("1.1Ki", "1126400m"), ("1Ei", "1Ei"),
    ("1024Ei", "1024Ei"), ("-1Ki", "-1Ki"),
    ("1e3", "1e3"), ("1E3", "1e3"), ("1e0", "1"), ("12e2", "1200"), ("1e4", "10e3"), ("5e-1", "500e-3"),
    ("1e27", "1e27"), ("1.5e3", "1500"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected
    assert parse_quantity(expected) == parse_quantity(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 core", "1 ", "abc", "1.2.3", "--1", "1KI", "1ki", "1K", "1mi", "m", ".", "1e", "1e3Ki", "٣",
     "1" * 65, "1e28", "inf", "nan", "0x10", "1_000"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "whole", "thousandths"),
    [("0", 0, 0), ("1", 1, 1000), ("500m", 1, 500), ("1500m", 2, 1500), ("1n", 1, 1), ("-1n", -1, -1),
     ("-500m", -1, -500), ("1Ki", 1024, 1_024_000), ("0.0005", 1, 1), ("2Gi", 2**31, 2**31 * 1000)],
)  # fmt: skip
def test_rounding(text: str, whole: int, thousandths: int) -> None:
    quantity = parse_quantity(text)
    assert as_int(quantity) == quantity.value() == whole
    assert milli(quantity) == quantity.milli() == thousandths


def test_order_and_arithmetic() -> None:
    one, half = parse_quantity("1"), parse_quantity("500m")
    assert half < one <= parse_quantity("1000m")
    assert max(one, half) is one
    assert one == parse_quantity("1e0")
    assert hash(one) == hash(parse_quantity("1000m"))
    assert one != 1
    assert str(one + half) == "1500m"
    assert str(half - one) == "-500m"
    assert str(ZERO + parse_quantity("1Gi")) == "1Gi"
    assert str(parse_quantity("1Gi") + parse_quantity("1Gi")) == "2Gi"
    assert not ZERO
    assert -one == parse_quantity("-1")
    assert (str(quantity_of(3)), str(quantity_of_milli(250)), str(quantity_of_bytes(2**20))) == (
        "3",
        "250m",
        "1Mi",
    )


quantities = st.builds(
    Quantity, st.integers(-(10**30), 10**30) | st.integers(-(10**6), 10**6).map(lambda n: n * NANO),
    st.sampled_from([DECIMAL, EXPONENT, BINARY]),
)  # fmt: skip


@given(quantities)
@example(Quantity(1023 * NANO, BINARY))
@example(Quantity(1024 * NANO + 1, BINARY))
def test_parse_of_format_is_the_same_amount(quantity: Quantity) -> None:
    assert parse_quantity(str(quantity)) == quantity
    assert canonical(canonical(str(quantity))) == canonical(str(quantity))


@given(
    st.integers(-(10**12), 10**12), st.integers(0, 12), st.sampled_from(["", "m", "k", "Ki", "Mi", "e3", "n"])
)
def test_exact_against_fractions(digits: int, places: int, suffix: str) -> None:
    scale = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "Ki": Fraction(1024),
             "Mi": Fraction(2**20), "e3": Fraction(1000), "n": Fraction(1, NANO)}[suffix]  # fmt: skip
    whole = str(abs(digits)).rjust(places + 1, "0")
    point = len(whole) - places
    text = ("-" if digits < 0 else "") + whole[:point] + ("." + whole[point:] if places else "") + suffix
    exact = Fraction(digits, 10**places) * scale * NANO
    rounded = -(-abs(exact).numerator // abs(exact).denominator)
    assert parse_quantity(text).nanos == (rounded if exact >= 0 else -rounded)
