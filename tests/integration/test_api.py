"""The API over a real connection: every verb, errors with details, pages, watches, bounds."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orchestra.base.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    DeadlineExceeded,
    Expired,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from orchestra.client import Client, WatchEvent
from orchestra.client.streams import Watch
from orchestra.objects.kinds import DEPLOYMENT, POD
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import api_v1_pb2_grpc as api_grpc
from orchestra.pb import apps, core, meta
from orchestra.store.memory import MemoryStore
from tests.integration.api_master import Master, serving

SECONDS = 10


@pytest.fixture
async def master() -> AsyncIterator[Master]:
    async with serving() as running:
        yield running


@pytest.fixture
def client(master: Master) -> Client:
    return master.client


def pod(name: str, app: str = "web", **annotations: str) -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default", labels={"app": app}))
    made.metadata.annotations.update(annotations)
    made.spec.containers.add(name="main", command=["sleep", "1"])
    return made


def deployment(name: str, replicas: int = 2) -> apps.Deployment:
    made = apps.Deployment(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = name
    made.spec.template.metadata.labels["app"] = name
    made.spec.template.spec.containers.add(name="main", command=["sleep", "1"])
    return made


def names(objects: Any) -> list[str]:
    return [obj.metadata.name for obj in objects]


async def until(condition: Callable[[], bool], what: str) -> None:
    """Yields to the loop until the condition holds; for figures that no event tells of."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - a count of the server's has no event
            await asyncio.sleep(0)
    assert condition(), what


async def following(watch: Watch, count: int) -> list[WatchEvent]:
    async with asyncio.timeout(SECONDS):
        return [await anext(watch) for _ in range(count)]


async def test_create_get_update_delete(client: Client) -> None:
    created = await client.create(pod("web"))
    assert created.metadata.uid
    assert created.spec.restartPolicy == "Always"
    assert await client.get("pods", "default", "web") == created
    created.metadata.labels["tier"] = "front"
    updated = await client.update(created)
    assert updated.metadata.labels["tier"] == "front"
    assert int(updated.metadata.resourceVersion) > int(created.metadata.resourceVersion)
    gone, removed = await client.delete("po", "default", "web")
    assert removed
    assert gone.metadata.uid == created.metadata.uid
    with pytest.raises(NotFound, match='pods "web" not found') as caught:
        await client.get(POD, "default", "web")
    assert (caught.value.kind, caught.value.name) == ("pods", "web")


async def test_update_of_the_status_only(client: Client) -> None:
    created = await client.create(pod("web"))
    created.status.phase = "Running"
    created.metadata.labels["ignored"] = "yes"
    updated = await client.update(created, subresource="status")
    assert updated.status.phase == "Running"
    assert "ignored" not in updated.metadata.labels


async def test_errors_keep_their_class_and_details(client: Client) -> None:
    created = await client.create(deployment("web"))
    with pytest.raises(AlreadyExists):
        await client.create(deployment("web"))
    created.spec.replicas = 3
    await client.update(created)
    with pytest.raises(Conflict):
        await client.update(created)
    wrong = deployment("wrong", replicas=-1)
    wrong.spec.template.metadata.labels["app"] = "other"
    with pytest.raises(Invalid) as caught:
        await client.create(wrong)
    paths = {violation.path for violation in caught.value.violations}
    assert "spec.replicas" in paths
    assert len(paths) > 1
    with pytest.raises(PreconditionFailed):
        await client.delete("deploy", "default", "web", uid="other")
    with pytest.raises(NotFound, match='resource type "nonsense"'):
        await client.get("nonsense", "default", "web")
    with pytest.raises(BadRequest):
        await client.list("pods", labels="a in (")
    with pytest.raises(BadRequest):
        await client.list("pods", fields="spec.nonsense=1")


