"""The log after crashes, damage and disks that fail."""

import errno
import logging
import shutil
import struct
from pathlib import Path

import pytest

from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, WrongIdentity
from orchestra.storage.identity import Identity
from orchestra.storage.records import HEADER_BYTES, RECORD_BYTES, SECTOR_BYTES
from orchestra.storage.wal import Wal
from tests.unit.storage.disks import FaultyDisk

OURS = Identity("11" * 16, "22" * 8, "m1")
THEIRS = Identity("11" * 16, "33" * 8, "m2")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")


HEAD = b"so far\0"
# Where the first record after the head stands.
START = HEADER_BYTES + RECORD_BYTES + len(HEAD)
RECORD = 7


def opened(path: Path, disk: FaultyDisk | None = None, segment_bytes: int = 1 << 20) -> Wal:
    wal = Wal(disk or FaultyDisk(), path, OURS, lambda: HEAD, segment_bytes=segment_bytes)
    if path.is_dir() and any(path.iterdir()):
        wal.open()
        for _ in wal.replay(0):
            pass
    else:
        wal.create()
    return wal


def append(wal: Wal, *payloads: bytes) -> None:
    wal.append([(RECORD, payload) for payload in payloads])


def payloads(path: Path, start: int = 0) -> list[bytes]:
    wal = Wal(FaultyDisk(), path, OURS, lambda: HEAD)
    wal.open()
    found = [record.payload for _, record in wal.replay(start)]
    wal.close()
    return found


def written(path: Path, *batches: list[bytes], segment_bytes: int = 1 << 20) -> list[Path]:
    wal = opened(path, segment_bytes=segment_bytes)
    for batch in batches:
        append(wal, *batch)
    wal.close()
    return sorted(path.iterdir())


def test_records_come_back_in_order(tmp_path: Path) -> None:
    written(tmp_path, [b"1"], [b"2", b"", b"4"])
    assert payloads(tmp_path) == [b"1", b"2", b"", b"4"]
    wal = opened(tmp_path)
    assert wal.last_index == 5
    append(wal, b"5")
    wal.close()
    assert payloads(tmp_path)[3:] == [b"4", b"5"]


def test_one_append_is_one_sync(tmp_path: Path) -> None:
    disk = FaultyDisk()
    wal = opened(tmp_path, disk=disk)
    append(wal, b"begins the segment")
    before = disk.syncs
    append(wal, *[b"x"] * 100)
    assert disk.syncs == before + 1
    wal.close()


def test_segments_follow_each_other_and_old_ones_go(tmp_path: Path) -> None:
    batches = [[b"%d" % n * 50] for n in range(20)]
    files = written(tmp_path, *batches, segment_bytes=300)
    assert len(files) > 5
    assert payloads(tmp_path) == [batch[0] for batch in batches]
    assert payloads(tmp_path, start=3) == payloads(tmp_path)[-len(payloads(tmp_path, start=3)) :]
    wal = opened(tmp_path)
    wal.drop(3)
    append(wal, b"more")
    wal.drop(1000)
    assert wal.segment_count == 1
    append(wal, b"still more")
    wal.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert payloads(tmp_path)[-2:] == [b"more", b"still more"]


def test_each_segment_begins_with_what_came_before(tmp_path: Path) -> None:
    count = 0
    wal = Wal(FaultyDisk(), tmp_path, OURS, lambda: b"%d" % count, segment_bytes=300)
    wal.create()
    for _ in range(10):
        append(wal, b"x" * 100)
        count += 1
    wal.close()
    assert wal.open() == [b"0", b"2", b"4", b"6", b"8"]
    assert [position for position, _ in wal.replay(2)] == [2, 2, 3, 3, 4, 4]


def test_a_segment_without_its_head_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    wal = opened(tmp_path)
    wal.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    assert len(whole) == START
    for size in range(START):
        file.write_bytes(whole[:size] + bytes(100))
        with pytest.raises(Damaged, match=str(file)):
            payloads(tmp_path)


def test_a_log_without_a_file_is_no_empty_log(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="the log is missing"):
        payloads(tmp_path)


# The room made for records to come, which a crash leaves behind.
ROOM = pytest.mark.parametrize("room", [0, 1, 5000])


