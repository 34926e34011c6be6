import pytest

from orchestra.base.errors import OrchestraError
from orchestra.cli.verbs.explain import explain_text
from orchestra.objects import docs
from orchestra.objects.codec import schema_of
from orchestra.objects.docs import field_doc, message_doc
from orchestra.objects.kinds import DEPLOYMENT, EVENT, KINDS, POD, kind_named
from tests.unit.cli.written import golden


def test_a_field_with_fields() -> None:
    assert explain_text(POD, ["spec", "containers", "ports"]) == golden("""
        KIND:       Pod
        VERSION:    v1

        FIELD: ports <[]ContainerPort>


        DESCRIPTION:
            The ports that the container answers on. It is told which port of the node
            each one got: PORT for the first, PORT_<NAME> for those with a name. A
            port that a container answers on.
        %%%%
        FIELDS:
          containerPort	<integer> -required-
            The number by which services and probes name the port.

          hostIP	<string>
            The address of the node to listen on.

          hostPort	<integer>
            The port of the node to use; a free one is chosen if it is not given.

          name	<string>
            A name for the port, for services and probes.

          protocol	<string>
            TCP (the default) or UDP.

    """).replace("%%%%", "    ")


def test_a_kind() -> None:
    text = explain_text(DEPLOYMENT, [])
    assert text.startswith("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nDESCRIPTION:\n")
    assert "  apiVersion\t<string>\n" in text
    assert "  spec\t<DeploymentSpec>\n" in text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("spec.containers.env.value", "value <string>"),
        ("spec.containers.resources.limits", "limits <map[string]Quantity>"),
        ("spec.containers.livenessProbe.httpGet.port", "port <IntOrString>"),
        ("spec.nodeSelector", "nodeSelector <map[string]string>"),
        ("spec.volumes.emptyDir", "emptyDir <EmptyDirVolumeSource>"),
        ("metadata.creationTimestamp", "creationTimestamp <string>"),
        ("metadata.generation", "generation <integer>"),
        ("spec.hostNetwork", "hostNetwork <boolean>"),
        ("kind", "kind <string>"),
    ],
)
def test_types(path: str, shown: str) -> None:
    assert f"\nFIELD: {shown}\n" in explain_text(POD, path.split("."))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("spec.containrs", 'field "containrs" does not exist, did you mean "containers"?'),
        ("spec.nodeName.x", 'field "x" does not exist'),
    ],
)
def test_a_field_there_is_not(path: str, said: str) -> None:
    with pytest.raises(OrchestraError) as raised:
        explain_text(POD, path.split("."))
    assert str(raised.value) == said


def test_recursion_ends_and_shows_every_level() -> None:
    text = explain_text(POD, [], recursive=True)
    assert "      image\t<string>\n" in text
    assert "        containerPort\t<integer> -required-\n" in text
    assert "  involvedObject\t<ObjectReference> -required-\n" in explain_text(EVENT, [], recursive=True)


def test_what_is_documented_is_there() -> None:
    """A text about a field that no message has would be a text nobody can see."""
    known: dict[str, set[str]] = {}
    waiting = [schema_of(kind.message) for kind in KINDS]
    while waiting:
        schema = waiting.pop()
        name = schema.name.rsplit(".", 1)[-1]
        if name not in known:
            known[name] = set(schema.by_name)
            waiting += [field.schema for field in schema if field.schema is not None]
    for message, fields in docs._ALL.items():
        for field in fields:
            top = field in ("apiVersion", "kind") and kind_named(message) is not None
            assert not field or top or field in known[message], f"{message}.{field}"


def test_every_kind_and_its_spec_is_documented() -> None:
    for kind in KINDS:
        assert message_doc(kind.kind), kind.kind
    assert field_doc("PodSpec", "containers")
    assert field_doc("Nothing", "nowhere") == ""
