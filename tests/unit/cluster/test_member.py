"""A member on a real directory: what it keeps, bounds, refuses and survives."""

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orchestra.base.clock import ManualClock
from orchestra.cluster import proposals
from orchestra.cluster.member import Member
from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.model import DeleteRange, KeyValue, Put, Range, Txn
from orchestra.mvcc.retention import Retention
from orchestra.storage.errors import Damaged, DirectoryInUse, DiskFailed, WrongIdentity
from orchestra.store.contract import Compacted, LeaseNotFound, NoSpace, Store, StoreUnavailable
from tests.unit.cluster.group import until
from tests.unit.storage.disks import FaultyDisk

WAIT_SECONDS = 10
EVERYTHING = Range(b"\0", b"\0")
SMALL = MemberSettings(
    segment_bytes=2000,
    snapshot_log_bytes=6000,
    snapshot_log_entries=60,
    retention=Retention(revisions=20),
)


async def put(store: Store, key: bytes, value: bytes = b"", lease: int = 0) -> int:
    return (await store.txn(Txn((), (Put(key, value, lease),)))).revision


async def content(store: Store) -> list[KeyValue]:
    return list((await store.range(EVERYTHING)).kvs)


async def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        await put(member.store, b"a", b"1")
        await put(member.store, b"a", b"2")
        lease = await member.store.lease_grant(60)
        await put(member.store, b"b", b"3", lease)
        await member.store.txn(Txn((), (Put(b"c", b"4"), DeleteRange(b"a"))))
        before, revision, cluster_id = await content(member.store), member.store.revision, member.cluster_id
    async with await Member.open(tmp_path) as member:
        assert await content(member.store) == before
        assert (member.store.revision, member.cluster_id) == (revision, cluster_id)
        older = await member.store.range(Range(b"a", revision=3))
        assert [kv.value for kv in older.kvs] == [b"2"]
        await member.store.lease_revoke(lease)
        assert [kv.key for kv in await content(member.store)] == [b"c"]


