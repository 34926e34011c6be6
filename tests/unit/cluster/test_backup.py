"""A store in a file, and new clusters from it."""

import errno
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from orchestra.cluster.backup import backup_parts, check_backup, restore_backup, write_backup
from orchestra.cluster.bootstrap import Bootstrap, alone, together
from orchestra.cluster.datadir import DataDirectory
from orchestra.mvcc.commands import LeaseGrant, encode
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import DeleteRange, Put, Range, Txn
from orchestra.mvcc.snapshot import snapshot, state_hash
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark
from orchestra.storage.disk import SystemDisk
from orchestra.storage.errors import (
    Damaged,
    DirectoryInUse,
    DiskFailed,
    DiskFull,
    StorageError,
    WrongIdentity,
)
from orchestra.storage.identity import Identity
from tests.unit.storage.crashing import Crash, CrashingDisk
from tests.unit.storage.disks import FaultyDisk

SAVED_BY = Identity("cd" * 16, "00" * 7 + "09", "m9")
MEMBERS = {"m1": ["10.0.0.1:7001"], "m2": ["10.0.0.2:7001"], "m3": ["10.0.0.3:7001"]}
SEGMENT_BYTES = 1 << 20


def some_machine() -> Machine:
    machine = Machine()
    machine.skip(1)
    machine.apply(2, encode(LeaseGrant(77, 60)))
    for n in range(20):
        machine.apply(machine.applied_index + 1, encode(Txn((), (Put(b"k%d" % (n % 7), b"%d" % n, 77),))))
    machine.apply(machine.applied_index + 1, encode(Txn((), (DeleteRange(b"k3"),))))
    return machine


@pytest.fixture
def machine() -> Machine:
    return some_machine()


