"""Snapshots that are whole, that are not, and disks that fail under them."""

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, WrongIdentity
from orchestra.storage.identity import Identity
from orchestra.storage.snapshots import Snapshots
from tests.unit.storage.disks import FaultyDisk

OURS = Identity("11" * 16, "22" * 8, "m1")
THEIRS = Identity("44" * 16, "22" * 8, "m1")


def opened(path: Path, disk: FaultyDisk | None = None, identity: Identity = OURS) -> Snapshots:
    snapshots = Snapshots(disk or FaultyDisk(), path, identity)
    snapshots.open()
    return snapshots


def take(snapshots: Snapshots, index: int, *chunks: bytes) -> None:
    writer = snapshots.begin(index)
    for chunk in chunks:
        writer.write(chunk)
    writer.commit()


def whole(chunks: Iterator[bytes]) -> list[bytes]:
    return list(chunks)


def test_the_newest_is_loaded(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    assert snapshots.load(whole) is None
    take(snapshots, 7, b"a", b"", b"c")
    take(snapshots, 300, b"d" * 100_000)
    assert opened(tmp_path).load(whole) == (300, [b"d" * 100_000])
    assert whole(snapshots.chunks(7)) == [b"a", b"", b"c"]


def test_two_are_kept(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    kept = []
    for index in (10, 20, 30, 40):
        take(snapshots, index, b"x")
        kept.append(snapshots.prune())
    assert kept == [0, 10, 20, 30]
    assert snapshots.indices() == [30, 40]


def test_one_that_is_not_whole_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshots = opened(tmp_path)
    take(snapshots, 1, b"good")
    take(snapshots, 2, b"first", b"second")
    newest = sorted(tmp_path.iterdir())[-1]
    content = newest.read_bytes()
    for size in range(len(content)):
        newest.write_bytes(content[:size])
        assert snapshots.load(whole) == (1, [b"good"])
    for offset in range(len(content)):
        broken = bytearray(content)
        broken[offset] ^= 0x10
        newest.write_bytes(broken)
        caplog.clear()
        assert snapshots.load(whole) == (1, [b"good"])
        assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_unfinished_one_is_no_snapshot(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    snapshots.begin(5).write(b"half")
    assert snapshots.indices() == []
    assert opened(tmp_path).indices() == []
    assert list(tmp_path.iterdir()) == []


def test_an_aborted_one_leaves_no_trace(tmp_path: Path) -> None:
    writer = opened(tmp_path).begin(5)
    writer.write(b"half")
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_another_clusters_is_refused(tmp_path: Path) -> None:
    take(opened(tmp_path), 5, b"x")
    with pytest.raises(WrongIdentity):
        opened(tmp_path, identity=THEIRS).load(whole)


@pytest.mark.parametrize(
    ("fault", "number", "error"),
    [
        ("write", errno.ENOSPC, DiskFull),
        ("write", errno.EIO, DiskFailed),
        ("sync", errno.EIO, DiskFailed),
    ],
)
def test_a_failing_disk_leaves_the_one_before(
    tmp_path: Path, fault: str, number: int, error: type[Exception]
) -> None:
    disk = FaultyDisk()
    snapshots = opened(tmp_path, disk)
    take(snapshots, 1, b"good")
    writer = snapshots.begin(2)
    setattr(disk, f"{fault}_error", OSError(number, "fault"))
    with pytest.raises(error):
        writer.commit()
    writer.abort()
    assert snapshots.load(whole) == (1, [b"good"])
    if fault == "write":
        with pytest.raises(error):
            snapshots.begin(3)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_chunk_is_damage(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    take(snapshots, 1, b"aaaa", b"bbbb", b"cccc")
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    piece = (len(content) - content.index(b"bbbb")) - (len(content) - content.index(b"cccc"))
    start = content.index(b"bbbb") - (piece - 4)
    file.write_bytes(content[:start] + content[start + piece :])
    with pytest.raises(Damaged, match="a chunk is missing"):
        whole(snapshots.chunks(1))


def test_chunks_of_two_files_are_not_mixed(tmp_path: Path) -> None:
    """Each chunk is good by itself; the digest of the whole file tells."""
    snapshots = opened(tmp_path)
    take(snapshots, 1, b"aaaa", b"bbbb")
    file = snapshots.place(1)
    mine = file.read_bytes()
    take(snapshots, 1, b"aaaa", b"cccc")
    other = file.read_bytes()
    at = mine.index(b"bbbb") - 29
    assert mine[:at] == other[:at]
    end = at + 29 + 5
    file.write_bytes(mine[:at] + other[at:end] + mine[end:])
    with pytest.raises(Damaged, match="checksum of the whole file"):
        whole(snapshots.chunks(1))


def test_what_follows_the_end_is_damage(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    take(snapshots, 1, b"aaaa")
    snapshots.place(1).write_bytes(snapshots.place(1).read_bytes() + b"\0")
    with pytest.raises(Damaged, match="something follows the end"):
        whole(snapshots.chunks(1))


def test_one_that_is_being_read_stays(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    for index in (1, 2, 3):
        take(snapshots, index, b"%d" % index, b"end")
    reading = snapshots.chunks(1)
    assert next(reading) == b"1"
    assert snapshots.prune() == 2
    assert whole(reading) == [b"end"]
    assert snapshots.prune() == 2
    assert snapshots.indices() == [2, 3]
    with pytest.raises(DiskFailed, match="cannot be read"):
        whole(snapshots.chunks(1))


def test_a_sealed_one_can_be_read_before_it_counts(tmp_path: Path) -> None:
    snapshots = opened(tmp_path)
    writer = snapshots.begin(4)
    writer.write(b"a")
    writer.seal()
    assert whole(writer.chunks()) == [b"a"]
    assert snapshots.indices() == []
    writer.commit()
    assert snapshots.indices() == [4]
