"""A backup from a data directory that nobody runs on, which stays as it is."""

import json
import os
import shutil
from pathlib import Path

import pytest

from orchestra.cluster.backup import check_backup, restore_backup
from orchestra.cluster.bootstrap import Bootstrap, alone
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.proposals import stamped
from orchestra.cluster.salvage import save_offline
from orchestra.mvcc.commands import Compact, encode
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import Put, Txn
from orchestra.mvcc.snapshot import snapshot, state_hash
from orchestra.raft.encoding import encode_configuration
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark
from orchestra.storage.disk import SystemDisk
from orchestra.storage.errors import Damaged, DirectoryInUse, DiskFailed, StorageError, WrongIdentity

CONFIGURATION = Configuration(frozenset((7, 8, 9)), context=b"names")
BOOTSTRAP = Bootstrap("ab" * 16, 7, "m1", CONFIGURATION)


def opened(path: Path) -> DataDirectory:
    return DataDirectory.open(SystemDisk(), path, "m1", 2000, BOOTSTRAP)


def put(index: int, term: int = 1) -> Entry:
    command = encode(Txn((), (Put(b"k%d" % index, b"v"),)))
    return Entry(term, index, EntryKind.NORMAL, stamped(7, index) + command)


def reached(index: int) -> Machine:
    """The machine after a log of nothing but `put`s."""
    machine = Machine()
    for at in range(1, index + 1):
        machine.apply(at, encode(Txn((), (Put(b"k%d" % at, b"v"),))))
    return machine


def keep(directory: DataDirectory, index: int) -> None:
    mark = SnapshotMark(index, 1, CONFIGURATION)
    writer = directory.begin_snapshot(mark)
    for chunk in snapshot(reached(index)):
        writer.write(chunk)
    directory.keep(writer, mark)


