"""Merge patch, JSON patch and the bounds: RFC 7386's and RFC 6902's own examples, and what is refused."""

import copy
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.base.errors import BadRequest, Invalid
from orchestra.objects.patches import (
    DEPTH_MAX,
    OPERATIONS_MAX,
    PATCH_BYTES_MAX,
    json_patch,
    load_patch,
    merge_patch,
    same,
)

# RFC 7386, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "expected"), MERGES)
def test_merge_patch(target: object, patch: object, expected: object) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == expected
    assert (target, patch) == before


def test_merge_patch_shares_nothing() -> None:
    target = {"kept": {"x": [1]}, "changed": {"y": [2]}}
    patch = {"changed": {"z": [3]}, "new": {"n": [4]}}
    merged = merge_patch(target, patch)
    merged["kept"]["x"].append(9)
    merged["changed"]["y"].append(9)
    merged["changed"]["z"].append(9)
    merged["new"]["n"].append(9)
    assert target == {"kept": {"x": [1]}, "changed": {"y": [2]}}
    assert patch == {"changed": {"z": [3]}, "new": {"n": [4]}}


# RFC 6902, appendix A, and the corners of RFC 6901.
OPERATIONS = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["a", "b"]}, [{"op": "add", "path": "/foo/1", "value": "q"}], {"foo": ["a", "q", "b"]}),
    ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": ["b"]}], {"foo": ["a", ["b"]]}),
    ({"foo": ["a"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/1", "value": 3}], {"a": [1, 3]}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
    ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
    ({"a": [1]}, [{"op": "test", "path": "/a/0", "value": 1.0}], {"a": [1]}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"/": 9}, [{"op": "remove", "path": "/~1"}], {}),
    ({"": {"": 1}}, [{"op": "replace", "path": "//", "value": 2}], {"": {"": 2}}),
    ({"m": {"-": 1, "0": 2}}, [{"op": "remove", "path": "/m/-"}], {"m": {"0": 2}}),
    ({"a": 1}, [{"op": "add", "path": "/b", "value": None}], {"a": 1, "b": None}),
    ({"a": 1}, [], {"a": 1}),
]


@pytest.mark.parametrize(("target", "ops", "expected"), OPERATIONS)
def test_json_patch(target: object, ops: list[object], expected: object) -> None:
    before = copy.deepcopy((target, ops))
    assert json_patch(target, ops) == expected
    assert (target, ops) == before


REFUSED = [
    ({"op": "test", "path": "/a", "value": 2}, Invalid, "the value there is another one"),
    ({"op": "test", "path": "/a", "value": True}, Invalid, "another one"),
    ({"op": "remove", "path": "/b"}, Invalid, 'there is no "b"'),
    ({"op": "replace", "path": "/b", "value": 1}, Invalid, 'there is no "b"'),
    ({"op": "add", "path": "/b/c", "value": 1}, Invalid, 'there is no "b"'),
    ({"op": "add", "path": "/a/c", "value": 1}, Invalid, "neither an object nor a list"),
    ({"op": "add", "path": "/l/3", "value": 1}, Invalid, "no index 3"),
    ({"op": "remove", "path": "/l/2"}, Invalid, "no index 2"),
    ({"op": "remove", "path": "/l/-"}, Invalid, "no index of a list"),
    ({"op": "remove", "path": "/l/01"}, Invalid, "no index of a list"),
    ({"op": "remove", "path": "/l/-1"}, Invalid, "no index of a list"),
    ({"op": "remove", "path": ""}, Invalid, "cannot be removed"),
    ({"op": "move", "from": "/l", "path": "/l/0"}, Invalid, "into itself"),
    ({"op": "frob", "path": "/a"}, BadRequest, '"op" must be one of'),
    ({"op": "add", "path": "/a"}, BadRequest, '"value" is missing'),
    ({"op": "copy", "path": "/a"}, BadRequest, '"from" is missing'),
    ({"op": "remove", "path": "a"}, BadRequest, 'begin with "/"'),
    ({"op": "remove"}, BadRequest, "must be a string"),
    ({"op": "remove", "path": "/~2"}, BadRequest, "~0"),
    ("remove", BadRequest, "expected an object"),
]


@pytest.mark.parametrize(("op", "error", "sentence"), REFUSED)
def test_json_patch_refuses(op: object, error: type[Exception], sentence: str) -> None:
    target = {"a": 1, "l": [1, 2]}
    with pytest.raises(error, match="operation 1") as caught:
        json_patch(target, [{"op": "add", "path": "/first", "value": 0}, op])
    assert sentence in str(caught.value)
    assert target == {"a": 1, "l": [1, 2]}


def test_json_patch_bounds() -> None:
    with pytest.raises(BadRequest, match="at most"):
        json_patch({}, [{"op": "test", "path": "", "value": {}}] * (OPERATIONS_MAX + 1))
    with pytest.raises(BadRequest, match="list of operations"):
        json_patch({}, {"op": "add"})
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(100)]
    with pytest.raises(BadRequest, match=r"too large|too deeply"):
        json_patch({"a": {"seed": "x" * 1000}}, doubling)


def test_bounds_of_any_patch() -> None:
    deep: object = 1
    for _ in range(DEPTH_MAX + 1):
        deep = {"a": deep}
    with pytest.raises(BadRequest, match="nested too deeply"):
        merge_patch({}, deep)
    with pytest.raises(BadRequest, match="too large"):
        merge_patch({}, {"a": "x" * (PATCH_BYTES_MAX + 1)})


def test_keys_are_strings() -> None:
    with pytest.raises(BadRequest, match="keys are strings"):
        merge_patch({}, {"a": [{1: 2}]})


@pytest.mark.parametrize(
    "data",
    [b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"[" * 100 + b"]" * 100, b" " * (PATCH_BYTES_MAX + 1)],
)
def test_load_patch_refuses(data: bytes) -> None:
    with pytest.raises(BadRequest):
        load_patch(data)


def test_load_patch() -> None:
    assert load_patch(b'{"a": [1, null]}') == {"a": [1, None]}


def test_same() -> None:
    assert same({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]})
    for one, other in [(1, True), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ({}, []), ("", None), ([], {})]:
        assert not same(one, other)
        assert not same(other, one)


names = st.sampled_from(["a", "b", "~", "/", "", "0", "-"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
steps = st.lists(names | st.sampled_from(["1", "2", "~0"]), max_size=3)
pointers = steps.map(lambda path: "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path))
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"value": documents, "from": pointers},
)


@given(documents, st.lists(operations, max_size=4))
def test_json_patch_refuses_or_answers_and_changes_nothing_else(target: object, ops: list[object]) -> None:
    before = copy.deepcopy((target, ops))
    with suppress(BadRequest, Invalid):
        json_patch(target, ops)
    assert (target, ops) == before


@given(documents, documents)
def test_merge_patch_is_idempotent(target: object, patch: object) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
