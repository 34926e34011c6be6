import pytest

from orchestra.base.errors import UsageError
from orchestra.cli.printing.columns import CustomColumns, sort_by
from orchestra.cli.printing.jsonpath import Template

DATA = {
    "kind": "List",
    "items": [
        {"metadata": {"name": "a", "labels": {"app.x/y": "1"}}, "n": 10, "ports": [80, 443], "up": True},
        {"metadata": {"name": "b"}, "n": 9, "status": {"phase": "Running"}},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("{kind}", "List"),
        ("{.items[*].metadata.name}", "a b"),
        ("{.items[0].metadata.name}", "a"),
        ("{.items[-1].metadata.name}", "b"),
        ("{.items[0:1].metadata.name}", "a"),
        ("{.items[5].metadata.name}", ""),
        ("{..name}", "a b"),
        ("{.items[0].ports}", "[80,443]"),
        ("{.items[0].up}", "true"),
        ("{.items[0].ports[0,1]}", "80 443"),
        ("{.items[0].metadata.labels.app\\.x/y}", "1"),
        ("{.items[0].metadata.labels['app.x/y']}", "1"),
        ("{.items[0]['metadata']['name']}", "a"),
        ('{.items[?(@.metadata.name=="b")].n}', "9"),
        ("{.items[?(@.n>9)].metadata.name}", "a"),
        ("{.items[?(@.status)].metadata.name}", "b"),
        ('{.items[?(@.metadata.name!="b")].n}', "10"),
        ('{range .items[*]}{.metadata.name}={.n}{"\\n"}{end}', "a=10\nb=9\n"),
        ("{range .items[*]}{.metadata.name}{'\\t'}{end}", "a\tb\t"),
        ("n: {.items[0].n}!", "n: 10!"),
        ("{.nothing.at.all}", ""),
        ("", ""),
        ("{.items[0].metadata.name} {.items[1].metadata.name}", "a b"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert Template(template).fill(DATA) == text


@pytest.mark.parametrize(
    "template",
    ["{.a", "{range .a}", "{end}", "{.a[}", "{.a[x]}", "{.a[?(@.b==zz)]}", "{.a[::0]}", "{" * 70000],
)
def test_broken_templates_are_one_sentence(template: str) -> None:
    with pytest.raises(UsageError, match="jsonpath"):
        Template(template)


def test_deeply_nested_ranges_are_refused() -> None:
    with pytest.raises(UsageError, match="too deep"):
        Template("{range .a}" * 100)


def test_custom_columns() -> None:
    table = CustomColumns("NAME:.metadata.name,PHASE:{.status.phase},PORTS:.ports[*]")
    assert table.text(DATA["items"]) == (  # type: ignore[arg-type]
        "NAME   PHASE     PORTS\na      <none>    80,443\nb      Running   <none>\n"
    )


@pytest.mark.parametrize("spec", ["", "NAME", "NAME:"])
def test_wrong_custom_columns(spec: str) -> None:
    with pytest.raises(UsageError):
        CustomColumns(spec)


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([10, 9], [1, 0]),
        (["web-10", "web-9"], [1, 0]),
        (["b", None, "a"], [1, 2, 0]),
        (["1Gi", "500Mi", "2Ki"], [2, 1, 0]),
        (["500m", "1", "2"], [0, 1, 2]),
        (["2026-01-02T00:00:00Z", "2025-12-31T00:00:00Z"], [1, 0]),
    ],
)
def test_sorting(values: list[object], order: list[int]) -> None:
    assert sort_by(".v", [{"v": value} if value is not None else {} for value in values]) == order


def test_sorting_by_what_nobody_has_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="couldn't find any field"):
        sort_by(".nope", [{"v": 1}])
