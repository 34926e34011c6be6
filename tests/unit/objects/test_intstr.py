"""IntOrString: numbers, percentages, names."""

import pytest

from orchestra.objects import intstr
from orchestra.pb import meta


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), ("25%", 10, 3, 2), ("25%", 4, 1, 1), ("0%", 10, 0, 0), ("100%", 7, 7, 7), ("1%", 1, 1, 0),
     ("150%", 10, 15, 15), (0, 10, 0, 0), ("50%", 0, 0, 0)],
)  # fmt: skip
def test_resolve(value: int | str, total: int, up: int, down: int) -> None:
    message = intstr.of(value)
    assert intstr.value_of(message) == value
    assert intstr.resolve(message, total, True) == up
    assert intstr.resolve(message, total, False) == down


@pytest.mark.parametrize("text", ["", "x", "%", "-1%", "1.5%", "25 %", "5", "٢%", "9" * 20 + "%"])
def test_neither_number_nor_percentage(text: str) -> None:
    assert intstr.percent(intstr.of(text)) is None
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        intstr.resolve(intstr.of(text), 10, True)


def test_messages_of_others() -> None:
    assert intstr.value_of(meta.IntOrString()) == 0
    assert intstr.value_of(meta.IntOrString(strVal="http")) == "http"
    assert intstr.value_of(meta.IntOrString(type=0, intVal=5, strVal="")) == 5
    assert intstr.value_of(meta.IntOrString(type=1, intVal=0, strVal="http")) == "http"