@ROOM
def test_cut_at_every_byte_keeps_every_whole_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    content = (b"one", b"two\0", b"three\0\0\0", b"four\0" * 30)
    (file,) = written(tmp_path / "wal", [content[0]], [*content[1:3]], [content[3]])
    whole = file.read_bytes()
    ends, offset = [], START
    for payload in content:
        offset += RECORD_BYTES + len(payload)
        ends.append(offset)
    assert ends[-1] == len(whole)
    for size in range(START, len(whole)):
        torn = whole[:size] + bytes(len(whole) + room - size if room else 0)
        file.write_bytes(torn)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            kept = payloads(tmp_path / "wal")
        assert len(kept) == sum(1 for end in ends if end <= size)
        # Cut for good, and said, unless nothing of the next record had been written.
        good = max([START, *(end for end in ends if end <= size)])
        said = [record.__dict__["values"] for record in caplog.records]
        if any(torn[good:]):
            assert file.stat().st_size == good
            expected = [(file, good, len(torn) - good)]
            assert [(values["file"], values["offset"], values["bytes"]) for values in said] == expected
        else:
            assert said == [] or not room
    wal = opened(tmp_path / "wal")
    append(wal, b"goes on")
    wal.close()
    assert payloads(tmp_path / "wal")[-1] == b"goes on"


@ROOM
def test_one_flipped_bit_anywhere_is_refused(tmp_path: Path, room: int) -> None:
    (file,) = written(tmp_path, [b"one"], [b"two\0", b"three"], [b"four\0\0\0\0\0"])
    whole = file.read_bytes()
    for offset in range(len(whole)):
        broken = bytearray(whole) + bytes(room)
        broken[offset] ^= 1 << offset % 8
        file.write_bytes(broken)
        with pytest.raises((Damaged, WrongIdentity)) as refused:
            payloads(tmp_path)
        assert str(file) in str(refused.value)
        assert file.read_bytes() == broken
    file.write_bytes(whole)
    assert len(payloads(tmp_path)) == 4


def test_room_made_for_more_is_given_back(tmp_path: Path) -> None:
    wal = opened(tmp_path, segment_bytes=3000)
    append(wal, b"x" * 1000)
    (first,) = tmp_path.iterdir()
    assert first.stat().st_size > 100_000
    for _ in range(4):
        append(wal, b"x" * 1000)
    assert first.stat().st_size < 5000
    wal.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000


def test_room_left_by_a_crash_is_used(tmp_path: Path) -> None:
    wal = opened(tmp_path)
    append(wal, b"one")
    # The process is gone without a word.
    assert payloads(tmp_path) == [b"one"]
    again = opened(tmp_path)
    append(again, b"two")
    assert payloads(tmp_path) == [b"one", b"two"]
    again.close()
    wal.close()


def test_the_refusal_names_file_offset_and_remedy(tmp_path: Path) -> None:
    (file,) = written(tmp_path, [b"one"], [b"two"])
    broken = bytearray(file.read_bytes())
    broken[START + RECORD_BYTES] ^= 1
    file.write_bytes(broken)
    with pytest.raises(Damaged) as refused:
        payloads(tmp_path)
    assert str(refused.value) == (
        f"{file}: damaged at offset {START}: the checksum of the record's content does not match. "
        "The log is not used, so that nothing is made worse: restore the data directory from a backup or a "
        "snapshot, or move it away to start this member empty."
    )


