"""The index against a sorted list."""

from bisect import insort

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.mvcc import keyindex
from orchestra.mvcc.keyindex import KeyIndex, in_range, prefix_end

KEYS = st.binary(min_size=1, max_size=2)


@given(
    start=st.sets(KEYS),
    changes=st.lists(st.tuples(st.booleans(), KEYS), max_size=60),
    ranges=st.lists(st.tuples(KEYS, st.just(b"\0") | KEYS), max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_it_is_a_sorted_set(
    start: set[bytes], changes: list[tuple[bool, bytes]], ranges: list[tuple[bytes, bytes]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Short lists, so that they split and vanish.
        patch.setattr(keyindex, "_LOAD", 4)
        plain = sorted(start)
        index = KeyIndex(plain)
        for add, key in changes:
            if add and key not in plain:
                index.add(key)
                insort(plain, key)
            elif not add and key in plain:
                index.remove(key)
                plain.remove(key)
        assert list(index) == plain
        assert len(index) == len(plain)
        for low, high in [*ranges, (b"\0", b"\0")]:
            expected = [key for key in plain if in_range(key, low, high)]
            assert list(index.scan(low, high)) == expected
            assert index.count(low, high) == len(expected)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"a", b"b"),
        (b"/registry/pods/", b"/registry/pods0"),
        (b"a\xff", b"b"),
        (b"\xff\xff", b"\0"),
        (b"", b"\0"),
    ],
)
def test_prefix_ends(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


@given(prefix=st.binary(max_size=3), key=st.binary(min_size=1, max_size=4))
def test_a_prefix_range_is_the_keys_with_that_prefix(prefix: bytes, key: bytes) -> None:
    start = prefix or b"\0"
    if key >= start:
        assert in_range(key, start, prefix_end(prefix)) == key.startswith(prefix)