async def test_what_a_request_leaves_out_is_said(master: Master) -> None:
    async with grpc.aio.insecure_channel(master.address) as channel:
        stub = api_grpc.ObjectsStub(channel)
        for call, request in (
            (stub.Get, api.GetRequest(name="web")),
            (stub.Get, api.GetRequest(kind=api.POD, namespace="default")),
            (stub.Create, api.CreateRequest()),
            (stub.Patch, api.PatchRequest(kind=api.POD, namespace="default", name="web", patch=b"{}")),
            (stub.List, api.ListRequest(kind=api.POD, limit=-1)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, timeout=SECONDS)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, request
            assert caught.value.details()
        call = stub.Watch(api.WatchRequest(kind=api.POD, resource_version="x"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_patches(client: Client) -> None:
    await client.create(deployment("web"))
    merged = await client.patch("deploy", "default", "web", {"spec": {"replicas": 5}}, "merge")
    assert merged.spec.replicas == 5
    listed = [{"op": "replace", "path": "/spec/replicas", "value": 6}]
    assert (await client.patch("deploy", "default", "web", listed, "json")).spec.replicas == 6
    containers = [{"name": "main", "command": ["sleep", "2"]}]
    changed = await client.patch(
        "deploy", "default", "web", {"spec": {"template": {"spec": {"containers": containers}}}}
    )
    assert list(changed.spec.template.spec.containers[0].command) == ["sleep", "2"]
    dry = await client.patch("deploy", "default", "web", {"spec": {"replicas": 9}}, dry_run=True)
    assert dry.spec.replicas == 9
    assert (await client.get(DEPLOYMENT, "default", "web")).spec.replicas == 6


async def test_apply(client: Client) -> None:
    assert (await client.apply(deployment("web")))[1] == "created"
    assert (await client.apply(deployment("web")))[1] == "unchanged"
    applied, outcome = await client.apply(deployment("web", replicas=4))
    assert (outcome, applied.spec.replicas) == ("configured", 4)


async def test_scale(client: Client) -> None:
    await client.create(deployment("web"))
    scale = await client.get_scale("deploy", "default", "web")
    assert scale.spec.replicas == 2
    scale.spec.replicas = 7
    assert (await client.update_scale("deploy", scale, current_replicas=2)).spec.replicas == 7
    scale.metadata.ClearField("resourceVersion")
    with pytest.raises(PreconditionFailed):
        await client.update_scale("deploy", scale, current_replicas=2)
    with pytest.raises(NotFound):
        await client.get_scale("pods", "default", "web")


async def test_delete_collection(client: Client) -> None:
    for number in range(3):
        await client.create(pod(f"web-{number}"))
    await client.create(pod("db", app="db"))
    assert await client.delete_collection("pods", "default", labels="app=web") == 3
    assert names(await client.list("pods")) == ["db"]


async def test_pages_are_of_one_revision(client: Client) -> None:
    for number in range(5):
        await client.create(pod(f"web-{number}"))
    first = await client.list("pods", "default", limit=2)
    assert (names(first), first.remaining) == (["web-0", "web-1"], 3)
    await client.create(pod("web-1a"))
    second = await client.list("pods", "default", limit=2, continue_=first.continue_)
    third = await client.list("pods", "default", limit=2, continue_=second.continue_)
    assert names(second) + names(third) == ["web-2", "web-3", "web-4"]
    assert {first.revision} == {second.revision, third.revision}
    assert third.continue_ == ""
    assert len(await client.list("pods", "default")) == 6
    assert names(await client.list("pods", labels="app!=web")) == []


async def test_a_page_is_cut_before_it_is_too_large_for_a_response(client: Client) -> None:
    for number in range(40):
        await client.create(big(number))
    page = await client.list("namespaces", labels="big=yes", limit=40)
    assert 0 < len(page) < 40
    assert page.continue_
    assert len(await client.list("namespaces", labels="big=yes")) == 40


def big(number: int) -> core.Namespace:
    made = core.Namespace(metadata=meta.ObjectMeta(name=f"big-{number:02}", labels={"big": "yes"}))
    made.metadata.annotations["text"] = "x" * 250_000
    return made


async def test_a_watch_from_the_start(client: Client) -> None:
    await client.create(pod("old"))
    async with client.watch("pods", "default", bookmarks=True) as watch:
        first, complete = await following(watch, 2)
        assert (first.type, first.obj.metadata.name) == ("ADDED", "old")
        assert (complete.type, complete.obj) == ("BOOKMARK", None)
        assert complete.revision >= int(first.obj.metadata.resourceVersion)
        await client.create(pod("new"))
        await client.patch("pods", "default", "new", {"metadata": {"labels": {"a": "b"}}})
        await client.delete("pods", "default", "new")
        events = [event for event in await following(watch, 6) if event.type != "BOOKMARK"]
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert names(event.obj for event in events) == ["new", "new", "new"]


async def test_a_watch_from_a_revision_sees_what_came_after(client: Client) -> None:
    await client.create(pod("old"))
    listed = await client.list("pods")
    await client.create(pod("new"))
    await client.create(pod("db", app="db"))
    async with client.watch("pods", labels="app=web", revision=listed.revision) as watch:
        (event,) = await following(watch, 1)
    assert (event.type, event.obj.metadata.name) == ("ADDED", "new")
    assert event.revision > listed.revision


async def test_a_watch_resumes_after_the_master_restarted() -> None:
    store = MemoryStore()
    async with serving(store) as before:
        port = before.port
        client = Client(before.address, retry_seconds=SECONDS)
        await client.create(pod("one"))
        watch = client.watch("pods", "default")
        (first,) = await following(watch, 1)
        waiting = asyncio.create_task(anext(watch))
        await before.server.stop(0)
    async with serving(store, port) as after:
        await after.client.create(pod("two"))
        async with asyncio.timeout(SECONDS):
            second = await waiting
        assert (first.obj.metadata.name, second.obj.metadata.name) == ("one", "two")
        watch.close()
        await client.close()


async def test_a_watch_too_old_says_so(master: Master, client: Client) -> None:
    created = await client.create(pod("web"))
    for number in range(5):
        await client.patch("pods", "default", "web", {"metadata": {"labels": {"n": str(number)}}})
    await master.store.compact(master.store.revision)
    watch = client.watch("pods", revision=int(created.metadata.resourceVersion))
    with pytest.raises(Expired, match="too old"):
        await following(watch, 1)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_closing_a_watch_closes_it_on_the_server(master: Master, client: Client) -> None:
    watches = [client.watch("pods", bookmarks=True) for _ in range(5)]
    for watch in watches:
        await following(watch, 1)
    assert master.server.objects.watches == 5
    waiting = asyncio.create_task(anext(watches[0]))
    await asyncio.sleep(0)
    for watch in watches:
        watch.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    await until(lambda: master.server.objects.watches == 0, "the server's watches end")


async def test_a_dropped_watch_ends_on_the_server(master: Master, client: Client) -> None:
    watch = client.watch("pods", bookmarks=True)
    await following(watch, 1)
    del watch
    await until(lambda: master.server.objects.watches == 0, "the server's watch ends")


async def test_cancelling_the_reader_is_passed_on(client: Client) -> None:
    watch = client.watch("pods", bookmarks=True)
    await following(watch, 1)
    task = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_large_initial_state_is_cut_and_complete(client: Client) -> None:
    for number in range(12):
        await client.create(big(number))
    async with client.watch("namespaces", labels="big=yes", bookmarks=True) as watch:
        events = await following(watch, 13)
    assert [event.type for event in events] == ["ADDED"] * 12 + ["BOOKMARK"]
    assert [event.revision for event in events[:12]] == [0] * 12
    assert events[-1].revision > 0


async def test_a_deadline_is_kept_when_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with Client(f"127.0.0.1:{port}", deadline_seconds=0.2) as client:
            with pytest.raises(DeadlineExceeded, match="not known"):
                await client.create(pod("web"))


async def test_a_large_request_is_refused_clearly(client: Client) -> None:
    with pytest.raises(BadRequest, match="larger than the wire takes"):
        await client.create(pod("web", text="x" * (5 << 20)))


async def test_nobody_there() -> None:
    async with Client("127.0.0.1:1", retry_seconds=0.1) as nobody:
        with pytest.raises(Unavailable, match=r"cannot reach the master at 127\.0\.0\.1:1: is it running"):
            await nobody.get("pods", "default", "web")
        with pytest.raises(Unavailable, match="cannot reach the master"):
            await anext(nobody.watch("pods"))


async def test_a_host_that_is_not_known() -> None:
    async with Client("no-such-host.invalid:7070", retry_seconds=0.1) as nobody:
        with pytest.raises(Unavailable, match="the host's name is not known"):
            await nobody.create(pod("web"))


async def test_garbage_on_the_wire_harms_nobody(master: Master, client: Client) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 64,
        preface + b"\xff" * 4096,
        preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x7f\xff\xff\x01\x05" + b"\x00" * 512,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
        writer.write(garbage)
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                await reader.read(1)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert (await client.version()).version


async def test_the_next_address_is_used_when_one_is_dead(master: Master) -> None:
    async with Client(f"127.0.0.1:1,{master.address}") as client:
        await client.create(pod("web"))
        assert names(await client.list("pods")) == ["web"]


async def test_cluster_information(client: Client) -> None:
    version = await client.version()
    assert version.version
    assert version.python.startswith("3.")
    status = await client.status()
    assert (status.master, status.agents_connected) == ("m1", 0)
    assert status.objects > 0
    assert status.revision > 0


async def test_health_and_reflection_answer_a_general_tool(master: Master) -> None:
    async with grpc.aio.insecure_channel(master.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "orchestra.api.v1.Objects", "orchestra.agent.v1.Agents"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="orchestra.api.v1.Objects"),
        ]
        answers = [answer async for answer in reflection.ServerReflectionInfo(iter(asked), timeout=SECONDS)]
    listed = {service.name for service in answers[0].list_services_response.service}
    assert {"orchestra.api.v1.Objects", "orchestra.api.v1.Logs", "grpc.health.v1.Health"} <= listed
    assert answers[1].file_descriptor_response.file_descriptor_proto
