"""Manifests: what is read, which sentence each mistake gets, and that no input is too much."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestra.objects.manifests import BYTES_MAX, PROBLEMS_MAX, load_documents
from orchestra.pb import apps, core

TESTDATA = Path(__file__).parents[2] / "testdata" / "manifests"

POD = """apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: app, command: [sleep]}]}
"""


def said(text, source="web.yaml"):
    data = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in load_documents(data, source).problems]


def names(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [one.obj.metadata.name for one in load_documents(data, "web.yaml").objects]


def test_the_mistakes_of_a_whole_file_in_one_go():
    expected = (TESTDATA / "mistakes.txt").read_text().splitlines()
    assert said((TESTDATA / "mistakes.yaml").read_bytes()) == expected


def test_the_example_of_a_misspelt_field():
    data = (TESTDATA / "misspelt.yaml").read_bytes()
    assert said(data) == [
        'web.yaml:14: spec.template.spec.containers[0].comand: unknown field, did you mean "command"?'
    ]
    assert load_documents(data, "web.yaml").objects == ()


def test_documents_lists_and_places():
    text = f"{POD}---\n# nothing\n---\n---\napiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- {{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}, spec: {{ports: [{{port: 80}}]}}}}\n"
        for i in range(2)
    )
    result = load_documents(text.encode(), "web.yaml")
    assert [(one.obj.metadata.name, one.line, one.source) for one in result.objects] == [
        ("a", 1, "web.yaml"), ("s0", 12, "web.yaml"), ("s1", 13, "web.yaml"),
    ]  # fmt: skip
    assert isinstance(result.objects[1].obj, core.Service)
    assert result.problems == ()


def test_objects_are_as_written_without_defaults():
    obj = load_documents(POD.encode(), "web.yaml").objects[0].obj
    assert not obj.spec.HasField("restartPolicy")
    assert not obj.HasField("status")


def test_a_typed_list_says_what_its_items_are():
    text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: x, image: i}]}\n"
    assert names(text) == ["a"]
    assert said(text.replace("image: i", "imge: i")) == [
        'web.yaml:5: items[0].spec.containers[0].imge: unknown field, did you mean "image"?'
    ]


def test_a_good_object_beside_a_bad_one_is_kept():
    text = (
        f"{POD}---\nkind: Pod\napiVersion: v1\nmetadata: {{name: b}}\nspec: {{containers: 3}}\n---\n"
        + POD.replace("name: a", "name: c")
    )
    assert names(text) == ["a", "c"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("two values", '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":'
                       '[{"name":"x","image":"i"}]}}\n{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}}'),
        ("tabs", '{\n\t"apiVersion": "v1",\n\t"kind": "List",\n\t"items": [\n\t\t{"apiVersion": "v1", "kind": '
                 '"Namespace", "metadata": {"name": "a"}}, {"apiVersion": "v1", "kind": "Namespace", "metadata": '
                 '{"name": "b"}}]\n}\n'),
        ("braces of YAML", '{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n'
                           '{apiVersion: v1, kind: Namespace, metadata: {name: b}}'),
        ("a mark at the start", "\ufeffapiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n"
                                "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"),
        ("an anchor", "apiVersion: v1\nkind: List\nitems:\n- &one {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
                      "- <<: *one\n  metadata: {name: b}\n"),
        ("a directive", "# first\n%YAML 1.1\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- # again\n"
                        "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n...\n"),
        ("carriage returns", "apiVersion: v1\r\nkind: Namespace\r\nmetadata: {name: a}\r\n---\r\napiVersion: v1\r\n"
                             "kind: Namespace\r\nmetadata: {name: b}\r\n"),
    ],
)  # fmt: skip
def test_forms_that_are_read(name, text):
    assert said(text) == [], name
    assert names(text) == ["a", "b"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", None), ("Off", None), ("0777", None), ("1.10", None), ("1e3", None), ("0x1F", None),
        ("2026-01-01", "2026-01-01"), ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), ("12:30:45", "12:30:45"),
        ('"yes"', "yes"), ("'0777'", "0777"), ("1.2.3", "1.2.3"), (".inf", ".inf"), ("!!str 12", "12"),
        ("yess", "yess"), ("=", "="), ("1" * 60, "1" * 60), ("0o17x", "0o17x"), ("08x", "08x"),
    ],
)  # fmt: skip
def test_what_an_unquoted_word_is(written, value):
    text = POD + f"status: {{message: {written}}}\n"
    result = load_documents(text.encode(), "web.yaml")
    if value is not None:
        assert result.problems == ()
        assert result.objects[0].obj.status.message == value
    else:
        assert len(result.problems) == 1
        assert result.problems[0].message.endswith(f'put it in quotes: "{written}"')


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("yes", 'expected a string, got yes, which YAML reads as true: put it in quotes: "yes"'),
        ("0777", 'expected a string, got 0777, which YAML reads as 511: put it in quotes: "0777"'),
        ("80", 'expected a string, got 80 (a number): put it in quotes: "80"'),
    ],
)
def test_which_quotes_are_missing(written, message):
    text = POD.replace("{name: a}", f"{{name: a, labels: {{v: {written}}}}}")
    assert said(text) == [f"web.yaml:3: metadata.labels[v]: {message}"]


def test_numbers_are_read_as_kubernetes_reads_them():
    text = POD.replace("[sleep]", "[sleep], ports: [{containerPort: 0x50}]") + "metadata: {name: a}\n"
    octal = POD.replace("spec: {", "spec: {terminationGracePeriodSeconds: 0100, ")
    assert load_documents(octal.encode(), "x").objects[0].obj.spec.terminationGracePeriodSeconds == 64
    assert "duplicate key" in said(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [b\n", "web.yaml:2: not YAML: "),
        ("a: b\n\tc: d\n", "web.yaml:2: not YAML: a tab in the indentation: YAML wants spaces"),
        ("a: {{ .Values.x }}\n", "web.yaml:1: a key must be a plain word, not a mapping or a list"),
        ("a: {{x}} y\n", "web.yaml:1: a key must be a plain word"),
        ("a: @b\n", 'web.yaml:1: not YAML: a text cannot start with "@" without quotes'),
        ("a: b: c\n", 'web.yaml:1: not YAML: a ":" where none can be'),
        ("a: 'b\nc: d\n", "web.yaml:3: not YAML: the text ends inside a quoted string (it began on line 1)"),
        ("a: *b\n", 'web.yaml:1: alias "*b" names no anchor before it that is complete'),
        ("a: &a [*a]\n", 'web.yaml:1: alias "*a" names no anchor before it that is complete'),
        ("a: !Ref b\n", "web.yaml:1: tag !Ref is not supported: leave it out"),
        ("a: !!binary b\n", "web.yaml:1: tag !!binary is not supported: leave it out"),
        ("&a b: c\n", 'web.yaml:1: anchor "&a" on a key: anchor a value instead'),
        ("a:\n  <<: 3\n", 'web.yaml:2: "<<" merges mappings only'),
        ("kind: Namespace\napiVersion: v1\nmetadata: {name: a}\nkind: Pod\n", 'web.yaml:4: kind: duplicate key "kind": it is on line 1 and again on line 4'),
        ("hello\n", 'web.yaml:1: expected an object, got "hello" (a string)'),
        ("\n- a\n", "web.yaml:2: expected an object, got a list"),
        ("kind: Pod\n", "web.yaml:1: apiVersion: is missing"),
        ("apiVersion: apps/v1\nkind: Deploymint\n", 'web.yaml:2: kind: unknown kind "Deploymint", did you mean'),
        ("apiVersion: v1\nkind: List\nitems: 3\n", "web.yaml:3: items: expected a list of objects"),
        ('{"a": 1,\n "b" 2}', 'web.yaml:2: not JSON: expected ":" after a key'),
        ('{"a": 1 "b": 2}', 'web.yaml:1: not JSON: expected "," or "}", found "b"'),
        ('{"a": [1, 2', 'web.yaml:1: not JSON: the text ends before a closing "]"'),
        ('{"a": "\\ud800"}', "web.yaml:1: not JSON: bad escape"),
        ('["\\q"]', "web.yaml:1: not JSON: bad escape"),
        ('{"a": tru}', "web.yaml:1: apiVersion: is missing"),
        ('{"a": ]', 'web.yaml:1: not JSON: expected a value, found "]"'),
        ("{3: [}", "web.yaml:1: not JSON: expected a key in quotes, found 3"),
        (b"a: b\nc: \xff\n", "web.yaml:2: not UTF-8: byte 0xff at offset 8 is no part of a character"),
        (b"a: b\nc: \x00\n", "web.yaml:2: control character U+0000, which no manifest may hold"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_text_that_cannot_be_read(text, expected):
    problems = said(text)
    assert problems
    assert problems[0].startswith(expected), problems


def test_a_document_that_cannot_be_read_hides_no_other():
    problems = said(f"a: [\n---\n{POD}---\nb: {{\n---\n{POD.replace('name: app', 'nme: app')}")
    assert [problem.split(": ")[0] for problem in problems] == ["web.yaml:2", "web.yaml:9", "web.yaml:13"]


def test_a_misspelt_field_is_one_mistake_and_hides_no_other():
    text = POD.replace("command:", "comand:").replace("spec: {", "spec: {restartPolicy: Sometimes, ")
    assert [problem.split(": ", 1)[1] for problem in said(text)] == [
        'spec.containers[0].comand: unknown field, did you mean "command"?',
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ]


def test_a_cluster_scoped_object_with_a_namespace():
    text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  namespace: b\n"
    assert said(text) == ["web.yaml:5: metadata.namespace: Forbidden: not allowed on this type"]


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(12)
)
MERGES = b"a: &a {" + b", ".join(b"k%d: 1" % i for i in range(2000)) + b"}\nb:\n" + b"- <<: *a\n" * 5000


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a YAML bomb", BOMB, "more than 100000 values, with aliases expanded"),
        ("a long text repeated", b"a: &a " + b"x" * 10**6 + b"\nb: [" + b"*a," * 1000 + b"]\n",
         "aliases expand to more than 16 MiB"),
        ("100 MB", b"x" * 10**8, "the text is longer than the 4194304 bytes (4 MiB)"),
        ("deep flow", b"[" * 10**6, "nested more than 64 levels deep"),
        ("deep flow in YAML", b"a: " + b"[" * 10**6, "nested more than 64 levels deep"),
        ("deep blocks", b"\n".join(b" " * i + b"a:" for i in range(1500)), "nested more than 64 levels deep"),
        ("deep JSON", b'{"a":' * 10**5, "nested more than 64 levels deep"),
        ("deep by aliases", b"a: &a " + b"[" * 60 + b"]" * 60 + b"\nb: [[[[*a]]]]\n",
         "nested more than 64 levels deep, with aliases expanded"),
        ("many values", b"- a\n" * 10**6, "more than 100000 values"),
        ("many JSON values", b"[" + b"1," * 10**6 + b"1]", "more than 100000 values"),
        ("many documents", b"---\na: b\n" * 10**4, "200 mistakes or more"),
        ("many JSON documents", b'{"kind": 1}' * 2000, "more than 1000 documents"),
        ("many duplicates", b"a: 1\n" * 10**5, "more than 100 mistakes"),
        ("many unknown fields", b"apiVersion: v1\nkind: Pod\n" + b"".join(b"x%d: 1\n" % i for i in range(40_000)),
         "200 mistakes or more"),
        ("an open JSON text", b'{"a": "' + b"x\\\\" * 10**6, "is unexpected"),
        ("an open YAML text", b"a: '" + b"b\n\n" * 10**6, "the text ends inside a quoted string"),
        ("merges", MERGES, "more than 100000 values"),
        ("a long number", b"apiVersion: " + b"9" * 10**6, ""),
        ("blanks", b'{"a"' + b" " * 10**6, "not JSON"),
        ("a long key", b'{"apiVersion": "v1", "kind": "Pod", "' + b"x" * 10**6 + b'": 1}', "unknown field"),
        ("a long alias", b"a: *" + b"x" * 10**6 + b"\n", "names no anchor"),
        ("a long label", b"apiVersion: v1\nkind: Pod\nmetadata: {labels: {" + b"-x/" * 300 + b": z}}\n", "qualified name must"),
        ("question marks", b"? " * 10**6, "a key must be a plain word"),
    ],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_texts_are_refused_at_bounded_cost(name, data, expected):
    result = load_documents(data, "x")
    assert result.objects == ()
    assert any(expected in problem.message for problem in result.problems), name
    assert len(result.problems) <= PROBLEMS_MAX + 1
    assert all(len(str(problem)) < 2000 for problem in result.problems)


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"---\n" * 100_000, b"# only\n---\n#\n" * 10_000, b"null\n", b"~"]
)
def test_nothing_is_no_mistake(data):
    assert load_documents(data, "x") == load_documents(b"", "x")


def test_the_size_limit_is_exact():
    fits = b"#" * (BYTES_MAX - 1) + b"\n"
    assert load_documents(fits, "x").problems == ()
    assert load_documents(fits + b"\n", "x").problems


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_any_bytes_are_answered(data):
    load_documents(data, "x")


FRAGMENTS = st.lists(
    st.sampled_from(
        ["a", "kind: Pod\n", "apiVersion: v1\n", "spec:\n", "  ", "- ", "? ", ": ", "\n", "{", "}", "[", "]", ",", '"',
         "'", "|\n", ">\n", "&a ", "*a", "<<: ", "!!str ", "!x ", "---\n", "...\n", "%", "\t", "#", "0777", "yes", "~",
         "\\", "é", "items:\n", "List", "metadata:\n", "name", "{{", "}}", "null", "containers:\n", "1e999", "-"]
    ),
    max_size=60,
).map("".join)  # fmt: skip


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FRAGMENTS)
def test_any_arrangement_of_fragments_is_answered(text):
    for problem in load_documents(text.encode(), "x").problems:
        assert 1 <= problem.line <= text.count("\n") + 2


def test_a_deployment_reads_as_a_deployment():
    obj = (
        load_documents((TESTDATA / "misspelt.yaml").read_bytes().replace(b"comand", b"command"), "x")
        .objects[0]
        .obj
    )
    assert isinstance(obj, apps.Deployment)
    assert list(obj.spec.template.spec.containers[0].command) == ["python3", "server.py"]


def test_memory_is_bounded():
    for data in (BOMB, MERGES, b"- {a: b}\n" * 200_000, b"[" * 10**6):
        tracemalloc.start()
        load_documents(data, "x")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 96 * 2**20
