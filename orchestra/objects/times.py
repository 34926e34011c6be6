"""RFC 3339 ⇄ meta.Time and meta.MicroTime, and both ⇄ nanoseconds since the Unix epoch.

Kubernetes shows a Time to the second and a MicroTime to the microsecond; what is finer is cut off.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from orchestra.pb import meta

NS_PER_SECOND = 1_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)
_SECONDS_MIN = -62_135_596_800
_SECONDS_MAX = 253_402_300_799
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def parse_rfc3339(text: str) -> tuple[int, int]:
    """The (seconds, nanos) since the epoch of `2026-01-01T00:00:00Z`, with a fraction or an offset.

    Raises: ValueError with a sentence for people.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text[:64]}" is not a time: write it as 2026-01-31T12:00:00Z')
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    zone = found[8]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        if zone != "Z":
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            if hours > 23 or minutes > 59:
                raise ValueError("the offset is out of range")
            offset = timedelta(hours=hours, minutes=minutes)
            moment += offset if zone[0] == "-" else -offset
    except (ValueError, OverflowError) as problem:
        raise ValueError(f'"{text[:64]}" is not a time: {problem}') from None
    since = moment - _EPOCH
    return since.days * 86_400 + since.seconds, int((found[7] or "0").ljust(9, "0"))


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    seconds = min(max(seconds, _SECONDS_MIN), _SECONDS_MAX)
    return (_EPOCH_NAIVE + timedelta(seconds=seconds)).isoformat()


def format_seconds(seconds: int) -> str:
    """`2026-01-01T00:00:00Z`. A year outside 1..9999 shows as the nearest one inside."""
    return _to_the_second(seconds) + "Z"


def format_micros(seconds: int, nanos: int) -> str:
    """`2026-01-01T00:00:00.000000Z`."""
    return f"{_to_the_second(seconds)}.{min(max(nanos, 0), 999_999_999) // 1000:06d}Z"


def parse_time(text: str) -> meta.Time:
    """A Time, to the second.

    Raises: ValueError with a sentence for people.
    """
    return meta.Time(seconds=parse_rfc3339(text)[0])


def parse_micro_time(text: str) -> meta.MicroTime:
    """A MicroTime, to the microsecond.

    Raises: ValueError with a sentence for people.
    """
    seconds, nanos = parse_rfc3339(text)
    return meta.MicroTime(seconds=seconds, nanos=nanos // 1000 * 1000)


def format_time(time: meta.Time | meta.MicroTime) -> str:
    """The JSON form of either message."""
    if isinstance(time, meta.MicroTime):
        return format_micros(time.seconds, time.nanos)
    return format_seconds(time.seconds)


def time_from_ns(ns: int) -> meta.Time:
    """The Time of an instant, to the second. Units: nanoseconds since the epoch."""
    return meta.Time(seconds=ns // NS_PER_SECOND)


def micro_time_from_ns(ns: int) -> meta.MicroTime:
    """The MicroTime of an instant, to the microsecond. Units: nanoseconds since the epoch."""
    seconds, nanos = divmod(ns, NS_PER_SECOND)
    return meta.MicroTime(seconds=seconds, nanos=nanos // 1000 * 1000)


def ns_of(time: meta.Time | meta.MicroTime) -> int:
    """The instant. Units: nanoseconds since the epoch; 0 for an unset time."""
    return time.seconds * NS_PER_SECOND + time.nanos
