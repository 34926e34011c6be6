"""The deciding halves of verbs, without a server."""

import pytest

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli import generated
from orchestra.cli.printing.structured import manifest, yaml_text
from orchestra.cli.revisions import newest_of, owned_sets, same_template, status_of
from orchestra.cli.verbs.edit import body_of, editor_command, patch_between, with_header
from orchestra.cli.verbs.label import Edits, _apply, split_words
from orchestra.cli.verbs.wait import holds_of
from orchestra.pb import apps
from tests.unit.cli.written import obj


@pytest.mark.parametrize(
    ("words", "named", "edits"),
    [
        ("pod a x=1", ["pod", "a"], Edits({"x": "1"}, ())),
        ("pod/a x=1 y-", ["pod/a"], Edits({"x": "1"}, ("y",))),
        ("pod a x= example.com/y-", ["pod", "a"], Edits({"x": ""}, ("example.com/y",))),
        ("pod a x=a=b", ["pod", "a"], Edits({"x": "a=b"}, ())),
        ("pods x-", ["pods"], Edits({}, ("x",))),
    ],
)
def test_label_words(words: str, named: list[str], edits: Edits) -> None:
    assert split_words(words.split(), "label") == (named, edits)


@pytest.mark.parametrize("words", ["pod a x=1 b", "pod a x=1 x=2", "pod a x=1 x-"])
def test_wrong_label_words(words: str) -> None:
    with pytest.raises(UsageError):
        split_words(words.split(), "label")


def test_only_what_differs_is_sent() -> None:
    edits = Edits({"a": "1", "b": "2"}, ("c", "d"))
    assert _apply(edits, {"a": "1", "c": "x"}, False, "label") == {"b": "2", "c": None}
    with pytest.raises(OrchestraError, match=r"'a' already has a value \(0\), and --overwrite is false"):
        _apply(edits, {"a": "0"}, False, "label")
    assert _apply(edits, {"a": "0"}, True, "label") == {"a": "1", "b": "2"}


def deployment(status: str, generation: int = 2, replicas: int = 3) -> apps.Deployment:
    made: apps.Deployment = obj(f"""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: web, generation: {generation}, uid: u}}
        spec:
          replicas: {replicas}
          selector: {{matchLabels: {{app: web}}}}
          template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: a}}]}}}}
        status: {status}
    """)
    return made


WAITING = 'Waiting for deployment "web" rollout to finish: '


@pytest.mark.parametrize(
    ("status", "said", "done"),
    [
        ("{observedGeneration: 1}", "Waiting for deployment spec update to be observed...", False),
        ("{}", "Waiting for deployment spec update to be observed...", False),
        (
            "{observedGeneration: 2, updatedReplicas: 1}",
            f"{WAITING}1 out of 3 new replicas have been updated...",
            False,
        ),
        (
            "{observedGeneration: 2, updatedReplicas: 3, replicas: 5}",
            f"{WAITING}2 old replicas are pending termination...",
            False,
        ),
        (
            "{observedGeneration: 2, updatedReplicas: 3, replicas: 3, availableReplicas: 2}",
            f"{WAITING}2 of 3 updated replicas are available...",
            False,
        ),
        (
            "{observedGeneration: 2, updatedReplicas: 3, replicas: 3, availableReplicas: 3}",
            'deployment "web" successfully rolled out',
            True,
        ),
    ],
)
def test_how_a_rollout_stands(status: str, said: str, done: bool) -> None:
    assert status_of(deployment(status)) == (said, done)


def test_a_rollout_that_takes_too_long_has_failed() -> None:
    made = deployment(
        "{observedGeneration: 2, conditions: [{type: Progressing, status: 'False', "
        "reason: ProgressDeadlineExceeded}]}"
    )
    with pytest.raises(ValueError, match='deployment "web" exceeded its progress deadline'):
        status_of(made)


