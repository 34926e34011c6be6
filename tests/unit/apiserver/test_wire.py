"""Responses put together from bytes are what protobuf itself would have written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.apiserver import wire
from orchestra.apiserver.sessions import order
from orchestra.base.clock import SystemClock
from orchestra.objects.kinds import KINDS, POD, wrap
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import core, meta
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


def pod(name: str, text: str = "") -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"))
    made.spec.containers.add(name="main", command=["sleep", "1"])
    made.metadata.annotations["text"] = text
    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_fits_its_envelope(kind: object) -> None:
    obj = kind.new()  # type: ignore[attr-defined]
    obj.metadata.name = "x"
    assert api.Object.FromString(wire.envelope_of(obj)) == wrap(obj)
    assert kind.number < 16  # type: ignore[attr-defined]


@given(st.integers(0, 2**63 - 1))
def test_varint(number: int) -> None:
    decoded = api.LogOptions.FromString(b"\x40" + wire.varint(number))
    assert decoded.limit_bytes == number


@given(st.lists(st.text(max_size=300), max_size=4))
def test_list_response(texts: list[str]) -> None:
    pods = [pod(f"p{n}", text) for n, text in enumerate(texts)]
    said = meta.ListMeta(resourceVersion="7", remainingItemCount=3)
    made = wire.list_response(POD, (each.SerializeToString() for each in pods), said)
    expected = api.ListResponse(items=[wrap(each) for each in pods], metadata=said)
    assert api.ListResponse.FromString(made) == expected


async def test_watch_response() -> None:
    objects = ObjectStore(MemoryStore(), clock=SystemClock())
    await objects.ensure_namespaces()
    await objects.create(pod("web"))
    await objects.mutate(POD, "default", "web", lambda it: it.metadata.labels.update(a="b"))
    await objects.delete(POD, "default", "web")
    with objects.watch(POD, revision=1) as watch:
        events = []
        while len(events) < 3:
            events += (await anext(watch)).events
    made = wire.watch_response([wire.watch_event(POD, event) for event in events], 9, True)
    expected = api.WatchResponse(resource_version="9", initial_events_end=True)
    for event in events:
        expected.events.add(type=event.type, object=wrap(event.obj))
    assert api.WatchResponse.FromString(made) == expected
    assert [event.type for event in expected.events] == [1, 2, 3]
    assert api.WatchResponse.FromString(wire.watch_response([], None, False)) == api.WatchResponse()


@pytest.mark.parametrize("removed", [False, True])
def test_order(removed: bool) -> None:
    made = agent.Orders.FromString(order(pod("web"), removed=removed))
    (entry,) = made.orders
    assert entry.removed is removed
    assert entry.object.pod.metadata.uid == "uid-web"
    assert entry.object.pod.HasField("spec") is not removed
