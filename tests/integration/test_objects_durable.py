"""Typed objects on a member with a log on disk: what was answered is there after a restart."""

import asyncio
from pathlib import Path

import pytest

from orchestra.base.clock import SystemClock
from orchestra.base.errors import Invalid
from orchestra.cluster.member import Member
from orchestra.objects.kinds import POD, SERVICE
from orchestra.store.informer import Informer
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import pod, service


async def test_objects_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    async with await Member.open(tmp_path / "m1") as member:
        objects = ObjectStore(member.store, clock=SystemClock())
        await objects.ensure_namespaces()
        await asyncio.gather(*(objects.create(pod(f"p{number}")) for number in range(100)))
        await objects.create(service("web", "NodePort", 30_080))
        await objects.bind("default", "p7", "", "n1")
        before = await objects.list(POD)
    async with await Member.open(tmp_path / "m1") as member:
        objects = ObjectStore(member.store, clock=SystemClock())
        await objects.ensure_namespaces()
        after = await objects.list(POD)
        assert (after.items, after.revision) == (before.items, before.revision)
        with pytest.raises(Invalid, match="already allocated"):
            await objects.create(service("other", "NodePort", 30_080))
        await objects.delete(SERVICE, "default", "web")
        await objects.create(service("other", "NodePort", 30_080))
        informer = Informer(objects, POD)
        task = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(10):
                await informer.synced.wait()
                made = await objects.create(pod("late"))
                await informer.wait_revision(int(made.metadata.resourceVersion))
            assert informer.get("default", "late") == made
            assert len(informer) == 101
        finally:
            task.cancel()
            await asyncio.wait([task])
