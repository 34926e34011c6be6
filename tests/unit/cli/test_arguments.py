import pytest

from orchestra.base.errors import UsageError
from orchestra.cli.arguments import select


@pytest.mark.parametrize(
    ("line", "kinds", "targets", "several"),
    [
        ("", [], [], False),
        ("pods", ["Pod"], [], False),
        ("po", ["Pod"], [], False),
        ("Pod", ["Pod"], [], False),
        ("deployments.apps", ["Deployment"], [], False),
        ("deployments.v1.apps", ["Deployment"], [], False),
        ("pod web", ["Pod"], [("Pod", "web")], False),
        ("deploy web api", ["Deployment"], [("Deployment", "web"), ("Deployment", "api")], False),
        ("pod/web", ["Pod"], [("Pod", "web")], False),
        ("pod/web svc/web", ["Pod", "Service"], [("Pod", "web"), ("Service", "web")], True),
        ("po,svc", ["Pod", "Service"], [], True),
        ("po,svc web", ["Pod", "Service"], [("Pod", "web"), ("Service", "web")], True),
        ("all", ["Pod", "ReplicationController", "Service", "Deployment", "ReplicaSet"], [], True),
        (
            "all,nodes",
            ["Pod", "ReplicationController", "Service", "Deployment", "ReplicaSet", "Node"],
            [],
            True,
        ),
    ],
)
def test_resource_words(line: str, kinds: list[str], targets: list[tuple[str, str]], several: bool) -> None:
    found = select(line.split())
    assert [kind.kind for kind in found.kinds] == kinds
    assert [(kind.kind, name) for kind, name in found.targets] == targets
    assert found.several is several


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pdos", 'the server doesn\'t have a resource type "pdos", did you mean "pods"?'),
        ("zzzz", 'the server doesn\'t have a resource type "zzzz" (see orchestra api-resources)'),
        ("po,", 'arguments in resource form may not have empty parts: "po,"'),
        ("pod/", 'arguments in resource/name form must have a single resource and name: "pod/"'),
        ("pod/a/b", 'arguments in resource/name form must have a single resource and name: "pod/a/b"'),
    ],
)
def test_wrong_words_are_named(line: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        select(line.split())
    assert str(raised.value) == said


def test_the_two_ways_to_name_are_not_mixed() -> None:
    with pytest.raises(UsageError, match="there is no need to specify a resource type"):
        select(["pod", "pod/web"])