@pytest.fixture
def saved(tmp_path: Path, machine: Machine) -> Path:
    mark = SnapshotMark(machine.applied_index, 5, Configuration(frozenset((9, 10)), context=b"old names"))
    file = tmp_path / "store.backup"
    info = write_backup(backup_parts(SAVED_BY, mark, snapshot(machine)), file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert info == check_backup(file)
    return file


def test_it_says_what_it_holds(saved: Path, machine: Machine) -> None:
    info = check_backup(saved)
    assert (info.revision, info.keys, info.index, info.term) == (22, 6, 23, 5)
    assert info.bytes == saved.stat().st_size
    assert info.hash == state_hash(machine)
    assert (info.cluster_id, info.member_id) == (SAVED_BY.cluster_id, SAVED_BY.member_id)


def test_a_snapshot_of_a_data_directory_is_a_backup(tmp_path: Path, machine: Machine) -> None:
    directory = DataDirectory.open(SystemDisk(), tmp_path / "m1", "m1", SEGMENT_BYTES)
    mark = SnapshotMark(machine.applied_index, 5, directory.mark.configuration)
    writer = directory.begin_snapshot(mark)
    for chunk in snapshot(machine):
        writer.write(chunk)
    directory.install(writer, mark, None)
    assert check_backup(directory.snapshots.place(23)).hash == state_hash(machine)
    directory.close()


def test_three_members_begin_from_one_file(tmp_path: Path, saved: Path, machine: Machine) -> None:
    info = check_backup(saved)
    marks = []
    for name in MEMBERS:
        bootstrap = together(MEMBERS, name, token=info.hash)
        path = tmp_path / name
        restored = restore_backup(SystemDisk(), saved, path, bootstrap)
        assert (restored.cluster_id, restored.hash) == (bootstrap.cluster_id, info.hash)
        assert restored.cluster_id != info.cluster_id
        # What is given at a start is for directories that are new.
        directory = DataDirectory.open(SystemDisk(), path, name, SEGMENT_BYTES, alone(name))
        assert state_hash(directory.machine) == state_hash(machine)
        assert directory.machine.leases == machine.leases
        assert directory.machine.range(Range(b"k1", revision=4)).kvs
        assert (directory.hard_state, directory.entries) == (HardState(5, 0, 23), [])
        assert directory.identity.member_id == f"{bootstrap.member_id:016x}"
        marks.append(directory.mark)
        following = Entry(6, 24, EntryKind.NORMAL, b"")
        directory.journal.append(HardState(6, 1, 23), [following])
        directory.close()
        directory = DataDirectory.open(SystemDisk(), path, name, SEGMENT_BYTES)
        assert (directory.hard_state, directory.entries) == (HardState(6, 1, 23), [following])
        directory.close()
    assert marks == [SnapshotMark(23, 5, together(MEMBERS, "m1", token=info.hash).configuration)] * 3


def test_a_directory_with_anything_in_it_is_left_alone(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "m1"
    DataDirectory.open(SystemDisk(), path, "m1", SEGMENT_BYTES).close()
    before = sorted(path.rglob("*"))
    with pytest.raises(StorageError, match="not empty; restore into a new directory, or move this one away"):
        restore_backup(SystemDisk(), saved, path, alone("m1"))
    assert sorted(path.rglob("*")) == before


def test_a_restored_member_never_belongs_to_the_old_cluster(tmp_path: Path, saved: Path) -> None:
    bootstrap = Bootstrap(SAVED_BY.cluster_id, 1, "m1", Configuration(frozenset((1,))))
    with pytest.raises(WrongIdentity, match="must not belong to"):
        restore_backup(SystemDisk(), saved, tmp_path / "m1", bootstrap)
    assert not (tmp_path / "m1").exists()


def as_etcdctl_writes_it(backup: bytes) -> bytes:
    padded = backup + bytes(-len(backup) % 512)
    return padded + sha256(padded).digest()


def test_what_etcdctl_saved_is_a_backup(tmp_path: Path, saved: Path, machine: Machine) -> None:
    info = check_backup(saved)
    whole = as_etcdctl_writes_it(saved.read_bytes())
    saved.write_bytes(whole)
    assert check_backup(saved) == replace(info, bytes=len(whole))
    restore_backup(SystemDisk(), saved, tmp_path / "m1", alone("m1"))
    directory = DataDirectory.open(SystemDisk(), tmp_path / "m1", "m1", SEGMENT_BYTES)
    assert state_hash(directory.machine) == state_hash(machine)
    directory.close()
    zeros = saved.read_bytes()[:-32] + bytes(512)
    saved.write_bytes(zeros + sha256(zeros).digest())
    assert check_backup(saved).hash == info.hash


@pytest.mark.parametrize("etcdctl", [False, True], ids=["as it is", "as etcdctl writes it"])
def test_one_flipped_bit_or_missing_byte_is_found(tmp_path: Path, saved: Path, etcdctl: bool) -> None:
    whole = saved.read_bytes()
    ends = {len(whole)} if etcdctl else set()
    if etcdctl:
        whole = as_etcdctl_writes_it(whole)
        saved.write_bytes(whole)
        assert check_backup(saved)
    for offset in range(len(whole)):
        broken = bytearray(whole)
        broken[offset] ^= 1 << offset % 8
        saved.write_bytes(broken)
        with pytest.raises((Damaged, WrongIdentity), match=str(saved)):
            check_backup(saved)
        if offset in ends:
            # Cut there it is a whole backup.
            continue
        saved.write_bytes(whole[:offset])
        with pytest.raises((Damaged, WrongIdentity), match=str(saved)):
            check_backup(saved)
    saved.write_bytes(whole[:-1])
    with pytest.raises(Damaged, match=r"damaged at offset \d+: .*\. Save another one"):
        restore_backup(SystemDisk(), saved, tmp_path / "m1", alone("m1"))
    assert not (tmp_path / "m1").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"x" * 1000])
