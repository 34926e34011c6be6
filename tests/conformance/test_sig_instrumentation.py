"""sig-instrumentation: Events as objects."""

from typing import Any

import pytest

from orchestra.objects.kinds import EVENT
from tests.conformance.place import Manifest, Place, names

pytestmark = pytest.mark.asyncio(loop_scope="module")


def event(place: Place, name: str, **labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "labels": labels},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": place.namespace},
        "type": "Normal",
        "reason": "Test",
        "message": f"This is {name}",
        "count": 1,
        "source": {"component": "conformance"},
    }


async def test_core_events_lifecycle(place: Place) -> None:
    """core Events lifecycle"""
    label = f"testevent-constant={place.namespace}"
    created = await place.create(event(place, "e", **{"testevent-constant": place.namespace}))
    everywhere = await place.client.list(EVENT, labels=label)
    assert [found.metadata.uid for found in everywhere] == [created.metadata.uid]
    patched = await place.patch(EVENT, "e", {"message": "This is a test event - patched"})
    assert patched.message == "This is a test event - patched"
    assert (await place.get(EVENT, "e")).message == patched.message

    def to_series(found: Any) -> None:
        found.series.count = 100
        found.series.lastObservedTime.seconds = 1_700_000_000

    updated = await place.replace(EVENT, "e", to_series)
    assert updated.series.count == 100
    assert (await place.get(EVENT, "e")).series.lastObservedTime.seconds == 1_700_000_000
    await place.delete(EVENT, "e")
    assert not (await place.client.list(EVENT, labels=label)).items


async def test_core_events_deletecollection(place: Place) -> None:
    """core Events: deletecollection"""
    await place.create_all(
        *(event(place, f"chosen-{n}", set="yes") for n in range(3)), event(place, "other", set="no")
    )
    assert len(await place.all(EVENT, "set=yes")) == 3
    assert await place.client.delete_collection(EVENT, place.namespace, labels="set=yes") == 3
    assert names(await place.all(EVENT)) == {"other"}