async def test_a_refused_command_is_refused_again_at_the_restart(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        with pytest.raises(LeaseNotFound):
            await put(member.store, b"a", b"", lease=99)
        await put(member.store, b"b")
    async with await Member.open(tmp_path) as member:
        assert [kv.key for kv in await content(member.store)] == [b"b"]


async def test_snapshots_bound_the_log_and_the_restart(tmp_path: Path) -> None:
    async with await Member.open(tmp_path, settings=SMALL) as member:
        for n in range(400):
            await put(member.store, b"k%d" % (n % 10), b"%d" % n * 10)
        before, revision = await content(member.store), member.store.revision
    snapshots = sorted((tmp_path / "snapshots").iterdir())
    segments = sorted((tmp_path / "wal").iterdir())
    assert len(snapshots) == 2
    assert sum(path.stat().st_size for path in segments) < 3 * SMALL.snapshot_log_bytes
    async with await Member.open(tmp_path, settings=SMALL) as member:
        assert await content(member.store) == before

    # The newest is lost: the one before, and the log since, say the same.
    snapshots[-1].write_bytes(snapshots[-1].read_bytes()[:-1])
    async with await Member.open(tmp_path, settings=SMALL) as member:
        assert await content(member.store) == before
        assert await put(member.store, b"more") == revision + 1


async def test_no_usable_snapshot_and_no_log_is_no_empty_store(tmp_path: Path) -> None:
    async with await Member.open(tmp_path, settings=SMALL) as member:
        for n in range(200):
            await put(member.store, b"k", b"%d" % n)
    snapshots = sorted((tmp_path / "snapshots").iterdir())
    shutil.rmtree(tmp_path / "wal")
    snapshots[-1].write_bytes(snapshots[-1].read_bytes()[:-1])
    for damaged in (snapshots[-1], snapshots[0]):
        damaged.write_bytes(b"")
        with pytest.raises(Damaged, match=r"the log is missing.*restore the data directory from a backup"):
            await Member.open(tmp_path)


async def test_history_is_bounded_by_writes(tmp_path: Path) -> None:
    async with await Member.open(tmp_path, settings=SMALL) as member:
        for n in range(100):
            revision = await put(member.store, b"k", b"%d" % n)
        with pytest.raises(Compacted) as refused:
            await member.store.range(Range(b"k", revision=revision - 40))
        assert refused.value.compact_revision > revision - 40
        assert (await member.store.range(Range(b"k", revision=revision - 10))).count == 1


async def test_an_idle_member_writes_nothing(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        lease = await member.store.lease_grant(60)
        watch = member.store.watch(b"a", b"\0")
        await put(member.store, b"a", b"", lease)
        before = member.disk_bytes_written
        for _ in range(20):
            assert await member.store.lease_keep_alive(lease) == 60
            await member.store.range(EVERYTHING)
            await member.store.txn(Txn((), (EVERYTHING,)))
            await asyncio.sleep(0)
        assert member.disk_bytes_written == before
        watch.close()


async def test_writes_that_wait_share_a_sync(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with await Member.open(tmp_path, disk=disk) as member:
        await put(member.store, b"begins the segment")
        before = disk.syncs
        await asyncio.gather(*(put(member.store, b"%d" % n) for n in range(100)))
        assert disk.syncs - before <= 3


async def test_a_directory_has_one_member(tmp_path: Path) -> None:
    async with await Member.open(tmp_path):
        with pytest.raises(DirectoryInUse, match=rf"in use by process {os.getpid()}; stop the master"):
            await Member.open(tmp_path)
    async with await Member.open(tmp_path):
        pass


async def test_an_opening_that_is_given_up_leaves_the_directory_free(tmp_path: Path) -> None:
    opening = asyncio.create_task(Member.open(tmp_path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with await Member.open(tmp_path) as member:
        assert member.name == "m1"


async def test_a_directory_has_one_name(tmp_path: Path) -> None:
    async with await Member.open(tmp_path, "m1"):
        pass
    with pytest.raises(WrongIdentity, match="of member 'm1', not of 'm2'"):
        await Member.open(tmp_path, "m2")


async def test_a_lost_identity_is_refused(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        await put(member.store, b"a")
    (tmp_path / "identity.json").unlink()
    with pytest.raises(Damaged, match="Put it back from a backup"):
        await Member.open(tmp_path)


async def test_a_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskFailed, match="cannot be used as data directory"):
        await Member.open(tmp_path / "file")


async def test_a_torn_end_is_cut_and_damage_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await Member.open(tmp_path) as member:
        for key in (b"a", b"b", b"c"):
            await put(member.store, key)
    (segment,) = (tmp_path / "wal").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1])
    with caplog.at_level(logging.WARNING):
        async with await Member.open(tmp_path) as member:
            assert [kv.key for kv in await content(member.store)] == [b"a", b"b"]
    assert "left out a record" in caplog.text
    broken = bytearray(whole)
    broken[100] ^= 1
    segment.write_bytes(broken)
    with pytest.raises(Damaged):
        await Member.open(tmp_path)


async def test_a_full_disk_refuses_writes_and_keeps_reads(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with await Member.open(tmp_path, disk=disk) as member:
        await put(member.store, b"a", b"1")
        disk.write_error = OSError(errno.ENOSPC, "No space left on device")
        for _ in range(2):
            with pytest.raises(NoSpace, match="no space left"):
                await put(member.store, b"a", b"2")
        assert [kv.value for kv in await content(member.store)] == [b"1"]
        disk.write_error = None
        await put(member.store, b"a", b"3")
    async with await Member.open(tmp_path) as member:
        assert [kv.value for kv in await content(member.store)] == [b"3"]


async def test_a_disk_that_is_full_from_the_start_lets_reads_go_on(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        await put(member.store, b"a", b"1")
    disk = FaultyDisk()
    disk.write_error = OSError(errno.ENOSPC, "No space left on device")
    async with await Member.open(tmp_path, disk=disk) as member:
        assert [kv.value for kv in await content(member.store)] == [b"1"]
        with pytest.raises(NoSpace, match="no space left"):
            await put(member.store, b"a", b"2")
        disk.write_error = None
        await until(lambda: not member.status().errors)
        await put(member.store, b"a", b"3")
        assert [kv.value for kv in await content(member.store)] == [b"3"]


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[tuple[Member, FaultyDisk]]:
    disk = FaultyDisk()
    async with await Member.open(tmp_path, disk=disk) as member:
        await put(member.store, b"a", b"1")
        yield member, disk


async def test_a_failed_sync_ends_the_member(failing: tuple[Member, FaultyDisk], tmp_path: Path) -> None:
    member, disk = failing
    watch = member.store.watch(b"a")
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreUnavailable, match="whether the write is kept is not known"):
        await put(member.store, b"a", b"2")
    disk.sync_error = None
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(DiskFailed):
            await member.failed()
        with pytest.raises(StoreUnavailable):
            await anext(watch)
    attempts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: put(member.store, b"a", b"3"),
        lambda: content(member.store),
        lambda: member.store.lease_grant(5),
        lambda: member.store.lease_keep_alive(5),
        lambda: anext(member.store.watch(b"a")),
    )
    for attempt in attempts:
        with pytest.raises(StoreUnavailable, match="the store has failed"):
            await attempt()
    await member.close()
    async with await Member.open(tmp_path) as again:
        assert (await content(again.store))[0].value in (b"1", b"2")


async def test_too_many_waiting_writes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "MAX_WAITING", 10)
    async with await Member.open(tmp_path) as member:
        results = await asyncio.gather(
            *(put(member.store, b"%d" % n) for n in range(50)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, StoreUnavailable)]
        assert len(refused) >= 30
        assert "retry in a moment" in str(refused[0])
        assert len(await content(member.store)) == 50 - len(refused)
        await put(member.store, b"later")


async def test_closing_keeps_what_was_asked_for_before(tmp_path: Path) -> None:
    member = await Member.open(tmp_path)
    writes = [asyncio.ensure_future(put(member.store, b"%d" % n)) for n in range(300)]
    await asyncio.sleep(0)
    await member.close()
    await member.close()
    assert len([await write for write in writes]) == 300
    with pytest.raises(StoreUnavailable):
        await put(member.store, b"late")
    async with await Member.open(tmp_path) as again:
        assert len(await content(again.store)) == 300


async def test_a_caller_that_gives_up_leaves_the_rest_alone(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        writes = [asyncio.ensure_future(put(member.store, b"%d" % n)) for n in range(20)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        assert len(await asyncio.gather(*writes[1::2])) == 10
        assert await put(member.store, b"after")


async def test_a_lease_ends_by_the_owners_clock(tmp_path: Path) -> None:
    async with await Member.open(tmp_path) as member:
        watch = member.store.watch(b"a", prev_kv=True)
        lease = await member.store.lease_grant(1)
        await put(member.store, b"a", b"", lease)
        async with asyncio.timeout(WAIT_SECONDS):
            await anext(watch)
            gone = (await anext(watch)).events
        assert gone[0].prev_kv is not None
        with pytest.raises(LeaseNotFound):
            await member.store.lease_keep_alive(lease)


async def test_a_restart_gives_a_lease_what_it_had_left(tmp_path: Path) -> None:
    clock = ManualClock()
    async with await Member.open(tmp_path, clock=clock) as member:
        lease = await member.store.lease_grant(3600)
        await put(member.store, b"a", b"", lease)
        clock.advance(3000)
    clock = ManualClock()
    async with await Member.open(tmp_path, clock=clock) as member:
        clock.advance(599)
        # Anything that makes the owner look at its clock.
        await member.store.lease_grant(3600)
        await put(member.store, b"b")
        assert len(await content(member.store)) == 2
        clock.advance(2)
        await member.store.lease_grant(3600)
        watch = member.store.watch(b"a", start_revision=1)
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(event.kv.version == 0 for event in (await anext(watch)).events):
                pass


async def test_renewing_after_a_restart_is_written_once(tmp_path: Path) -> None:
    clock = ManualClock()
    async with await Member.open(tmp_path, clock=clock) as member:
        lease = await member.store.lease_grant(3600)
        clock.advance(3000)
    async with await Member.open(tmp_path, clock=ManualClock()) as member:
        before = member.disk_bytes_written
        await member.store.lease_keep_alive(lease)
        once = member.disk_bytes_written
        assert once > before
        await member.store.lease_keep_alive(lease)
        assert member.disk_bytes_written == once


async def test_snapshots_while_writing_agree_with_the_log(tmp_path: Path) -> None:
    async with await Member.open(tmp_path, settings=SMALL) as member:

        async def write(writer: int) -> None:
            for n in range(60):
                await put(member.store, b"%d/%d" % (writer, n % 7), b"%d" % n * 20)

        await asyncio.gather(*(write(writer) for writer in range(8)))
        before, revision = await content(member.store), member.store.revision
    async with await Member.open(tmp_path, settings=SMALL) as member:
        assert (await content(member.store), member.store.revision) == (before, revision)


async def test_a_snapshot_without_space_is_taken_later(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.only, disk.write_error = "snapshot", OSError(errno.ENOSPC, "No space left on device")
    async with await Member.open(tmp_path, disk=disk, settings=SMALL) as member:
        for n in range(200):
            await put(member.store, b"k", b"%d" % n)
        assert list((tmp_path / "snapshots").iterdir()) == []
        disk.write_error = None
        for n in range(200):
            await put(member.store, b"k", b"%d" % n)
        revision = member.store.revision
    assert list((tmp_path / "snapshots").iterdir())
    async with await Member.open(tmp_path, settings=SMALL) as member:
        assert member.store.revision == revision


async def test_a_disk_that_fails_under_a_snapshot_ends_the_member(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.only, disk.sync_error = "snapshot", OSError(errno.EIO, "Input/output error")
    async with await Member.open(tmp_path, disk=disk, settings=SMALL) as member:
        writes = asyncio.gather(*(put(member.store, b"%d" % n) for n in range(70)))
        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(DiskFailed, match="check the disk"):
                await member.failed()
            await writes
