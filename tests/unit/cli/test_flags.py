import pytest

from orchestra.base.errors import UsageError
from orchestra.cli.flags import GLOBALS, Flag, parse, parse_duration, split_verb

FLAGS = (
    *GLOBALS,
    Flag("output", "", "o"),
    Flag("all-namespaces", "", "A", shape="bool"),
    Flag("watch", "", "w", shape="bool"),
    Flag("wait", "", shape="bool", default=True),
    Flag("replicas", "", shape="int", default=1),
    Flag("timeout", "", shape="duration"),
    Flag("filename", "", "f", shape="list"),
    Flag("env", "", shape="array"),
    Flag("dry-run", "", default="none", bare="client", choices=("none", "client", "server")),
)


@pytest.mark.parametrize(
    ("line", "words", "options"),
    [
        ("pods", ["pods"], {}),
        ("pods -o wide web", ["pods", "web"], {"output": "wide"}),
        ("-owide pods", ["pods"], {"output": "wide"}),
        ("-o=wide pods", ["pods"], {"output": "wide"}),
        ("--output=wide pods", ["pods"], {"output": "wide"}),
        ("--output wide pods", ["pods"], {"output": "wide"}),
        ("-Aw pods", ["pods"], {"all_namespaces": True, "watch": True}),
        ("-Awo yaml pods", ["pods"], {"all_namespaces": True, "watch": True, "output": "yaml"}),
        ("-n shop pods", ["pods"], {"namespace": "shop"}),
        ("pods -nshop", ["pods"], {"namespace": "shop"}),
        ("--wait=false x", ["x"], {"wait": False}),
        ("--wait=true x", ["x"], {"wait": True}),
        ("-w=false x", ["x"], {"watch": False}),
        ("--replicas=-1", [], {"replicas": -1}),
        ("--replicas 3", [], {"replicas": 3}),
        ("--timeout 1m30s", [], {"timeout": 90.0}),
        ("-f a.yaml,b.yaml -f c", [], {"filename": ["a.yaml", "b.yaml", "c"]}),
        ("-f - x", ["x"], {"filename": ["-"]}),
        ("--env A=1,2 --env B=3", [], {"env": ["A=1,2", "B=3"]}),
        ("--dry-run x", ["x"], {"dry_run": "client"}),
        ("--dry-run=server x", ["x"], {"dry_run": "server"}),
        ("-v x", ["x"], {"v": 1}),
        ("-vv x", ["x"], {"v": 2}),
        ("-v 6 x", ["x"], {"v": 6}),
        ("-v=6 x", ["x"], {"v": 6}),
        ("-v6 x", ["x"], {"v": 6}),
        ("x -", ["x", "-"], {}),
    ],
)
def test_flags_stand_anywhere(line: str, words: list[str], options: dict[str, object]) -> None:
    parsed = parse(FLAGS, line.split())
    assert parsed.words == words
    assert {name: getattr(parsed.options, name) for name in options} == options


def test_what_follows_two_dashes_is_left_alone() -> None:
    parsed = parse(FLAGS, ["name", "-o", "yaml", "--", "sh", "-c", "--x"])
    assert (parsed.words, parsed.trailing) == (["name"], ["sh", "-c", "--x"])
    assert parse(FLAGS, ["name"]).trailing is None
    assert parse(FLAGS, ["name", "--"]).trailing == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--wacth", "unknown flag: --wacth, did you mean --watch?"),
        ("--zzz", "unknown flag: --zzz"),
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("-wx", "unknown shorthand flag: 'x' in -wx"),
        ("--output", "flag needs an argument: --output"),
        ("-o", "flag needs an argument: -o"),
        ("--replicas=many", 'invalid argument "many" for "--replicas": must be a whole number'),
        ("--wait=perhaps", 'invalid argument "perhaps" for "--wait": must be true or false'),
        ("--timeout=soon", 'invalid argument "soon" for "--timeout": "soon" is no duration: write it like 30s, 5m or 1h30m'),
        ("--dry-run=maybe", 'invalid argument "maybe" for "--dry-run": must be one of none, client, server'),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(line: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(FLAGS, line.split())
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("0", 0), ("30", 30), ("-1s", -1), ("1.5m", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 s", "5x", "1m30", "--1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("line", "verb", "rest"),
    [
        ("get pods", "get", "pods"),
        ("-n shop get pods", "get", "-n shop pods"),
        ("--namespace=shop get pods", "get", "--namespace=shop pods"),
        ("--server h:1 -v get pods", "get", "--server h:1 -v pods"),
        ("--help", "", "--help"),
        ("-- x", "", "-- x"),
        ("", "", ""),
    ],
)
def test_the_verb_is_the_first_word(line: str, verb: str, rest: str) -> None:
    assert split_verb(GLOBALS, line.split()) == (verb, rest.split())


def test_a_list_given_is_not_added_to_its_default() -> None:
    flag = Flag("master", "", shape="list", default=["a"])
    assert parse((flag,), ["--master=b,c"]).options.master == ["b", "c"]
    assert parse((flag,), []).options.master == ["a"]
