"""A member whose vote is the only one is not the only one that answers: who reads there sees it all the same."""

import asyncio
import threading
from pathlib import Path

from orchestra.mvcc.model import Put, Range, Txn
from orchestra.storage.disk import File, SystemDisk
from tests.unit.cluster.group import WAIT_SECONDS, Group, until


class SlowDisk(SystemDisk):
    """Syncs of open files wait until they are let through, one by one; `through` opens it for good."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self.waiting = 0
        self._turns = threading.Semaphore(0)

    def create(self, path: Path) -> File:
        return _SlowFile(self, super().create(path))

    def append(self, path: Path, offset: int) -> File:
        return _SlowFile(self, super().append(path, offset))

    def wait(self) -> None:
        """Called on the I/O thread."""
        if self.held:
            self.waiting += 1
            self._turns.acquire(timeout=WAIT_SECONDS)
            self.waiting -= 1

    def let_one(self) -> None:
        self._turns.release()

    def through(self) -> None:
        self.held = False
        self._turns.release(1000)


class _SlowFile:
    def __init__(self, disk: SlowDisk, file: File) -> None:
        self._disk = disk
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def sync(self) -> None:
        self._disk.wait()
        self._file.sync()

    def allocate(self, size: int) -> None:
        self._file.allocate(size)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def put(key: bytes) -> Txn:
    return Txn((), (Put(key, b"1"),))


async def test_a_lone_voter_reads_what_a_learner_has_answered(tmp_path: Path) -> None:
    group = Group(tmp_path, 1)
    disk = group.disks["m1"] = SlowDisk()
    async with group:
        leader = await group.leader()
        learner = await group.join("m2")
        await learner.store.txn(put(b"before"))
        disk.held = True
        at_learner = asyncio.ensure_future(learner.store.txn(put(b"k")))
        await until(lambda: disk.waiting)
        # It is written along with nothing; the next one keeps the leader from applying it.
        next_one = asyncio.ensure_future(leader.store.txn(put(b"next")))
        await asyncio.sleep(0)
        disk.let_one()
        await asyncio.wait_for(at_learner, WAIT_SECONDS)
        reading = asyncio.ensure_future(leader.store.range(Range(b"k")))
        await asyncio.sleep(0.05)
        disk.through()
        assert (await asyncio.wait_for(reading, WAIT_SECONDS)).kvs
        await next_one


async def test_a_lease_is_kept_where_its_grant_is_not_applied_yet(tmp_path: Path) -> None:
    group = Group(tmp_path, 1)
    disk = group.disks["m1"] = SlowDisk()
    async with group:
        leader = await group.leader()
        learner = await group.join("m2")
        await learner.store.txn(put(b"before"))
        disk.held = True
        granting = asyncio.ensure_future(learner.store.lease_grant(60))
        await until(lambda: disk.waiting)
        next_one = asyncio.ensure_future(leader.store.txn(put(b"next")))
        await asyncio.sleep(0)
        disk.let_one()
        lease = await asyncio.wait_for(granting, WAIT_SECONDS)
        keeping = asyncio.ensure_future(leader.keep_alive(lease))
        asking = asyncio.ensure_future(leader.lease_remaining(lease))
        await asyncio.sleep(0.05)
        disk.through()
        assert await asyncio.wait_for(keeping, WAIT_SECONDS) == 60
        assert await asyncio.wait_for(asking, WAIT_SECONDS) == 60
        await next_one