def replica_set(name: str, revision: str, image: str = "", owner: str = "u") -> apps.ReplicaSet:
    made: apps.ReplicaSet = obj(f"""
        apiVersion: apps/v1
        kind: ReplicaSet
        metadata:
          name: {name}
          annotations: {{deployment.kubernetes.io/revision: "{revision}"}}
          ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: {owner}, controller: true}}]
        spec:
          selector: {{matchLabels: {{app: web}}}}
          template:
            metadata: {{labels: {{app: web, pod-template-hash: {name}}}}}
            spec: {{containers: [{{name: a{", image: " + image if image else ""}}}]}}
    """)
    return made


def test_whose_replica_sets_and_in_which_order() -> None:
    sets = [replica_set("c", "10", "x"), replica_set("b", "9"), replica_set("a", "1", owner="other")]
    web = deployment("{}")
    own = owned_sets(web, sets)
    assert [found.metadata.name for found in own] == ["b", "c"]
    newest = newest_of(web, own)
    assert newest is not None
    assert newest.metadata.name == "b"
    assert same_template(own[0].spec.template, web.spec.template)
    assert not same_template(own[1].spec.template, web.spec.template)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ("condition=Available", True),
        ("condition=available=TRUE", True),
        ("condition=Available=False", False),
        ("condition=Other", False),
        ("jsonpath={.status.replicas}=3", True),
        ("jsonpath={.status.replicas}=4", False),
        ("jsonpath={.status.replicas}", True),
        ("jsonpath={.status.nope}", False),
    ],
)
def test_what_is_waited_for(wanted: str, holds: bool) -> None:
    made = deployment("{replicas: 3, observedGeneration: 2, conditions: [{type: Available, status: 'True'}]}")
    assert holds_of(wanted)(made) is holds


def test_a_condition_of_an_older_generation_does_not_count() -> None:
    made = deployment("{observedGeneration: 1, conditions: [{type: Available, status: 'True'}]}")
    assert not holds_of("condition=Available")(made)


@pytest.mark.parametrize("wanted", ["", "condition", "condition=", "jsonpath=x", "jsonpath={.a}x", "other=1"])
def test_what_cannot_be_waited_for(wanted: str) -> None:
    with pytest.raises(UsageError):
        holds_of(wanted)


def test_an_edit_sends_only_what_was_changed() -> None:
    shown = manifest(deployment("{}"))
    edited = deployment("{}", replicas=5)
    edited.spec.template.spec.containers.add(name="b")
    patch = patch_between(shown, edited)
    assert patch["spec"]["replicas"] == 5
    assert [c["name"] for c in patch["spec"]["template"]["spec"]["containers"]] == ["b"]
    assert patch_between(shown, deployment("{}")) == {}


def test_what_an_editor_shows() -> None:
    text = with_header("a: 1\n# mine\n", ["one\ntwo"])
    assert "# one\n# two\n#\na: 1\n" in text
    assert body_of(text) == "a: 1\n# mine\n"


def test_which_editor() -> None:
    assert editor_command({"EDITOR": "code --wait", "VISUAL": ""}) == ["code", "--wait"]
    assert editor_command({"EDITOR": "a", "KUBE_EDITOR": "b", "ORCHESTRA_EDITOR": "c d"}) == ["c", "d"]


@pytest.mark.parametrize(
    ("image", "name"),
    [("nginx", "nginx"), ("a.b:5000/x/My_App:1.2", "my-app"), ("x/y@sha256:00", "y")],
)
def test_the_name_an_image_suggests(image: str, name: str) -> None:
    assert generated.image_name(image) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "a: plain\n"),
        ("1", 'a: "1"\n'),
        ("true", 'a: "true"\n'),
        ("yes", 'a: "yes"\n'),
        ("", 'a: ""\n'),
        ("null", 'a: "null"\n'),
        ("x: y", "a: 'x: y'\n"),
        ("one\ntwo\n", "a: |\n  one\n  two\n"),
        ("one\ntwo", "a: |-\n  one\n  two\n"),
        ("é", "a: é\n"),
        (5, "a: 5\n"),
        ([], "a: []\n"),
        ({}, "a: {}\n"),
        (["x"], "a:\n- x\n"),
        ("w " * 100 + "w", "a: " + "w " * 100 + "w\n"),
    ],
)
def test_yaml_is_written_as_kubectl_writes_it(value: object, text: str) -> None:
    assert yaml_text({"a": value}) == text
