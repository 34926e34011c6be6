"""A data directory: what it is made with, what it refuses, and how a snapshot from elsewhere gets in."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.datadir import DataDirectory
from orchestra.mvcc.commands import encode
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import Put, Txn
from orchestra.mvcc.snapshot import snapshot, state_hash
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark
from orchestra.storage.disk import SystemDisk
from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, WrongIdentity
from tests.unit.storage.disks import FaultyDisk

CONFIGURATION = Configuration(frozenset((7, 8, 9)), context=b"names")
BOOTSTRAP = Bootstrap("ab" * 16, 7, "m1", CONFIGURATION)


def opened(path: Path, disk: SystemDisk | None = None) -> DataDirectory:
    return DataDirectory.open(disk or SystemDisk(), path, "m1", 2000, BOOTSTRAP)


def reached(index: int) -> Machine:
    machine = Machine()
    for at in range(1, index + 1):
        machine.apply(at, encode(Txn((), (Put(b"k%d" % at, b"v"),))))
    return machine


def entries(first: int, count: int, term: int = 1) -> list[Entry]:
    return [
        Entry(term, at, EntryKind.NORMAL, encode(Txn((), (Put(b"k%d" % at, b"v"),))))
        for at in range(first, first + count)
    ]


def mark(index: int, term: int = 1) -> SnapshotMark:
    return SnapshotMark(index, term, CONFIGURATION)


def keep(directory: DataDirectory, index: int) -> None:
    writer = directory.begin_snapshot(mark(index))
    for chunk in snapshot(reached(index)):
        writer.write(chunk)
    directory.keep(writer, mark(index))


def install(directory: DataDirectory, at: SnapshotMark, machine: Machine) -> Machine:
    writer = directory.begin_snapshot(at)
    for chunk in snapshot(machine):
        writer.write(chunk)
    return directory.install(writer, at, HardState(at.term, 0, at.index))


def test_a_new_one_is_as_its_bootstrap_says_for_ever(tmp_path: Path) -> None:
    for _ in range(2):
        directory = opened(tmp_path)
        assert directory.mark == SnapshotMark(0, 0, CONFIGURATION)
        assert (directory.hard_state, directory.entries) == (HardState(), [])
        assert directory.identity.cluster_id == BOOTSTRAP.cluster_id
        assert directory.identity.member_id == "0000000000000007"
        directory.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.json", "lock", "snapshots", "wal"]


def test_the_first_format_is_refused(tmp_path: Path) -> None:
    said = {"cluster_id": "ab" * 16, "member_id": "cd" * 8, "name": "m1"}
    (tmp_path / "identity.json").write_text(json.dumps(said))
    with pytest.raises(
        WrongIdentity,
        match=r"identity.json: written in format 1, this version reads format 2; start the version that wrote it",
    ):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format": 2, "cluster_id": "x"}'])
def test_a_damaged_identity_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity.json").write_bytes(content)
    with pytest.raises(Damaged, match="Put back this file from a backup"):
        opened(tmp_path)


def test_a_missing_log_is_no_empty_log(tmp_path: Path) -> None:
    """It may have held a vote."""
    opened(tmp_path).close()
    shutil.rmtree(tmp_path / "wal")
    with pytest.raises(Damaged, match="the log is missing"):
        opened(tmp_path)


def test_log_and_snapshots_take_over_from_each_other(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    for index in range(1, 101):
        directory.journal.append(HardState(1, 7, index - 1), entries(index, 1))
        if index % 20 == 0:
            keep(directory, index)
    directory.close()
    segments = len(list((tmp_path / "wal").iterdir()))
    directory = opened(tmp_path)
    assert (directory.mark, directory.entries) == (mark(100), [])
    assert directory.hard_state == HardState(1, 7, 100)
    assert directory.snapshot_bytes > 0
    directory.close()

    newest = directory.snapshots.place(100)
    newest.write_bytes(newest.read_bytes()[:-1])
    directory = opened(tmp_path)
    assert (directory.mark, directory.entries) == (mark(80), entries(81, 20))
    directory.close()
    assert len(list((tmp_path / "wal").iterdir())) == segments
    directory.snapshots.place(80).unlink()
    with pytest.raises(Damaged, match="what came after 0 is missing"):
        opened(tmp_path)


def test_a_snapshot_that_comes_in_replaces_all(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.journal.append(HardState(1, 7, 3), entries(1, 9))
    machine = install(directory, mark(50, term=4), reached(50))
    assert state_hash(machine) == state_hash(reached(50))
    assert list(directory.snapshot_chunks(50)) == list(snapshot(reached(50)))
    directory.journal.append(None, entries(51, 2, term=4))
    directory.close()
    directory = opened(tmp_path)
    assert (directory.mark, directory.entries) == (mark(50, term=4), entries(51, 2, term=4))
    assert directory.hard_state == HardState(4, 0, 50)
    directory.close()


def test_a_snapshot_that_comes_in_and_holds_something_else_changes_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.journal.append(HardState(1, 7, 3), entries(1, 9))
    with pytest.raises(Damaged, match="it stands for 50 and holds 49"):
        install(directory, mark(50), reached(49))
    writer = directory.begin_snapshot(mark(50))
    writer.write(b"\xff\xff\xff")
    with pytest.raises(Damaged, match="it does not hold a store"):
        directory.install(writer, mark(50), None)
    assert list((tmp_path / "snapshots").iterdir()) == []
    directory.close()
    directory = opened(tmp_path)
    assert directory.entries == entries(1, 9)
    directory.close()


@pytest.mark.parametrize("only", ["snapshot", "wal"])
def test_a_disk_too_full_for_a_snapshot_leaves_state_and_log(tmp_path: Path, only: str) -> None:
    disk = FaultyDisk()
    directory = opened(tmp_path, disk)
    directory.journal.append(HardState(1, 7, 3), entries(1, 9))
    disk.only, disk.write_error = only, OSError(errno.ENOSPC, "No space left on device")
    for _ in range(2):
        with pytest.raises(DiskFull):
            install(directory, mark(50, term=4), reached(50))
    assert (directory.mark.index, directory.journal.last_index) == (0, 9)
    assert list((tmp_path / "snapshots").iterdir()) == []
    disk.write_error = None
    directory.journal.append(HardState(2, 7, 3), entries(10, 1, term=2))
    install(directory, mark(50, term=4), reached(50))
    directory.close()
    directory = opened(tmp_path)
    assert (directory.mark, directory.entries) == (mark(50, term=4), [])
    directory.close()


def test_a_disk_that_fails_under_a_snapshot_is_final_or_leaves_all(tmp_path: Path) -> None:
    disk = FaultyDisk()
    directory = opened(tmp_path, disk)
    directory.journal.append(HardState(1, 7, 3), entries(1, 9))
    for only in ("snapshot", "wal"):
        disk.only, disk.sync_error = only, OSError(errno.EIO, "Input/output error")
        with pytest.raises(DiskFailed):
            install(directory, mark(50, term=4), reached(50))
    disk.sync_error = None
    with pytest.raises(DiskFailed):
        directory.journal.append(HardState(2, 7, 3), ())
    directory.close()
    directory = opened(tmp_path)
    assert directory.mark == mark(50, term=4)
    directory.close()


def test_one_taken_here_that_was_overtaken_is_given_up(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.journal.append(HardState(1, 7, 9), entries(1, 9))
    writer = directory.begin_snapshot(mark(9))
    for chunk in snapshot(reached(9)):
        writer.write(chunk)
    install(directory, mark(50), reached(50))
    assert directory.keep(writer, mark(9)) is None
    assert directory.snapshots.indices() == [50]
    directory.close()


def test_a_lost_snapshot_that_the_log_builds_on_is_refused(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.journal.append(HardState(1, 7, 9), entries(1, 9))
    keep(directory, 9)
    install(directory, mark(50), reached(50))
    directory.close()
    directory.snapshots.place(50).unlink()
    with pytest.raises(Damaged, match="the newest that can be used is at 9 of term 1"):
        opened(tmp_path)