def picture(path: Path) -> dict[str, tuple[bytes, int]]:
    files = [each for each in path.rglob("*") if each.is_file()]
    return {str(each): (each.read_bytes(), each.stat().st_mtime_ns) for each in files} | {
        str(each): (b"", each.stat().st_mtime_ns) for each in (path, *path.rglob("*")) if each.is_dir()
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Snapshots at 10 and 20, a log up to 30 in several files, committed up to 27."""
    path = tmp_path / "m1"
    directory = opened(path)
    for index in range(1, 31):
        directory.journal.append(HardState(1, 7, min(index - 1, 27)), [put(index)])
        if index in (10, 20):
            keep(directory, index)
    directory.close()
    return path


def test_snapshot_and_log_are_saved_and_nothing_is_changed(tmp_path: Path, data: Path) -> None:
    file = tmp_path / "saved"
    before = picture(data)
    saved = save_offline(data, file)
    assert picture(data) == before
    assert (saved.name, saved.uncommitted) == ("m1", 3)
    assert (saved.info.index, saved.info.term, saved.info.keys) == (30, 1, 30)
    assert saved.info.hash == state_hash(reached(30))
    assert saved.info == check_backup(file)
    restore_backup(SystemDisk(), file, tmp_path / "restored", alone("m1"))
    directory = DataDirectory.open(SystemDisk(), tmp_path / "restored", "m1", 2000)
    assert state_hash(directory.machine) == state_hash(reached(30))
    directory.close()
    # The one before is replaced, as by `snapshot save` of a running cluster.
    assert save_offline(data, file) == saved


def test_every_kind_of_entry(tmp_path: Path) -> None:
    directory = opened(tmp_path / "m1")
    refused = Entry(2, 4, EntryKind.NORMAL, stamped(7, 4) + encode(Compact(99)))
    changed = Configuration(frozenset((7,)), context=b"others")
    entries = [
        Entry(1, 1, EntryKind.NORMAL, b""),
        put(2),
        Entry(2, 3, EntryKind.CONFIGURATION, encode_configuration(changed)),
        refused,
        put(5, 3),
    ]
    directory.journal.append(HardState(3, 7, 0), entries)
    directory.journal.append(HardState(4, 8, 5), ())
    directory.close()
    saved = save_offline(tmp_path / "m1", tmp_path / "saved")
    assert (saved.info.index, saved.info.term, saved.info.revision, saved.uncommitted) == (5, 3, 3, 0)


def test_a_torn_end_is_left_out_and_stays_on_disk(tmp_path: Path, data: Path) -> None:
    segment = max((data / "wal").iterdir())
    whole = segment.read_bytes()
    for lost in (1, 5, 20):
        segment.write_bytes(whole[:-lost])
        before = picture(data)
        saved = save_offline(data, tmp_path / "saved")
        assert picture(data) == before
        assert (saved.info.index, saved.uncommitted) == (29, 2)
    directory = opened(data)
    assert len(directory.entries) == 9
    directory.close()


def test_leftovers_stay_and_the_snapshot_before_a_damaged_one_does(tmp_path: Path, data: Path) -> None:
    (data / "snapshots" / "x.snapshot.tmp").write_bytes(b"unfinished")
    (data / "wal" / "x.wal.tmp").write_bytes(b"unfinished")
    newest = max((data / "snapshots").glob("*.snapshot"))
    newest.write_bytes(newest.read_bytes()[:-1])
    before = picture(data)
    assert save_offline(data, tmp_path / "saved").info.hash == state_hash(reached(30))
    assert picture(data) == before


def test_a_snapshot_whose_installation_was_not_noted(tmp_path: Path) -> None:
    directory = opened(tmp_path / "m1")
    directory.journal.append(HardState(1, 7, 1), [put(1), put(2)])
    keep(directory, 20)
    directory.close()
    before = picture(tmp_path / "m1")
    saved = save_offline(tmp_path / "m1", tmp_path / "saved")
    assert (saved.info.index, saved.uncommitted) == (20, 0)
    assert picture(tmp_path / "m1") == before


def test_without_a_lock_and_without_permission_to_write(tmp_path: Path, data: Path) -> None:
    (data / "lock").unlink()
    for each in (data, *data.rglob("*")):
        os.chmod(each, 0o500)
    assert save_offline(data, tmp_path / "saved").info.index == 30
    assert not (data / "lock").exists()


def test_in_use(tmp_path: Path, data: Path) -> None:
    directory = opened(data)
    with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}; stop the master"):
        save_offline(data, tmp_path / "saved")
    directory.close()
    assert not (tmp_path / "saved").exists()


def test_what_is_no_data_directory(tmp_path: Path, data: Path) -> None:
    def refused(path: Path, kind: type[StorageError], said: str) -> None:
        before = picture(tmp_path)
        with pytest.raises(kind, match=said):
            save_offline(path, tmp_path / "saved")
        assert picture(tmp_path) == before

    refused(tmp_path / "nowhere", DiskFailed, "cannot be used as data directory")
    refused(data / "lock", DiskFailed, "cannot be used as data directory")
    refused(tmp_path, StorageError, "not a data directory: it has no identity.json")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "restoring").touch()
    refused(tmp_path / "half", StorageError, "that backup holds all that it does")
    opened(tmp_path / "new").close()
    refused(tmp_path / "new", StorageError, "the log of m1 is empty: it has nothing to save")
    shutil.copytree(data, tmp_path / "first")
    said = {"cluster_id": "ab" * 16, "member_id": "cd" * 8, "name": "m1"}
    (tmp_path / "first" / "identity.json").write_text(json.dumps(said))
    refused(tmp_path / "first", WrongIdentity, "format 1, this version reads format 2")
    (tmp_path / "first" / "identity.json").unlink()
    refused(tmp_path / "first", Damaged, "the file is missing, but there is a wal directory")


def test_damage_is_refused(tmp_path: Path, data: Path) -> None:
    segment = max((data / "wal").iterdir())
    broken = bytearray(segment.read_bytes())
    broken[len(broken) // 2] ^= 1
    segment.write_bytes(broken)
    before = picture(data)
    with pytest.raises(Damaged):
        save_offline(data, tmp_path / "saved")
    assert picture(data) == before
    shutil.rmtree(data / "wal")
    with pytest.raises(Damaged, match="the log is missing"):
        save_offline(data, tmp_path / "saved")
    assert not (data / "wal").exists()
    assert not (tmp_path / "saved").exists()


def test_a_file_in_the_data_directory_is_refused(data: Path) -> None:
    before = picture(data)
    with pytest.raises(StorageError, match="is in the data directory, which is left as it is"):
        save_offline(data, data / "snapshots" / "saved")
    assert picture(data) == before
