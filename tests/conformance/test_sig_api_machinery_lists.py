"""sig-api-machinery: lists in chunks, watches, field validation, the server."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestra.base.errors import AlreadyExists, Invalid
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
)
from tests.conformance.place import (
    SECONDS,
    Place,
    keeper,
    plain,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def value(obj: Any) -> str:
    found: str = obj.metadata.annotations["value"]
    return found


async def set_value(place: Place, name: str, to: str) -> Any:
    return await place.patch(ENDPOINT_SLICE, name, {"metadata": {"annotations": {"value": to}}})


# -- chunks ----------------------------------------------------------------------------------------------------


async def test_chunking_list_in_chunks(place: Place) -> None:
    """Chunking: list in chunks"""
    count, limit = 100, 17
    await place.create_all(*(plain(f"template-{n:04}") for n in range(count)))
    found: list[Any] = []
    revisions = set()
    token = ""
    while True:
        page = await place.client.list(ENDPOINT_SLICE, place.namespace, limit=limit, continue_=token)
        assert len(page.items) <= limit
        revisions.add(page.revision)
        found += page.items
        token = page.continue_
        if not token:
            break
        assert page.remaining is None or page.remaining == count - len(found)
        # What is made meanwhile belongs to a later revision.
        await place.create(plain(f"template-later-{len(found)}"))
    assert [item.metadata.name for item in found] == [f"template-{n:04}" for n in range(count)]
    assert len(revisions) == 1
    assert len(await place.all(ENDPOINT_SLICE)) > count


# -- watches ---------------------------------------------------------------------------------------------------


async def test_watchers_restart_from_last_resource_version(place: Place) -> None:
    """Watchers: restart from last resourceVersion"""
    async with place.watching(ENDPOINT_SLICE) as seen:
        await place.create(plain("x"))
        await seen.until("ADDED")
        await set_value(place, "x", "1")
        last = await seen.until("MODIFIED")
    await set_value(place, "x", "2")
    await place.delete(ENDPOINT_SLICE, "x")
    revision = int(last.metadata.resourceVersion)
    async with place.watching(ENDPOINT_SLICE, revision=revision) as again:
        type_, found = await again.next()
        assert (type_, value(found)) == ("MODIFIED", "2")
        assert (await again.next())[0] == "DELETED"


async def test_watchers_start_from_a_specific_resource_version(place: Place) -> None:
    """Watchers: start from a specific resourceVersion"""
    await place.create(plain("x"))
    first = await set_value(place, "x", "1")
    await set_value(place, "x", "2")
    await place.delete(ENDPOINT_SLICE, "x")
    async with place.watching(ENDPOINT_SLICE, revision=int(first.metadata.resourceVersion)) as seen:
        type_, found = await seen.next()
        assert (type_, value(found)) == ("MODIFIED", "2")
        assert (await seen.next())[0] == "DELETED"


async def test_watchers_add_update_delete(place: Place) -> None:
    """Watchers: add, update, delete on configmaps"""
    now = await place.revision(ENDPOINT_SLICE)
    async with (
        place.watching(ENDPOINT_SLICE, labels="watch=A", revision=now) as of_a,
        place.watching(ENDPOINT_SLICE, labels="watch=B", revision=now) as of_b,
        place.watching(ENDPOINT_SLICE, labels="watch in (A, B)", revision=now) as of_both,
    ):
        await place.create(plain("a", watch="A"))
        await set_value(place, "a", "1")
        await set_value(place, "a", "2")
        await place.delete(ENDPOINT_SLICE, "a")
        await place.create(plain("b", watch="B"))
        await place.delete(ENDPOINT_SLICE, "b")

        async def told(seen: Any, count: int) -> list[tuple[str, str, str]]:
            events = [await seen.next() for _ in range(count)]
            return [(type_, found.metadata.name, value(found)) for type_, found in events]

        in_a = [("ADDED", "a", ""), ("MODIFIED", "a", "1"), ("MODIFIED", "a", "2"), ("DELETED", "a", "2")]
        in_b = [("ADDED", "b", ""), ("DELETED", "b", "")]
        assert await told(of_a, 4) == in_a
        assert await told(of_b, 2) == in_b
        assert await told(of_both, 6) == in_a + in_b


async def test_watchers_deletion_when_the_selector_stops_matching(place: Place) -> None:
    """Watchers: deletion when the selector stops matching"""
    now = await place.revision(ENDPOINT_SLICE)
    async with place.watching(ENDPOINT_SLICE, labels="watch=this", revision=now) as seen:
        await place.create(plain("x", watch="this"))
        await set_value(place, "x", "1")
        left = await place.patch(ENDPOINT_SLICE, "x", {"metadata": {"labels": {"watch": "other"}}})
        await set_value(place, "x", "2")
        await place.patch(ENDPOINT_SLICE, "x", {"metadata": {"labels": {"watch": "this"}}})
        await set_value(place, "x", "3")
        await place.delete(ENDPOINT_SLICE, "x")
        events = [await seen.next() for _ in range(6)]
        assert [type_ for type_, _ in events] == [
            "ADDED",
            "MODIFIED",
            "DELETED",
            "ADDED",
            "MODIFIED",
            "DELETED",
        ]
        gone = events[2][1]
        assert (gone.metadata.labels["watch"], value(gone)) == ("this", "1")
        assert gone.metadata.resourceVersion == left.metadata.resourceVersion
        assert [value(found) for _, found in events[3:]] == ["2", "3", "3"]


async def test_watchers_same_order_on_concurrent_watches(place: Place) -> None:
    """Watchers: same order on concurrent watches"""
    count = 40

    async def write() -> None:
        for number in range(count):
            name = f"x{number % 4}"
            try:
                await place.create(plain(name))
            except AlreadyExists:
                if number % 3:
                    await set_value(place, name, str(number))
                else:
                    await place.delete(ENDPOINT_SLICE, name)

    async def read(seen: Any) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        async with asyncio.timeout(SECONDS):
            while not found or found[-1][0] != "END":
                type_, obj = await seen.next()
                end = obj.metadata.name == "end"
                found.append(("END" if end else type_, obj.metadata.resourceVersion))
        return found

    start = await place.revision(ENDPOINT_SLICE)
    watches = [place.watching(ENDPOINT_SLICE, revision=start) for _ in range(6)]
    entered = [await watch.__aenter__() for watch in watches]
    readers = [asyncio.create_task(read(seen)) for seen in entered]
    await write()
    await place.create(plain("end"))
    orders = await asyncio.gather(*readers)
    for watch in watches:
        await watch.__aexit__(None, None, None)
    assert all(order == orders[0] for order in orders)
    revisions = [int(revision) for _, revision in orders[0]]
    assert revisions == sorted(set(revisions))


# -- field validation ------------------------------------------------------------------------------------------

WRONG = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
  {metadata}
spec:
  replicas: 1
  {spec}
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
        - {name: c, command: [sleep, infinity]}
"""


