"""sig-cli: kubectl's verbs, typed."""

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml

from orchestra.objects.kinds import DEPLOYMENT, POD, REPLICATION_CONTROLLER
from tests.conformance.place import Manifest, Place, is_over, is_running, keeper, pod, shell

pytestmark = pytest.mark.asyncio(loop_scope="module")


def written(folder: Path, *manifests: Manifest) -> Path:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    return path


async def test_api_versions(place: Place) -> None:
    """api-versions"""
    assert "v1" in (await place.type("api-versions")).splitlines()


async def test_cluster_info(place: Place) -> None:
    """cluster-info"""
    assert re.search(rf"is running at .*{re.escape(place.cluster.server)}", await place.type("cluster-info"))


async def test_version(place: Place) -> None:
    """version"""
    said = await place.type("version")
    assert re.search(r"^Client Version: v\d+\.\d+", said, re.M)
    assert re.search(r"^Server Version: v\d+\.\d+", said, re.M)
    whole = json.loads(await place.type("version -o json"))
    for side in ("clientVersion", "serverVersion"):
        assert {"major", "minor", "gitVersion", "platform"} <= whole[side].keys()


async def test_describe(place: Place, tmp_path: Path) -> None:
    """describe pods, rc, service, node, namespace"""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "labels": {"app": "c"}},
        "spec": {"selector": {"app": "c"}, "ports": [{"port": 6379}]},
    }
    await place.type(f"create -f {written(tmp_path, keeper('ReplicationController', 'c', 1), service)}")
    found = (await place.ready_pods("c", 1))[0]

    async def describes(what: str, *lines: str) -> None:
        said = await place.type(f"describe {what}")
        for line in lines:
            assert re.search(f"^ *{line}", said, re.M), (line, said)

    name, node = found.metadata.name, found.spec.nodeName
    await describes(
        f"pod {name}",
        f"Name: +{name}",
        f"Namespace: +{place.namespace}",
        f"Node: +{node}",
        "Labels: +app=c",
        "Status: +Running",
        "IP:",
        "Controlled By: +ReplicationController/c",
        "State: +Running",
    )
    await describes(
        "rc c",
        "Name: +c",
        "Selector: +app=c",
        "Replicas: +1 current / 1 desired",
        "Pods Status: +1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "Pod Template:",
        "Events:",
    )
    await describes(
        "service s", "Name: +s", "Labels: +app=c", "Selector: +app=c", "Type: +ClusterIP", "Endpoints:"
    )
    await describes(
        f"node {node}",
        f"Name: +{node}",
        "Labels:",
        "CreationTimestamp:",
        "Conditions:",
        "Capacity:",
        "System Info:",
    )
    await describes(f"namespace {place.namespace}", f"Name: +{place.namespace}", "Labels:", "Status: +Active")


async def test_label(place: Place) -> None:
    """label"""
    await place.create(pod("p"))
    await place.type("label pods p testing-label=testing-label-value")
    assert "testing-label-value" in await place.type("get pod p -L testing-label")
    await place.type("label pods p testing-label-")
    assert "testing-label-value" not in await place.type("get pod p -L testing-label")


async def test_patch(place: Place) -> None:
    """patch"""
    await place.create(keeper("ReplicationController", "c", 2))
    pods = await place.ready_pods("c", 2)
    for found in pods:
        await place.type(
            f"""patch pod {found.metadata.name} -p '{{"metadata":{{"annotations":{{"x":"y"}}}}}}'"""
        )
    assert [found.metadata.annotations["x"] for found in await place.all(POD, "app=c")] == ["y", "y"]


async def test_run(place: Place) -> None:
    """run"""
    await place.type("run p --image=made-up --restart=Never --command -- sleep infinity")
    found = await place.until(POD, "p", is_running)
    assert (found.spec.restartPolicy, found.spec.containers[0].image) == ("Never", "made-up")
    assert not found.metadata.ownerReferences


async def test_server_side_dry_run(place: Place) -> None:
    """server-side dry-run"""
    await place.create(keeper("Deployment", "d", 1))
    patch = """'{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"other"}]}}}}'"""
    said = json.loads(await place.type(f"patch deployment d -p {patch} --dry-run=server -o json"))
    assert said["spec"]["template"]["spec"]["containers"][0]["image"] == "other"
    stored = await place.get(DEPLOYMENT, "d")
    assert (stored.spec.template.spec.containers[0].image, stored.metadata.generation) == ("", 1)


async def test_create_and_stop_an_rc(place: Place, tmp_path: Path) -> None:
    """create and stop an RC"""
    await place.type(f"create -f {written(tmp_path, keeper('ReplicationController', 'c', 2))}")
    await place.ready_pods("c", 2)
    said = await place.type("get pods -l app=c -o jsonpath={.items[*].status.phase}")
    assert said.split() == ["Running", "Running"]
    await place.type(f"delete --grace-period=0 --force -f {tmp_path / 'manifests.yaml'}")
    assert (await place.try_to_type("get rc c"))[0] == 1
    await place.until_all(POD, lambda pods: not pods)


async def test_scale_an_rc(place: Place) -> None:
    """scale an RC"""
    await place.create(keeper("ReplicationController", "c", 2))
    await place.ready_pods("c", 2)
    for count in (1, 2):
        assert "replicationcontroller/c scaled" in await place.type(
            f"scale rc c --replicas={count} --timeout=5m"
        )
        await place.ready_pods("c", count)
    assert (await place.get(REPLICATION_CONTROLLER, "c")).spec.replicas == 2


async def test_logs_retrieve_and_filter(place: Place) -> None:
    """logs: retrieve and filter"""
    script = "for n in 1 2 3 4 5; do echo line $n; done; sleep 1.2; echo late"
    await place.create(pod("p", shell(script), restartPolicy="Never"))
    await place.until(POD, "p", is_over)
    lines = [f"line {n}" for n in range(1, 6)] + ["late"]
    whole, last, short, stamped, recent, none = await asyncio.gather(
        place.type("logs p c"),
        place.type("logs p --tail=1"),
        place.type("logs p --limit-bytes=1"),
        place.type("logs p --tail=1 --timestamps"),
        place.type("logs p --since=1s"),
        place.type("logs p --since-time=2199-01-01T00:00:00Z"),
    )
    assert whole.splitlines() == lines
    assert last == "late\n"
    assert short == "l"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) late\n", stamped)
    assert recent == "late\n"
    assert none == ""
