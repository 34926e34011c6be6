"""sig-network: Services and EndpointSlices as objects, and slices that follow pods."""

import asyncio
import statistics
from typing import Any

import pytest

from orchestra.objects.kinds import ENDPOINT_SLICE, POD, SERVICE
from tests.conformance.place import (
    SLEEP,
    Manifest,
    Place,
    container,
    is_deleting,
    is_ready,
    is_true,
    names,
    pod,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

OF_SERVICE = "kubernetes.io/service-name"


def service(name: str, selector: Manifest | None = None, **spec: Any) -> Manifest:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    body = {"ports": ports, **({"selector": selector} if selector else {}), **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def endpoint_slice(name: str, **labels: str) -> Manifest:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }


def ready_addresses(slices: list[Any]) -> set[str]:
    """The pods that are ready, by name."""
    return {
        endpoint.targetRef.name
        for each in slices
        for endpoint in each.endpoints
        if endpoint.conditions.ready and not endpoint.conditions.terminating
    }


async def test_endpoint_slices_for_pods(place: Place) -> None:
    """EndpointSlices for pods matching a service"""
    ports = [{"name": "web", "containerPort": 8080}]

    def backend(name: str) -> Manifest:
        return pod(name, container(*SLEEP, ports=ports), labels={"app": "web"})

    chosen = f"{OF_SERVICE}=web"
    await place.create_all(
        service("web", {"app": "web"}, ports=[{"name": "http", "port": 80, "targetPort": "web"}]),
        backend("one"),
        backend("two"),
        pod("other", labels={"app": "other"}),
    )
    slices = await place.until_all(
        ENDPOINT_SLICE, lambda found: ready_addresses(found) == {"one", "two"}, labels=chosen
    )
    for each in slices:
        assert [(p.name, p.protocol) for p in each.ports] == [("http", "TCP")]
        for endpoint in each.endpoints:
            backing = await place.get(POD, endpoint.targetRef.name)
            assert list(endpoint.addresses) == [backing.status.podIP]
            assert endpoint.nodeName == backing.spec.nodeName
            assert endpoint.targetRef.uid == backing.metadata.uid
            assert each.ports[0].port == backing.status.containerStatuses[0].ports[0].hostPort
    await place.delete(POD, "one", grace_seconds=0)
    await place.until_all(ENDPOINT_SLICE, lambda found: ready_addresses(found) == {"two"}, labels=chosen)
    await place.patch(POD, "two", {"metadata": {"labels": {"app": "other"}}})
    await place.until_all(ENDPOINT_SLICE, lambda found: not ready_addresses(found), labels=chosen)


async def test_endpoint_slices_for_a_service_that_matches_nothing(place: Place) -> None:
    """EndpointSlices for a service that matches nothing"""
    made = await place.create(service("empty", {"does-not": "match-anything"}))
    chosen = f"{OF_SERVICE}=empty"
    slices = await place.until_all(ENDPOINT_SLICE, lambda found: len(found) == 1, labels=chosen)
    assert not slices[0].endpoints
    assert [owner.uid for owner in slices[0].metadata.ownerReferences] == [made.metadata.uid]
    await place.delete(SERVICE, "empty")
    await place.until_all(ENDPOINT_SLICE, lambda found: not found, labels=chosen)


async def test_endpoint_slice_api_operations(place: Place) -> None:
    """EndpointSlice API operations"""
    client, space = place.client, place.namespace
    label = f"special={space}"
    async with place.watching(ENDPOINT_SLICE, labels=label) as seen:
        created = await place.create(endpoint_slice("one", special=space))
        await place.create_all(endpoint_slice("two", special=space), endpoint_slice("three", special=space))
        assert (await place.get(ENDPOINT_SLICE, "one")).metadata.uid == created.metadata.uid
        assert names(await place.all(ENDPOINT_SLICE, label)) == {"one", "two", "three"}
        assert names((await client.list(ENDPOINT_SLICE, labels=label)).items) == {"one", "two", "three"}
        for _ in range(3):
            await seen.until("ADDED")
        await place.patch(ENDPOINT_SLICE, "one", {"metadata": {"annotations": {"patched": "true"}}})
        await seen.until("MODIFIED", lambda s: s.metadata.annotations["patched"] == "true")

        def change(found: Any) -> None:
            found.metadata.annotations["updated"] = "true"
            found.endpoints.add(addresses=["10.0.0.2"])

        updated = await place.replace(ENDPOINT_SLICE, "one", change)
        assert (updated.metadata.generation, len(updated.endpoints)) == (2, 2)
        await seen.until("MODIFIED", lambda s: s.metadata.annotations["updated"] == "true")
        await place.delete(ENDPOINT_SLICE, "one")
        await seen.until("DELETED", lambda s: s.metadata.name == "one")
        assert await client.delete_collection(ENDPOINT_SLICE, space, labels=label) == 2
        await seen.until("DELETED")
        await seen.until("DELETED")


async def test_service_status_lifecycle(place: Place) -> None:
    """service status lifecycle"""
    async with place.watching(SERVICE) as seen:
        await place.create(service("s", type="LoadBalancer"))
        await seen.until("ADDED")
        ingress = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
        patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": ingress}
        patched = await place.patch(SERVICE, "s", patch, "status")
        assert patched.status.loadBalancer.ingress[0].ip == "203.0.113.1"
        await seen.until("MODIFIED", lambda s: s.status.loadBalancer.ingress)
        found = await place.get(SERVICE, "s")
        found.status.conditions.add(type="StatusUpdate", status="True", reason="E2E", message="Set by a test")
        found.metadata.ClearField("resourceVersion")
        assert is_true(await place.client.update(found, subresource="status"), "StatusUpdate")
        await seen.until("MODIFIED", lambda s: is_true(s, "StatusUpdate"))
        await place.patch(SERVICE, "s", {"metadata": {"labels": {"patched": "yes"}}})
        whole = await seen.until("MODIFIED", lambda s: s.metadata.labels["patched"] == "yes")
        assert whole.status.loadBalancer.ingress[0].ip == "203.0.113.1"
        await place.delete(SERVICE, "s")
        await seen.until("DELETED")


async def test_deletecollection_of_services(place: Place) -> None:
    """deletecollection of services"""
    made = [service(name) for name in ("one", "two", "three")]
    for manifest in made[:2]:
        manifest["metadata"]["labels"] = {"chosen": "yes"}
    await place.create_all(*made)
    assert await place.client.delete_collection(SERVICE, place.namespace, labels="chosen=yes") == 2
    assert names(await place.all(SERVICE)) == {"three"}


async def test_endpoint_latency_not_very_high(place: Place) -> None:
    """endpoint latency not very high"""
    await place.create(pod("backend", labels={"app": "backend"}))
    await place.until(POD, "backend", is_ready)
    clock = asyncio.get_running_loop().time
    async with place.watching(ENDPOINT_SLICE) as seen:
        began = {}
        for number in range(100):
            name = f"latency-{number}"
            began[name] = clock()
            await place.create(service(name, {"app": "backend"}))
        took = []
        while began:
            found = await seen.until("ADDED", lambda each: bool(each.endpoints))
            took.append(clock() - began.pop(found.metadata.labels[OF_SERVICE]))
    quantiles = statistics.quantiles(took, n=10)
    assert quantiles[4] < 20
    assert quantiles[8] < 50
    assert not is_deleting(await place.get(POD, "backend"))
