"""RFC 3339 and instants."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.objects import times
from orchestra.pb import meta

SECONDS = 1_767_225_600


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2026-01-01T00:00:00Z", SECONDS, 0),
        ("2026-01-01T00:00:00.5Z", SECONDS, 500_000_000),
        ("2026-01-01T00:00:00.1234567891Z", SECONDS, 123_456_789),
        ("2026-01-01T01:30:00+01:30", SECONDS, 0),
        ("2025-12-31T23:00:00-01:00", SECONDS, 0),
        ("2026-01-01T00:00:00+00:00", SECONDS, 0),
        ("1969-12-31T23:59:59Z", -1, 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ("2024-02-29T00:00:00Z", 1_709_164_800, 0),
    ],
)
def test_parse(text: str, seconds: int, nanos: int) -> None:
    assert times.parse_rfc3339(text) == (seconds, nanos)


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01t00:00:00z", "26-01-01T00:00:00Z",
     "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+24:00",
     "2026-01-01T00:00:00.Z", "0001-01-01T00:00:00+01:00", "٢٠٢٦-01-01T00:00:00Z", "x" * 1000],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time") as caught:
        times.parse_rfc3339(text)
    assert len(str(caught.value)) < 200


def test_format() -> None:
    ns = SECONDS * times.NS_PER_SECOND + 123_456_789
    assert times.format_time(times.time_from_ns(ns)) == "2026-01-01T00:00:00Z"
    assert times.format_time(times.micro_time_from_ns(ns)) == "2026-01-01T00:00:00.123456Z"
    assert times.format_time(meta.Time(seconds=2**62)) == "9999-12-31T23:59:59Z"
    assert times.parse_time("2026-01-01T00:00:00.9Z") == meta.Time(seconds=SECONDS)
    assert times.ns_of(meta.Time()) == 0


@given(st.datetimes(timezones=st.just(UTC)))
def test_there_and_back(when: datetime) -> None:
    text = when.strftime("%Y").rjust(4, "0") + when.strftime("-%m-%dT%H:%M:%S.%fZ")
    time = times.parse_micro_time(text)
    assert times.format_time(time) == text
    assert times.micro_time_from_ns(times.ns_of(time)) == time
