"""sig-scheduling: where a pod is put, and why it is not."""

from typing import Any

import pytest

from orchestra.objects.kinds import EVENT, NODE, POD
from tests.conformance.place import SLEEP, Place, condition, container, is_running, is_true, pod

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def unschedulable(place: Place, name: str, why: str) -> None:
    """The pod stays Pending, with the reason in its condition and in an event."""

    def refused(found: Any) -> bool:
        said = condition(found, "PodScheduled")
        return said is not None and said.reason == "Unschedulable"

    found = await place.until(POD, name, refused)
    assert (found.status.phase, found.spec.nodeName) == ("Pending", "")
    assert why in condition(found, "PodScheduled").message

    def told(events: list[Any]) -> bool:
        return any(
            e.reason == "FailedScheduling" and e.involvedObject.name == name and why in e.message
            for e in events
        )

    await place.until_all(EVENT, told)


def wanting(name: str, cpu: str, **spec: Any) -> Any:
    return pod(name, container(*SLEEP, resources={"requests": {"cpu": cpu}}), **spec)


async def test_resource_limits_of_pods(place: Place) -> None:
    """resource limits of pods"""
    # Each node says it has 4: this fills 3 of both.
    await place.create_all(wanting("one", "3"), wanting("two", "3"))
    placed = await place.until_all(POD, lambda pods: len(pods) == 2 and all(map(is_running, pods)))
    assert {found.spec.nodeName for found in placed} == {"n1", "n2"}
    await place.create(wanting("more", "2"))
    await unschedulable(place, "more", "Insufficient cpu")
    await place.delete(POD, "one", grace_seconds=0)
    found = await place.until(POD, "more", is_running)
    assert is_true(found, "PodScheduled")


async def test_node_selector_matches(place: Place) -> None:
    """nodeSelector matches"""
    key = f"kubernetes.io/e2e-{place.namespace}"
    await place.client.patch(NODE, "", "n2", {"metadata": {"labels": {key: "42"}}})
    await place.create(pod("p", nodeSelector={key: "42"}))
    assert (await place.until(POD, "p", is_running)).spec.nodeName == "n2"
    await place.client.patch(NODE, "", "n2", {"metadata": {"labels": {key: None}}})
    assert is_running(await place.get(POD, "p"))


async def test_node_selector_does_not_match(place: Place) -> None:
    """nodeSelector does not match"""
    await place.create(pod("p", nodeSelector={"label": "nonempty"}))
    await unschedulable(place, "p", "didn't match Pod's node affinity/selector")


async def test_host_port_conflict(place: Place) -> None:
    """hostPort conflict with 0.0.0.0"""

    def holding(name: str, address: str) -> Any:
        port = {"containerPort": 8080, "hostPort": 54322, "protocol": "TCP", "hostIP": address}
        here = {"kubernetes.io/hostname": "n1"}
        return pod(name, container(*SLEEP, ports=[port]), nodeSelector=here)

    await place.create(holding("first", "0.0.0.0"))
    await place.until(POD, "first", is_running)
    await place.create(holding("second", "127.0.0.1"))
    await unschedulable(place, "second", "didn't have free ports for the requested pod ports")