def test_another_file_is_no_backup(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "photo.zip"
    file.write_bytes(content)
    with pytest.raises(
        WrongIdentity, match=r"not a backup; name a file that `orchestra snapshot save` wrote"
    ):
        check_backup(file)
    with pytest.raises(DiskFailed, match="cannot be read"):
        check_backup(tmp_path / "nowhere")


def test_a_log_file_is_no_backup(tmp_path: Path) -> None:
    DataDirectory.open(SystemDisk(), tmp_path / "m1", "m1", SEGMENT_BYTES).close()
    (file,) = (tmp_path / "m1" / "wal").iterdir()
    with pytest.raises(WrongIdentity, match="not a backup"):
        check_backup(file)


def test_a_state_that_is_not_that_of_the_mark_is_refused(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "store.backup"
    mark = SnapshotMark(99, 5, Configuration(frozenset()))
    with pytest.raises(Damaged, match="it stands for 99 and holds 23"):
        write_backup(backup_parts(SAVED_BY, mark, snapshot(machine)), file)
    assert list(tmp_path.iterdir()) == []


def test_one_that_breaks_off_leaves_no_file(tmp_path: Path, machine: Machine) -> None:
    mark = SnapshotMark(machine.applied_index, 5, Configuration(frozenset()))
    parts = list(backup_parts(SAVED_BY, mark, snapshot(machine)))

    def breaking() -> Iterator[bytes]:
        yield parts[0]
        raise ConnectionError

    file = tmp_path / "store.backup"
    file.write_bytes(b"the one before")
    with pytest.raises(ConnectionError):
        write_backup(breaking(), file)
    with pytest.raises(Damaged):
        write_backup(parts[:-1], file)
    disk = FaultyDisk()
    disk.write_error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DiskFull):
        write_backup(parts, file, disk)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"the one before"
    assert write_backup(parts, file).keys == 6


@pytest.mark.parametrize("fault", ["write", "sync"])
@pytest.mark.parametrize("only", ["snapshot", "wal", "identity"])
def test_a_restore_that_fails_is_no_data_directory(
    tmp_path: Path, saved: Path, fault: str, only: str
) -> None:
    disk = FaultyDisk()
    disk.only = only
    setattr(disk, f"{fault}_error", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(DiskFailed):
        restore_backup(disk, saved, tmp_path / "m1", alone("m1"))
    with pytest.raises(StorageError, match="did not finish; remove it and restore again"):
        DataDirectory.open(SystemDisk(), tmp_path / "m1", "m1", SEGMENT_BYTES)


def test_ids_follow_from_the_list() -> None:
    first, second = together(MEMBERS, "m1"), together(dict(reversed(MEMBERS.items())), "m2")
    assert (first.cluster_id, first.configuration) == (second.cluster_id, second.configuration)
    assert first.member_id != second.member_id
    assert {first.member_id, second.member_id} < first.configuration.voters
    others = [
        together(MEMBERS, "m1", token="t"),
        together({**MEMBERS, "m3": ["10.0.0.3:7002"]}, "m1"),
        together({"m1": ["a:1"], "m2": ["b:1"]}, "m1"),
        together({"m1": ["a:1", "m2"], "": ["b:1"]}, "m1"),
        alone("m1"),
        alone("m1"),
    ]
    assert len({each.cluster_id for each in [first, *others]}) == len(others) + 1
    ids = [each for bootstrap in [first, *others] for each in bootstrap.configuration.voters]
    assert len(set(ids)) == len(ids)
    assert alone("m1", random_bytes=bytes) == alone("m1", random_bytes=bytes)


def test_a_list_that_does_not_do_is_refused() -> None:
    with pytest.raises(Exception, match=r"member 'm4' is not in the initial cluster \(m1, m2, m3\)"):
        together(MEMBERS, "m4")
    with pytest.raises(Exception, match="has a:1 twice, for 'm1' and 'm2'"):
        together({"m1": ["a:1"], "m2": ["a:1"]}, "m1")


def test_in_use(tmp_path: Path) -> None:
    directory = DataDirectory.open(SystemDisk(), tmp_path, "m1", SEGMENT_BYTES)
    with pytest.raises(DirectoryInUse):
        DataDirectory.open(SystemDisk(), tmp_path, "m1", SEGMENT_BYTES)
    directory.close()


def test_one_that_cannot_be_put_in_place_leaves_no_file(tmp_path: Path, machine: Machine) -> None:
    mark = SnapshotMark(machine.applied_index, 5, Configuration(frozenset()))
    (tmp_path / "store.backup").mkdir()
    with pytest.raises(DiskFailed):
        write_backup(backup_parts(SAVED_BY, mark, snapshot(machine)), tmp_path / "store.backup")
    assert [path.name for path in tmp_path.iterdir()] == ["store.backup"]


def test_power_lost_while_restoring_leaves_all_or_says_so(machine: Machine) -> None:
    mark = SnapshotMark(machine.applied_index, 5, Configuration(frozenset()))
    file, path = Path("/backups/store.backup"), Path("/data")
    outcomes = set()
    for operations in range(40):
        disk = CrashingDisk(random.Random(operations))
        write_backup(backup_parts(SAVED_BY, mark, snapshot(machine)), file, disk)
        disk.operations_left = operations
        is_done = False
        with suppress(Crash):
            restore_backup(disk, file, path, alone("m1"))
            is_done = True
        disk.crash()
        try:
            directory = DataDirectory.open(disk, path, "m1", SEGMENT_BYTES)
        except StorageError as error:
            outcomes.add((is_done, str(error)))
            continue
        outcomes.add((is_done, f"at {directory.mark.index}"))
        expected = machine if directory.mark.index else Machine()
        assert state_hash(directory.machine) == state_hash(expected)
    refused = "/data: restoring a backup into it did not finish; remove it and restore again"
    assert outcomes == {(False, "at 0"), (False, refused), (False, "at 23"), (True, "at 23")}