async def refused(place: Place, path: Path, **parts: str) -> str:
    """What creating and applying the manifest says; nothing is made."""
    text = WRONG
    for name in ("metadata", "spec"):
        text = text.replace("{" + name + "}", parts.get(name, "# nothing"))
    path.write_text(text)
    said = []
    for verb in ("create", "apply"):
        code, _, errors = await place.try_to_type(f"{verb} -f {path}")
        assert code == 1
        said.append(errors)
    assert not await place.all(DEPLOYMENT)
    assert said[0] == said[1]
    return said[0]


async def test_field_validation_unknown_and_duplicate_fields(place: Place, tmp_path: Path) -> None:
    """FieldValidation typed object: unknown and duplicate fields"""
    said = await refused(place, tmp_path / "d.yaml", spec="unknown1: val1\n  paused: true\n  paused: false")
    assert "spec.unknown1" in said
    assert "paused" in said
    assert "duplicate" in said
    await place.create(keeper("Deployment", "good", 0))
    with pytest.raises(Invalid, match="unknown1"):
        await place.patch(DEPLOYMENT, "good", {"spec": {"unknown1": "val1"}})


async def test_field_validation_unknown_metadata_fields(place: Place, tmp_path: Path) -> None:
    """FieldValidation typed object: unknown metadata fields"""
    said = await refused(place, tmp_path / "d.yaml", metadata="unknownMeta: foo")
    assert "metadata.unknownMeta" in said


# -- the server ------------------------------------------------------------------------------------------------


async def test_server_version(place: Place) -> None:
    """server version"""
    said = json.loads(await place.type("version -o json"))
    major, minor = said["serverVersion"]["major"], said["serverVersion"]["minor"]
    assert re.fullmatch(r"\d+", major)
    assert re.fullmatch(r"\d+", minor)
    assert (await place.client.version()).version.startswith(f"{major}.{minor}.")
