"""The keys in ascending order.

A list of short sorted lists: adding a key moves a few kilobytes at most, whatever the number of keys, and
counting a range touches its two ends only.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

_LOAD = 1024


class KeyIndex:
    """A sorted set of keys. Ranges are [key, range_end) in etcd's convention."""

    __slots__ = ("_firsts", "_lists", "_size")

    def __init__(self, ascending: Iterable[bytes] = ()) -> None:
        keys = list(ascending)
        self._lists = [keys[at : at + _LOAD] for at in range(0, len(keys), _LOAD)]
        self._firsts = [part[0] for part in self._lists]
        self._size = len(keys)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        for part in self._lists:
            yield from part

    def add(self, key: bytes) -> None:
        """Adds a key that is not there."""
        self._size += 1
        if not self._lists:
            self._lists.append([key])
            self._firsts.append(key)
            return
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            at = 0
            self._firsts[0] = key
        part = self._lists[at]
        if part[-1] < key:
            part.append(key)
        else:
            part.insert(bisect_left(part, key), key)
        if len(part) > 2 * _LOAD:
            half = part[_LOAD:]
            del part[_LOAD:]
            self._lists.insert(at + 1, half)
            self._firsts.insert(at + 1, half[0])

    def remove(self, key: bytes) -> None:
        """Removes a key that is there."""
        at = bisect_right(self._firsts, key) - 1
        part = self._lists[at]
        del part[bisect_left(part, key)]
        self._size -= 1
        if part:
            self._firsts[at] = part[0]
        else:
            del self._lists[at]
            del self._firsts[at]

    def _place(self, key: bytes) -> tuple[int, int]:
        """Where the first key not below `key` is: list and offset in it."""
        at = max(bisect_right(self._firsts, key) - 1, 0)
        if at >= len(self._lists):
            return at, 0
        return at, bisect_left(self._lists[at], key)

    def count(self, key: bytes, range_end: bytes) -> int:
        """How many keys are in a range (not of the one-key kind)."""
        if range_end != b"\0" and range_end <= key:
            return 0
        low_list, low = self._place(key)
        high_list, high = (len(self._lists), 0) if range_end == b"\0" else self._place(range_end)
        whole = sum(map(len, self._lists[low_list:high_list]))
        return whole - low + high

    def scan(self, key: bytes, range_end: bytes) -> Iterator[bytes]:
        """The keys of a range (not of the one-key kind), ascending. The set must not change meanwhile."""
        at, low = self._place(key)
        last, high = (len(self._lists), 0) if range_end == b"\0" else self._place(range_end)
        while at < last:
            yield from self._lists[at][low:] if low else self._lists[at]
            at, low = at + 1, 0
        if at == last and high > low:
            yield from self._lists[at][low:high]


def in_range(candidate: bytes, key: bytes, range_end: bytes) -> bool:
    """Whether a key is in a range."""
    if not range_end:
        return candidate == key
    return candidate >= key and (range_end == b"\0" or candidate < range_end)


def prefix_end(prefix: bytes) -> bytes:
    """The range_end that makes a range of every key with this prefix."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"
