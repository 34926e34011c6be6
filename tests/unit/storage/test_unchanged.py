"""A disk that is looked at: what is done to it is so for whoever does it, and for nobody else."""

from pathlib import Path

import pytest

from orchestra.storage.disk import Disk, SystemDisk
from orchestra.storage.unchanged import UnchangedDisk


def changed(disk: Disk, path: Path) -> None:
    """Every operation that changes something."""
    file = disk.append(path / "log", 3)
    file.write(b"XY")
    file.truncate(4)
    file.write(b"Z")
    file.allocate(8)
    file.sync()
    file.close()
    disk.remove(path / "gone")
    disk.rename(path / "old", path / "new")
    disk.make_directory(path / "more")
    file = disk.create(path / "more" / "made")
    file.write(b"12345")
    file.close()
    disk.sync_directory(path)


def seen(disk: Disk, path: Path) -> dict[str, tuple[int, bytes, bytes]]:
    files = [path / name for name in disk.names(path) if name not in ("more", "empty")]
    files += [path / "more" / name for name in disk.names(path / "more")]
    return {each.name: (disk.size(each), disk.read(each), disk.read(each, 1, 2)) for each in files}


def made(path: Path) -> Path:
    path.mkdir()
    for name in ("log", "gone", "old", "kept"):
        (path / name).write_bytes(name.encode() * 2)
    return path


def test_it_seems_changed_as_a_real_one_is_and_is_not(tmp_path: Path) -> None:
    real, looked_at = made(tmp_path / "real"), made(tmp_path / "looked at")
    before = {each: (each.read_bytes(), each.stat().st_mtime_ns) for each in looked_at.iterdir()}
    disk = UnchangedDisk()
    changed(SystemDisk(), real)
    changed(disk, looked_at)
    assert seen(disk, looked_at) == seen(SystemDisk(), real)
    assert {each: (each.read_bytes(), each.stat().st_mtime_ns) for each in looked_at.iterdir()} == before
    assert disk.bytes_written == 8
    for path in (looked_at / "gone", looked_at / "old", looked_at / "never"):
        for operation in (disk.read, disk.size, disk.remove):
            with pytest.raises(FileNotFoundError):
                operation(path)
    with pytest.raises(FileNotFoundError):
        disk.names(tmp_path / "nowhere")


def test_several_may_look_while_the_owner_may_not_begin(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    nothing = UnchangedDisk().lock(lock)
    assert nothing is not None
    nothing.release()
    assert not lock.exists()
    owner = SystemDisk().lock(lock)
    assert owner is not None
    assert UnchangedDisk().lock(lock) is None
    owner.release()
    said = lock.read_bytes()
    first, second = UnchangedDisk().lock(lock), UnchangedDisk().lock(lock)
    assert first is not None
    assert second is not None
    first.release()
    assert SystemDisk().lock(lock) is None
    second.release()
    assert lock.read_bytes() == said