def test_sectors_that_never_reached_the_disk_are_a_torn_write(tmp_path: Path) -> None:
    """A crash can leave the file long enough but with zeros where data was not written yet."""
    (file,) = written(tmp_path, [b"safe"], [b"x" * 2000, b"y" * 100])
    whole = bytearray(file.read_bytes())
    lost = 2 * SECTOR_BYTES
    whole[lost : lost + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    file.write_bytes(whole)
    # The record after it in the same batch is good, which proves nothing: they were synced together.
    assert payloads(tmp_path) == [b"safe"]


@pytest.mark.parametrize("shift", range(SECTOR_BYTES - 60, SECTOR_BYTES + 8))
@pytest.mark.parametrize("lost", ["first", "second", "third"])
def test_a_write_over_three_sectors_that_lost_any_one_is_torn_wherever_it_began(
    tmp_path: Path, shift: int, lost: str
) -> None:
    # The last write begins `shift` bytes into a sector; its second record follows in the same write.
    filled = (shift - START - RECORD_BYTES) % SECTOR_BYTES
    (path,) = written(tmp_path, [b"x" * filled], [b"y" * 470, b"z" * 600])
    data = bytearray(path.read_bytes())
    start = START + RECORD_BYTES + filled
    assert start % SECTOR_BYTES == shift % SECTOR_BYTES
    sector = start // SECTOR_BYTES + ["first", "second", "third"].index(lost)
    begin = max(start, sector * SECTOR_BYTES)
    end = (sector + 1) * SECTOR_BYTES
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    kept = payloads(tmp_path)
    assert kept[0] == b"x" * filled
    assert len(kept) < 3


def test_a_zeroed_sector_before_a_later_batch_is_damage(tmp_path: Path) -> None:
    (file,) = written(tmp_path, [b"safe"], [b"x" * 2000], [b"later"])
    whole = bytearray(file.read_bytes())
    whole[2 * SECTOR_BYTES : 3 * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    file.write_bytes(whole)
    with pytest.raises(Damaged):
        payloads(tmp_path)


def test_damage_before_the_last_segment_is_refused_even_at_its_end(tmp_path: Path) -> None:
    files = written(tmp_path, *[[b"x" * 100] for _ in range(6)], segment_bytes=300)
    assert len(files) >= 2
    files[0].write_bytes(files[0].read_bytes()[:-1])
    with pytest.raises(Damaged, match=str(files[0])):
        payloads(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, *[[b"x" * 100] for _ in range(9)], segment_bytes=300)
    files[1].unlink()
    with pytest.raises(Damaged, match="begins at record 7 where 4 should follow"):
        payloads(tmp_path)


def test_another_members_file_is_refused(tmp_path: Path) -> None:
    (file,) = written(tmp_path / "ours", [b"one"])
    wal = Wal(FaultyDisk(), tmp_path / "theirs", THEIRS, lambda: HEAD)
    wal.create()
    shutil.copy(file, tmp_path / "theirs" / file.name)
    with pytest.raises(WrongIdentity, match="belongs to member 2222222222222222"):
        wal.open()


def test_another_version_is_refused(tmp_path: Path) -> None:
    from google_crc32c import value

    (file,) = written(tmp_path, [b"one"])
    whole = bytearray(file.read_bytes())
    whole[8:12] = struct.pack("<I", 9)
    whole[HEADER_BYTES - 4 : HEADER_BYTES] = struct.pack("<I", value(bytes(whole[: HEADER_BYTES - 4])))
    file.write_bytes(whole)
    with pytest.raises(WrongIdentity, match="written in format 9"):
        payloads(tmp_path)


def test_what_an_interrupted_beginning_left_is_removed(tmp_path: Path) -> None:
    written(tmp_path, [b"one"])
    (tmp_path / "0000000000000002.wal.tmp").write_bytes(b"half a head")
    assert payloads(tmp_path) == [b"one"]
    assert [path.name for path in tmp_path.iterdir()] == ["0000000000000001.wal"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("reached", [0, 10, 1000])
def test_a_full_disk_keeps_nothing_of_the_write_and_recovers(
    tmp_path: Path, number: int, reached: int
) -> None:
    disk = FaultyDisk()
    wal = opened(tmp_path, disk=disk)
    append(wal, b"one")
    disk.write_error, disk.written_before_error = OSError(number, "full"), reached
    for _ in range(3):
        with pytest.raises(DiskFull, match="no space left"):
            append(wal, b"two" * 100)
    disk.write_error = None
    append(wal, b"three")
    wal.close()
    assert payloads(tmp_path) == [b"one", b"three"]


def test_a_disk_too_full_for_a_new_segment_recovers(tmp_path: Path) -> None:
    disk = FaultyDisk()
    wal = opened(tmp_path, disk=disk, segment_bytes=100)
    append(wal, b"x" * 100)
    disk.write_error = NO_SPACE
    with pytest.raises(DiskFull):
        append(wal, b"two")
    disk.write_error = None
    append(wal, b"three")
    wal.close()
    assert payloads(tmp_path) == [b"x" * 100, b"three"]


@pytest.mark.parametrize("fault", ["write", "sync"])
def test_a_failed_write_or_sync_is_never_tried_again(tmp_path: Path, fault: str) -> None:
    disk = FaultyDisk()
    wal = opened(tmp_path, disk=disk)
    append(wal, b"one")
    setattr(disk, f"{fault}_error", BROKEN)
    with pytest.raises(DiskFailed, match=r"Input/output error.*Check it, then start again"):
        append(wal, b"two")
    # The disk works again, which proves nothing about what it did with the pages of before.
    setattr(disk, f"{fault}_error", None)
    with pytest.raises(DiskFailed):
        append(wal, b"three")
    wal.close()


def test_no_space_at_the_sync_is_final(tmp_path: Path) -> None:
    disk = FaultyDisk()
    wal = opened(tmp_path, disk=disk)
    append(wal, b"one")
    disk.sync_error = NO_SPACE
    with pytest.raises(DiskFailed):
        append(wal, b"two")
    wal.close()
