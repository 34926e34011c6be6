"""Label selectors: the grammar, the object form, and that text and object agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.base.errors import BadRequest
from orchestra.objects.selectors import (
    EVERYTHING,
    NOTHING,
    Requirement,
    check_label_key,
    check_label_value,
    parse_label_selector,
    requirement,
    selector_from,
    selector_from_map,
)
from orchestra.pb import meta

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": "", "in": "notin"}

# (text, canonical text, whether LABELS match)
TEXTS = [
    ("", "", True),
    ("  ", "", True),
    ("app=web", "app=web", True),
    ("app==web", "app=web", True),
    (" app = web ", "app=web", True),
    ("app!=web", "app!=web", False),
    ("other!=web", "other!=web", True),
    ("app in (web, db)", "app in (db,web)", True),
    ("app in (web)", "app=web", True),
    ("app in(db)", "app=db", False),
    ("app notin (web,db)", "app notin (db,web)", False),
    ("other notin (web)", "other!=web", True),
    ("app", "app", True),
    ("!app", "!app", False),
    ("! other", "!other", True),
    ("tier=front,app=web", "app=web,tier=front", True),
    ("app=web,app=web", "app=web", True),
    ("app=web,app=db", "app=db,app=web", False),
    ("example.com/x=", "example.com/x=", True),
    ("example.com/x", "example.com/x", True),
    ("app=", "app=", False),
    ("app in (,web)", "app in (,web)", True),
    ("n>4,n<6", "n>4,n<6", True),
    ("n>5", "n>5", False),
    ("app>1", "app>1", False),
    ("other<1", "other<1", False),
    ("in in (notin)", "in=notin", True),
    ("in=notin", "in=notin", True),
    ("app=in", "app=in", False),
]


@pytest.mark.parametrize(("text", "canonical", "matches"), TEXTS)
def test_text(text: str, canonical: str, matches: bool) -> None:
    selector = parse_label_selector(text)
    assert sorted(str(selector).split(",")) == sorted(canonical.split(","))
    assert selector.matches(LABELS) is matches
    assert parse_label_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("=a", 'found "=" at character 1'),
        ("a b", 'found "b" at character 3'),
        ("a=b,", "expected a label's key, but it ends there"),
        (",a", "expected a label's key"),
        ("a in", 'expected "("'),
        ("a in x", 'expected "("'),
        ("a in (x", 'expected "," or ")"'),
        ("a in (x y)", 'expected "," or ")"'),
        ("a=(x)", "expected a value"),
        ("!a=b", 'expected ","'),
        ("a=b=c", 'expected ","'),
        ("a in (x)) ", 'expected ","'),
        ("a@=b", "name part must consist of"),
        ("a=b@", "a valid label must be"),
        ("-a", "name part must consist of"),
        ("a/b/c=d", "a qualified name"),
        ("/b", "prefix part must be non-empty"),
        ("a/", "name part must be non-empty"),
        ("a>x", "needs exactly one value, a whole number"),
        ("a=" + "b" * 64, "no more than 63"),
        ("!", "expected a label's key"),
        ("(", "expected a label's key"),
        ("a," * 20_000, "longer than"),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_label_selector(text)
    assert sentence in str(caught.value)
    assert "label selector" in str(caught.value)


def test_object_form() -> None:
    selector = selector_from(
        meta.LabelSelector(
            matchLabels={"app": "web"},
            matchExpressions=[
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "other", "operator": "DoesNotExist"},
                {"key": "n", "operator": "Exists"},
                {"key": "app", "operator": "NotIn", "values": ["db"]},
            ],
        )
    )
    assert str(selector) == "app=web,app!=db,n,!other,tier in (back,front)"
    assert selector.matches(LABELS)
    assert selector.exact() == {"app": "web"}
    assert parse_label_selector(str(selector)) == selector


@pytest.mark.parametrize(
    ("operator", "values", "sentence"),
    [("In", [], "at least one value"), ("Exists", ["a"], "takes no values"), ("Equals", ["a"], "is no operator"),
     ("Gt", ["1"], "is no operator of a label selector"), ("", [], "is no operator"), ("In", ["@"], "value")],
)  # fmt: skip
def test_object_form_refused(operator: str, values: list[str], sentence: str) -> None:
    expression = meta.LabelSelectorRequirement(key="k", operator=operator, values=values)
    with pytest.raises(BadRequest) as caught:
        selector_from(meta.LabelSelector(matchExpressions=[expression]))
    assert sentence in str(caught.value)


def test_everything_and_nothing() -> None:
    assert selector_from(meta.LabelSelector()) == EVERYTHING == selector_from_map({})
    assert EVERYTHING.everything
    assert EVERYTHING.matches({})
    assert selector_from(None) is NOTHING
    assert not NOTHING.everything
    assert not NOTHING.matches({})
    assert not NOTHING.matches(LABELS)


def test_checks() -> None:
    assert check_label_key("example.com/a") is None
    assert check_label_key("A/b") is not None
    assert check_label_value("") is None
    assert check_label_value("a b") is not None


keys = st.sampled_from(["a", "b", "example.com/c", "in", "notin"])
texts = st.sampled_from(["", "x", "y", "1", "in"])
requirements = (
    st.builds(requirement, keys, st.sampled_from(["In", "NotIn"]), st.lists(texts, min_size=1, max_size=3))
    | st.builds(requirement, keys, st.sampled_from(["Exists", "DoesNotExist"]))
    | st.builds(requirement, keys, st.sampled_from(["Gt", "Lt"]), st.sampled_from([["1"], ["7"]]))
)


@given(st.lists(requirements, max_size=4), st.dictionaries(keys, texts))
def test_text_and_requirements_agree(chosen: list[Requirement], labels: dict[str, str]) -> None:
    selector = parse_label_selector(",".join(map(str, chosen)))
    assert set(selector.requirements) == set(chosen)
    assert selector.matches(labels) is all(one.matches(labels) for one in chosen)


@given(keys, st.lists(texts, min_size=1), st.dictionaries(keys, texts))
def test_opposites(key: str, values: list[str], labels: dict[str, str]) -> None:
    assert requirement(key, "In", values).matches(labels) is not requirement(key, "NotIn", values).matches(
        labels
    )
    assert requirement(key, "Exists").matches(labels) is not requirement(key, "DoesNotExist").matches(labels)
