"""sig-node: pods as objects, their lives, generations, nodes and taints."""

import asyncio
import ipaddress
from typing import Any

import pytest

from orchestra.base.errors import Invalid
from orchestra.objects.kinds import NODE, POD
from tests.conformance.place import (
    SLEEP,
    Place,
    condition,
    container,
    is_deleting,
    is_over,
    is_ready,
    is_running,
    is_true,
    message,
    names,
    pod,
    shell,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_qos_class(place: Place) -> None:
    """QOS class"""
    amounts = {"cpu": "100m", "memory": "100Mi"}

    def with_resources(name: str, **resources: Any) -> Any:
        return pod(name, container(*SLEEP, resources=resources))

    made = await place.create_all(
        with_resources("guaranteed", limits=amounts, requests=amounts),
        with_resources("limited", limits=amounts),
        with_resources("burstable", requests=amounts),
        with_resources("best-effort"),
    )
    assert [p.status.qosClass for p in made] == ["Guaranteed", "Guaranteed", "Burstable", "BestEffort"]
    assert (await place.until(POD, "guaranteed", is_running)).status.qosClass == "Guaranteed"


async def test_active_deadline_seconds_update(place: Place) -> None:
    """activeDeadlineSeconds update"""
    await place.create(pod("p"))
    await place.until(POD, "p", is_running)
    await place.patch(POD, "p", {"spec": {"activeDeadlineSeconds": 1}})
    failed = await place.until(POD, "p", is_over)
    assert (failed.status.phase, failed.status.reason) == ("Failed", "DeadlineExceeded")


async def test_submitted_and_removed(place: Place) -> None:
    """submitted and removed"""
    async with place.watching(POD, labels="app=p") as seen:
        await place.create(pod("p", labels={"app": "p"}))
        assert (await seen.until("ADDED")).metadata.name == "p"
        await seen.until("MODIFIED", is_running)
        await place.delete(POD, "p", grace_seconds=1)
        marked = await seen.until("MODIFIED", is_deleting)
        assert marked.metadata.deletionGracePeriodSeconds == 1
        gone = await seen.until("DELETED")
        assert gone.metadata.HasField("deletionTimestamp")
    assert not await place.all(POD, "app=p")


async def test_updated(place: Place) -> None:
    """updated"""
    await place.create(pod("p", labels={"time": "first"}))
    await place.until(POD, "p", is_running)
    await place.replace(POD, "p", lambda p: p.metadata.labels.update({"time": "second"}))
    assert names(await place.all(POD, "time=second")) == {"p"}
    assert not await place.all(POD, "time=first")
    assert is_running(await place.get(POD, "p"))


async def test_deletecollection_of_pods(place: Place) -> None:
    """deletecollection of pods"""
    chosen = {"type": "testing"}
    await place.create_all(*(pod(f"p{n}", labels=chosen) for n in range(3)), pod("other"))
    assert len(await place.all(POD, "type=testing")) == 3
    assert await place.client.delete_collection(POD, place.namespace, labels="type=testing") == 3
    await place.until_all(POD, lambda pods: names(pods) == {"other"})


async def test_host_ip(place: Place) -> None:
    """host IP"""
    await place.create(pod("p"))
    found = await place.until(POD, "p", lambda p: p.status.hostIP)
    assert ipaddress.ip_address(found.status.hostIP)
    assert found.status.hostIP == place.cluster.address(found.spec.nodeName)


async def test_patch_pod_status(place: Place) -> None:
    """patch pod status"""
    await place.create(pod("p"))
    await place.until(POD, "p", is_running)
    own = {"type": "E2E", "status": "True", "reason": "Set by e2e test"}
    patched = await place.patch(POD, "p", {"status": {"message": "Patched", "conditions": [own]}}, "status")
    assert patched.status.message == "Patched"
    assert is_true(patched, "E2E")
    # What the node says next leaves it there.
    await place.patch(POD, "p", {"spec": {"containers": [{"name": "c", "image": "again"}]}})
    later = await place.until(POD, "p", lambda p: p.status.observedGeneration == p.metadata.generation)
    assert is_true(later, "E2E")


async def test_lifecycle_of_pod_and_pod_status(place: Place) -> None:
    """lifecycle of Pod and PodStatus"""
    async with place.watching(POD, labels="test-pod-static=true") as seen:
        await place.create(pod("p", labels={"test-pod-static": "true"}))
        await seen.until("ADDED")
        await seen.until("MODIFIED", is_ready)
        image = {"spec": {"containers": [{"name": "c", "image": "patched"}]}}
        await place.patch(POD, "p", {"metadata": {"labels": {"test-pod": "patched"}}, **image})
        await seen.until("MODIFIED", lambda p: p.metadata.labels["test-pod"] == "patched")
        found = await place.get(POD, "p")
        assert found.spec.containers[0].image == "patched"
        condition(found, "Ready").status = "False"
        found.metadata.ClearField("resourceVersion")
        replaced = await place.client.update(found, subresource="status")
        assert not is_ready(replaced)
        await seen.until("MODIFIED", lambda p: not is_ready(p))
        await place.client.delete_collection(POD, place.namespace, labels="test-pod-static=true")
        await seen.until("DELETED")


async def test_failing_pod_can_be_deleted(place: Place) -> None:
    """failing pod can be deleted"""
    await place.create(pod("p", shell("exit 1")))
    await place.until(POD, "p", lambda p: any(s.restartCount for s in p.status.containerStatuses))
    await place.delete(POD, "p")
    await place.gone(POD, "p")


async def test_pod_generation_graceful_delete(place: Place) -> None:
    """pod generation: graceful delete"""
    manifest = pod("p")
    manifest["metadata"]["generation"] = 100
    assert (await place.create(manifest)).metadata.generation == 1
    await place.until(POD, "p", is_running)
    async with place.watching(POD) as seen:
        await place.delete(POD, "p", grace_seconds=1)
        assert (await seen.until("MODIFIED", is_deleting)).metadata.generation == 2
        assert (await seen.until("DELETED")).metadata.generation == 2


async def test_pod_generation_500_updates(place: Place) -> None:
    """pod generation: 500 updates"""
    await place.create(pod("p"))
    await place.until(POD, "p", is_running)
    for number in range(499):
        image = {"spec": {"containers": [{"name": "c", "image": f"image-{number}"}]}}
        await place.patch(POD, "p", image)
    found = await place.until(POD, "p", lambda p: p.status.observedGeneration == 500)
    assert found.metadata.generation == 500


async def test_pod_generation_starts_at_1(place: Place) -> None:
    """pod generation: starts at 1, +1 per spec update"""
    assert (await place.create(pod("p"))).metadata.generation == 1
    await place.until(POD, "p", lambda p: is_running(p) and p.status.observedGeneration == 1)
    toleration = {"key": "foo", "operator": "Exists", "effect": "NoSchedule"}
    for expected, patch in enumerate(
        (
            {"spec": {"containers": [{"name": "c", "image": "other"}]}},
            {"spec": {"activeDeadlineSeconds": 5000}},
            {"spec": {"tolerations": [toleration]}},
        ),
        2,
    ):
        assert (await place.patch(POD, "p", patch)).metadata.generation == expected
    await place.patch(POD, "p", {"metadata": {"labels": {"changes": "nothing"}}})
    await place.patch(POD, "p", {"status": {"message": "nothing"}}, "status")
    found = await place.until(POD, "p", lambda p: p.status.observedGeneration == 4)
    assert found.metadata.generation == 4


async def test_reject_invalid_sysctls(place: Place) -> None:
    """reject invalid sysctls"""
    wrong = ("foo-", "bar..", "kernel.msgmax+", "")
    sysctls = [{"name": name, "value": "1"} for name in wrong]
    with pytest.raises(Invalid) as refused:
        await place.create(pod("p", securityContext={"sysctls": sysctls}))
    said = {violation.path for violation in refused.value.violations}
    assert said == {f"spec.securityContext.sysctls[{n}].name" for n in range(len(wrong))}


# -- nodes ---------------------------------------------------------------------------------------------------

TAINT = "conformance.test/evict"


async def taint(place: Place, node: str, value: str) -> None:
    added = {"key": TAINT, "value": value, "effect": "NoExecute"}
    await place.client.patch(
        NODE, "", node, [{"op": "add", "path": "/spec/taints", "value": [added]}], "json"
    )


async def untaint(place: Place, node: str) -> None:
    await place.client.patch(NODE, "", node, [{"op": "remove", "path": "/spec/taints"}], "json")


def tolerating(name: str, node: str, value: str, seconds: int | None) -> Any:
    toleration: dict[str, Any] = {"key": TAINT, "operator": "Equal", "value": value, "effect": "NoExecute"}
    if seconds is not None:
        toleration["tolerationSeconds"] = seconds
    return pod(name, nodeName=node, tolerations=[toleration])


async def test_noexecute_eviction_by_toleration_seconds(place: Place) -> None:
    """NoExecute: eviction by tolerationSeconds, several pods"""
    value = place.namespace
    await place.create_all(
        tolerating("soon", "n1", value, 1),
        tolerating("late", "n1", value, 2),
        tolerating("never", "n1", value, None),
    )
    await place.until_all(POD, lambda pods: len(pods) == 3 and all(map(is_running, pods)))
    left: list[str] = []
    async with place.watching(POD) as seen:
        await taint(place, "n1", value)
        try:
            began = asyncio.get_running_loop().time()
            for _ in range(2):
                left.append((await seen.until("DELETED")).metadata.name)
            took = asyncio.get_running_loop().time() - began
        finally:
            await untaint(place, "n1")
    assert left == ["soon", "late"]
    assert took >= 1.9
    assert is_running(await place.get(POD, "never"))


async def test_noexecute_removing_the_taint_cancels(place: Place) -> None:
    """NoExecute: removing the taint cancels"""
    await place.create(tolerating("p", "n2", place.namespace, 2))
    uid = (await place.until(POD, "p", is_running)).metadata.uid
    await taint(place, "n2", place.namespace)
    await untaint(place, "n2")
    await asyncio.sleep(2.3)
    found = await place.get(POD, "p")
    assert (found.metadata.uid, is_deleting(found)) == (uid, False)


async def test_node_lifecycle(place: Place) -> None:
    """Node lifecycle"""
    name = place.namespace
    client = place.client
    manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"e2e": name}}}
    created = await client.create(message(manifest))
    assert created.metadata.uid
    assert (await client.get(NODE, "", name)).metadata.uid == created.metadata.uid
    patched = await client.patch(NODE, "", name, {"metadata": {"labels": {"patched": "yes"}}})
    assert patched.metadata.labels["patched"] == "yes"
    assert names((await client.list(NODE, labels=f"e2e={name},patched=yes")).items) == {name}
    patched.metadata.labels["updated"] = "yes"
    patched.metadata.ClearField("resourceVersion")
    assert (await client.update(patched)).metadata.labels["updated"] == "yes"
    assert await client.delete_collection(NODE, labels=f"e2e={name}") == 1
    assert not (await client.list(NODE, labels=f"e2e={name}")).items
