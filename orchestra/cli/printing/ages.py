"""Ages as kubectl shows them: two units while that says something, one when it no longer does."""

from orchestra.pb import meta

_NS = 1_000_000_000


def duration(seconds: int) -> str:
    """`5s`, `119s`, `2m1s`, `12m`, `3h7m`, `26h`, `2d3h`, `9d`, `2y40d`."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _two(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def time_ns(time: meta.Time | meta.MicroTime) -> int:
    """Nanoseconds since the epoch; 0 when unset."""
    return time.seconds * _NS + time.nanos


def since(time: meta.Time | meta.MicroTime, now_ns: int) -> str:
    """The age of a moment, `<unknown>` when it is unset."""
    return since_ns(time_ns(time), now_ns)


def since_ns(at: int, now_ns: int) -> str:
    """The age of a moment given in nanoseconds, `<unknown>` when it is 0."""
    if not at:
        return "<unknown>"
    elapsed = now_ns - at
    return duration(elapsed // _NS if elapsed >= 0 else -(-elapsed // _NS))


def age(metadata: meta.ObjectMeta, now_ns: int) -> str:
    """The age of an object."""
    return since(metadata.creationTimestamp, now_ns)
