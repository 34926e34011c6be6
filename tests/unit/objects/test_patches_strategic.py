"""Strategic merge: Kubernetes' outcomes by table, and the laws of apply's three-way diff."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.base.errors import BadRequest
from orchestra.objects.patches import strategic_merge, three_way
from orchestra.pb import apps, core


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


def named(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"

# (what it shows, message type, target, patch, outcome)
MERGES: list[tuple[str, Any, Any, Any, Any]] = [
    ("scalars and null", core.Pod, {"spec": {"nodeName": "a", "hostname": "h"}},
     {"spec": {"nodeName": "b", "hostname": None}}, {"spec": {"nodeName": "b"}}),
    ("plain maps", core.Pod, {"metadata": {"labels": {"a": "1", "b": "2"}}},
     {"metadata": {"labels": {"a": None, "c": "3"}}}, {"metadata": {"labels": {"b": "2", "c": "3"}}}),
    ("items merge by key", core.Pod, pod({"name": "a", "image": "1"}, {"name": "b"}),
     pod({"name": "a", "image": "2"}), pod({"name": "a", "image": "2"}, {"name": "b"})),
    ("a new item comes first", core.Pod, pod(*named("a", "b")), pod(*named("c")), pod(*named("c", "a", "b"))),
    ("the patch's order counts", core.Pod, pod(*named("a", "b", "c")), pod(*named("c", "a")),
     pod(*named("b", "c", "a"))),
    ("order directive", core.Pod, pod(*named("a", "b")),
     {"spec": {ORDER + "containers": named("b", "a", "c"), "containers": named("c")}},
     pod(*named("b", "a", "c"))),
    ("order directive alone", core.Pod, pod(*named("a", "b", "live")),
     {"spec": {ORDER + "containers": named("b", "a")}}, pod(*named("b", "a", "live"))),
    ("delete an item", core.Pod, pod(*named("a", "b")), pod({"$patch": "delete", "name": "a"}),
     pod(*named("b"))),
    ("delete what is not there", core.Pod, pod(*named("a")), pod({"$patch": "delete", "name": "x"}),
     pod(*named("a"))),
    ("replace a list", core.Pod, pod(*named("a", "b")), pod({"$patch": "replace"}, {"name": "c"}),
     pod(*named("c"))),
    ("replace a map", core.Pod, {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, {"metadata": {"labels": {"b": "2"}}}),
    ("delete a map", core.Pod, {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "delete"}}}, {"metadata": {"labels": {}}}),
    ("nested keys", core.Pod, pod({"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "B"}]}),
     pod({"name": "c", ORDER + "env": named("A", "C"),
          "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "B"}]}),
     pod({"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}]})),
    ("ports merge by containerPort", core.Pod, pod({"name": "c", "ports": [{"containerPort": 80}]}),
     pod({"name": "c", "ports": [{"containerPort": 80, "name": "http"}]}),
     pod({"name": "c", "ports": [{"containerPort": 80, "name": "http"}]})),
    ("lists without key are replaced", core.Pod, pod({"name": "c", "command": ["a", "b"]}, tolerations=[{}]),
     pod({"name": "c", "command": ["x"]}, tolerations=[{"key": "k"}]),
     pod({"name": "c", "command": ["x"]}, tolerations=[{"key": "k"}])),
    ("sets of primitives", core.Pod, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"finalizers": ["c", "b"]}}, {"metadata": {"finalizers": ["c", "a", "b"]}}),
    ("delete from a set", core.Pod, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {DELETE + "finalizers": ["a", "x"]}}, {"metadata": {"finalizers": ["b"]}}),
    ("set with order", core.Pod, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {ORDER + "finalizers": ["b", "c"], "finalizers": ["c"], DELETE + "finalizers": ["a"]}},
     {"metadata": {"finalizers": ["b", "c"]}}),
    ("retainKeys", apps.Deployment,
     {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
     {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
     {"spec": {"strategy": {"type": "Recreate"}}}),
    ("retainKeys of a volume", core.Pod, {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
     {"spec": {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}},
     {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
    ("directives go where nothing was", core.Pod, {},
     {"spec": {"$retainKeys": ["containers"], ORDER + "containers": named("a"),
               "containers": [{"name": "a", "image": None, ORDER + "env": [], "env": [
                   {"$patch": "delete", "name": "B"}]}]}},
     pod({"name": "a", "env": []})),
    ("two of one key survive where nothing was", core.Service, {"spec": {}},
     {"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
     {"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
    ("another type wins", core.Pod, {"spec": "text"}, {"spec": {"nodeName": "n"}}, {"spec": {"nodeName": "n"}}),
    ("unknown fields merge plainly", core.Pod, {"spec": {"x": {"a": 1}}}, {"spec": {"x": {"b": [1]}}},
     {"spec": {"x": {"a": 1, "b": [1]}}}),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "target", "patch", "expected"), [row[1:] for row in MERGES],
                         ids=[row[0] for row in MERGES])  # fmt: skip
def test_strategic_merge(message_type: Any, target: Any, patch: Any, expected: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert strategic_merge(message_type, target, patch) == expected
    assert (target, patch) == before


REFUSED: list[tuple[Any, str]] = [
    ([], "is an object"),
    ({"spec": {"$patch": "frob"}}, "spec.$patch"),
    ({"spec": {"containers": [{"image": "x"}]}}, '"name" is missing'),
    ({"spec": {"containers": [{"$patch": "delete"}]}}, '"name" is missing'),
    ({"spec": {"containers": [{"$patch": "merge", "name": "a"}]}}, "spec.containers[0].$patch"),
    ({"spec": {"containers": ["a"]}}, "expected an object"),
    ({"spec": {"$retainKeys": "a"}}, "expected a list of keys"),
    ({"spec": {"$retainKeys": ["a"], "nodeName": "n"}}, 'must name "nodeName"'),
    ({"spec": {ORDER + "tolerations": []}}, "no list whose items are merged"),
    ({"spec": {ORDER + "containers": "a"}}, "expected a list"),
    ({"spec": {ORDER + "containers": ["a"]}}, 'objects with "name"'),
    ({"spec": {ORDER + "containers": named("a", "b"), "containers": named("b", "a")}}, "another order"),
    ({"spec": {ORDER + "containers": named("a"), "containers": named("x")}}, "other items"),
    ({"metadata": {DELETE + "finalizers": "a"}}, "expected a list"),
]


@pytest.mark.parametrize(("patch", "sentence"), REFUSED)
def test_strategic_merge_refuses(patch: Any, sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        strategic_merge(core.Pod, {"metadata": {}, **pod(*named("a", "b"))}, patch)
    assert sentence in str(caught.value)


def test_strategic_merge_shares_nothing() -> None:
    target = pod(
        {"name": "a", "env": named("A")}, {"name": "b", "args": ["1"]}, dnsConfig={"searches": ["x"]}
    )
    patch = pod({"name": "a", "env": [{"name": "A", "value": "1"}]}, {"name": "n", "args": ["2"]})
    before = copy.deepcopy((target, patch))
    merged = strategic_merge(core.Pod, target, patch)

    def scribble(value: Any) -> None:
        if isinstance(value, dict):
            for item in list(value.values()):
                scribble(item)
            value["scribble"] = 1
        elif isinstance(value, list):
            for item in value:
                scribble(item)
            value.append("scribble")

    scribble(merged)
    assert (target, patch) == before


def test_many_items_merge_in_linear_time() -> None:
    many = [{"name": f"E{number}", "value": "x"} for number in range(5_000)]
    wanted = [{**item, "value": "y"} for item in reversed(many)]
    target, modified = pod({"name": "c", "env": many}), pod({"name": "c", "env": wanted})
    patch = three_way(core.Pod, target, modified, target)
    assert strategic_merge(core.Pod, target, patch) == modified


# (what it shows, message type, original, modified, current, patch)
DIFFS: list[tuple[str, Any, Any, Any, Any, Any]] = [
    ("nothing to do", core.Pod, pod(*named("a")), pod(*named("a")),
     pod({"name": "a", "image": "live"}, nodeName="n"), {}),
    ("live fields stay, dropped ones go", core.Pod, {"metadata": {"labels": {"a": "1", "b": "2"}}},
     {"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"a": "1", "b": "2", "live": "3"}}},
     {"metadata": {"labels": {"b": None}}}),
    ("kubectl's own example", apps.Deployment,
     {"spec": {"template": pod({"name": "c", "image": "img:1",
                                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})}},
     {"spec": {"template": pod({"name": "c", "image": "img:2",
                                "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}]})}},
     {"spec": {"template": pod({"name": "c", "image": "img:1", "imagePullPolicy": "Always",
                                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})}},
     {"spec": {"template": {"spec": {
         ORDER + "containers": [{"name": "c"}],
         "containers": [{"name": "c", "image": "img:2", ORDER + "env": named("A", "C"),
                         "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "B"}]}]}}}}),
    ("strategy changes", apps.Deployment, {"spec": {}}, {"spec": {"strategy": {"type": "Recreate"}}},
     {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}}},
     {"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}),
    ("order only", core.Pod, pod(*named("a", "b")), pod(*named("b", "a")), pod(*named("a", "b")),
     {"spec": {ORDER + "containers": named("b", "a")}}),
    ("set of primitives", core.Pod, {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"finalizers": ["b", "c"]}}, {"metadata": {"finalizers": ["a", "b", "live"]}},
     {"metadata": {ORDER + "finalizers": ["b", "c"], "finalizers": ["c"], DELETE + "finalizers": ["a"]}}),
    ("null deletes", core.Pod, {}, {"metadata": {"creationTimestamp": None}, "spec": {"nodeName": None}},
     {"spec": {"nodeName": "n"}}, {"spec": {"nodeName": None}}),
    ("already gone", core.Pod, {"spec": {"nodeName": "n"}}, {"spec": {}}, {"spec": {}}, {}),
    ("an empty list is no change", core.Pod, {}, {"spec": {"tolerations": []}}, {"spec": {}}, {}),
    ("ports that their key does not tell apart", core.Service, {"spec": {"ports": [{"port": 53}]}},
     {"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
     {"spec": {"ports": [{"port": 53, "protocol": "TCP"}]}},
     {"spec": {"ports": [{"$patch": "replace"}, {"port": 53, "protocol": "TCP"},
                         {"port": 53, "protocol": "UDP"}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "original", "modified", "current", "expected"),
                         [row[1:] for row in DIFFS], ids=[row[0] for row in DIFFS])  # fmt: skip
def test_three_way(message_type: Any, original: Any, modified: Any, current: Any, expected: Any) -> None:
    before = copy.deepcopy((original, modified, current))
    patch = three_way(message_type, original, modified, current)
    assert (original, modified, current) == before
    assert patch == expected
    once = strategic_merge(message_type, current, patch)
    assert three_way(message_type, modified, modified, once) == {}


words = st.sampled_from(["a", "b", "c", "d"])
values = st.sampled_from(["", "1", "2"])
labels = st.dictionaries(words, values, max_size=3)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def keyed(key: str, items: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    pairs = st.lists(st.tuples(words, items), max_size=4, unique_by=lambda pair: pair[0])
    return pairs.map(lambda found: [{key: name, **item} for name, item in found])


envs = keyed("name", optional(value=values))
containers = keyed(
    "name",
    optional(image=values, env=envs, command=st.lists(values, max_size=2), stdin=st.booleans()),
)
volumes = keyed("name", optional(emptyDir=optional(medium=values), hostPath=optional(path=values)))
pods = optional(
    metadata=optional(labels=labels, finalizers=st.lists(words, max_size=3, unique=True)),
    spec=optional(
        containers=containers,
        volumes=volumes,
        nodeSelector=labels,
        nodeName=values,
        priority=st.integers(0, 3),
    ),
)


def owned(wanted: Any, there: Any) -> bool:
    """Whether `there` has everything that is wanted; items by key, lists of others exactly."""
    if isinstance(wanted, dict):
        if there is None:
            return all(value in ([], {}) for value in wanted.values())
        return all(owned(value, there.get(key)) or value in ([], {}) for key, value in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], dict):
        found = {item["name"]: item for item in there}
        names = [item["name"] for item in wanted]
        return all(owned(item, found[item["name"]]) for item in wanted) and names == [
            item["name"] for item in there if item["name"] in names
        ]
    return bool(wanted == there)


def gone(original: Any, modified: Any, there: Any) -> bool:
    """Whether `there` lacks everything that was applied once and is no longer wanted."""
    if isinstance(original, dict) and isinstance(modified, dict):
        return all(
            gone(value, modified[key], there.get(key) or type(value)())
            if key in modified
            else there.get(key) is None
            for key, value in original.items()
        )
    if isinstance(original, list) and original and isinstance(original[0], dict):
        wanted = {item["name"]: item for item in modified}
        found = {item["name"]: item for item in there}
        return all(
            gone(item, wanted[name], found[name]) if name in wanted else name not in found
            for name, item in ((item["name"], item) for item in original)
        )
    return True


@given(original=pods, modified=pods, current=pods)
def test_apply_brings_what_is_wanted(original: Any, modified: Any, current: Any) -> None:
    before = copy.deepcopy((original, modified, current))
    patch = three_way(core.Pod, original, modified, current)
    result = strategic_merge(core.Pod, current, patch)
    assert (original, modified, current) == before
    sets = result.get("metadata", {}).get("finalizers", [])
    wanted_set = modified.get("metadata", {}).get("finalizers", [])
    assert [value for value in sets if value in wanted_set] == wanted_set
    rest = {key: value for key, value in modified.get("metadata", {}).items() if key != "finalizers"}
    assert owned({**modified, "metadata": rest}, {"metadata": {}, "spec": {}, **result})
    assert gone(original, modified, result)
    assert three_way(core.Pod, modified, modified, result) == {}


@given(original=pods, current=pods)
def test_what_nobody_applied_stays(original: Any, current: Any) -> None:
    assert strategic_merge(core.Pod, current, three_way(core.Pod, {}, {}, current)) == current
    assert strategic_merge(core.Pod, current, {}) == current
    assert three_way(core.Pod, original, current, current) == {}


directives = st.sampled_from(
    ["$patch", "$retainKeys", ORDER + "containers", ORDER + "finalizers", DELETE + "finalizers", "containers",
     "finalizers", "labels", "metadata", "spec", "name", "env", "ports", "x"]
)  # fmt: skip
scalars = st.none() | st.integers(0, 1) | st.sampled_from(["delete", "replace", "a", "b", "name"])
wild = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(directives, inner, max_size=4),
    max_leaves=10,
)


@given(
    target=pods | st.dictionaries(directives, wild, max_size=3),
    patch=st.dictionaries(directives, wild, max_size=3),
)
def test_any_patch_is_refused_or_merged(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    with suppress(BadRequest):
        strategic_merge(core.Pod, target, patch)
    assert (target, patch) == before


@given(original=wild, modified=pods, current=pods)
def test_a_broken_record_of_the_last_apply_does_no_harm(original: Any, modified: Any, current: Any) -> None:
    result = strategic_merge(core.Pod, current, three_way(core.Pod, original, modified, current))
    assert three_way(core.Pod, modified, modified, result) == {}
