"""A snapshot that comes in while there is no room for it."""

import errno
from pathlib import Path

import pytest

from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.model import Put, Txn
from orchestra.mvcc.snapshot import state_hash
from orchestra.storage.disk import File
from tests.unit.cluster.group import Group, until
from tests.unit.storage.disks import FaultyDisk

SETTINGS = MemberSettings(
    tick_ms=10,
    resend_ms=60,
    propose_timeout_ms=8000,
    segment_bytes=16 * 1024,
    snapshot_log_bytes=8 * 1024,
    snapshot_log_entries=50,
    snapshot_catch_up_entries=10,
    snapshot_catch_up_bytes=1024,
    snapshot_catch_up_bytes_max=2048,
)


class CountingDisk(FaultyDisk):
    """Counts the snapshots that were begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    def create(self, path: Path) -> File:
        self.begun += ".snapshot" in path.name
        return super().create(path)


async def _put(group: Group, count: int) -> None:
    leader = await group.leader()
    for number in range(count):
        await leader.store.txn(Txn(success=(Put(b"k%d" % (number % 7), bytes(300)),)))


@pytest.mark.parametrize("only", [".snapshot", ""], ids=["for the snapshot", "for anything"])
async def test_a_member_without_room_for_the_leaders_snapshot_lives_and_gets_it_later(
    tmp_path: Path, only: str
) -> None:
    group = Group(tmp_path, settings=SETTINGS)
    disks = {name: CountingDisk() for name in group.names}
    group.disks.update(disks)
    async with group:
        behind = (await group.followers())[0].name
        disk = disks[behind]
        await group.kill(behind)
        await _put(group, 300)
        disk.only, disk.begun = only, 0
        disk.write_error = OSError(errno.ENOSPC, "No space left on device")
        await group.start(behind)
        # A log that cannot be written holds up all else; a snapshot is given up, and comes again.
        await until(lambda: disk.begun >= (3 if only else 0))
        await _put(group, 5)
        disk.write_error = None
        await group.equal()
        assert disk.begun
        assert len({state_hash(each.machine) for each in group.members.values()}) == 1
