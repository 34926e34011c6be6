import pytest

from orchestra.cli.printing.ages import duration, since
from orchestra.objects.times import time_from_ns
from orchestra.pb import meta

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE + 30, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 7 * MINUTE, "3h7m"),
        (8 * HOUR + 5 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (48 * HOUR, "2d"),
        (51 * HOUR, "2d3h"),
        (8 * DAY + HOUR, "8d"),
        (700 * DAY, "700d"),
        (730 * DAY, "2y"),
        (770 * DAY, "2y40d"),
        (8 * 365 * DAY, "8y"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_a_time_that_is_not_set_is_unknown() -> None:
    assert since(meta.Time(), 5) == "<unknown>"
    assert since(time_from_ns(10**18), 10**18 + 7 * 10**9) == "7s"
