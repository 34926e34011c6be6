"""A pod's directories: what containers leave in them, and what they may not reach through them."""

import os
from pathlib import Path

import pytest

from agents.volumes import PodDirectory, VolumeFailure, mounts_of, remove_others
from orchestra.pb import core


def pod(sub_path: str = "") -> core.Pod:
    found = core.Pod()
    found.metadata.namespace, found.metadata.name, found.metadata.uid = "default", "web", "u1"
    found.spec.volumes.add(name="data").volumeSource.emptyDir.SetInParent()
    container = found.spec.containers.add(name="main")
    container.volumeMounts.add(name="data", mountPath="/data", subPath=sub_path)
    return found


@pytest.fixture
def place(tmp_path: Path) -> PodDirectory:
    found = PodDirectory.of(tmp_path, pod())
    found.make(pod(), work=True)
    return found


def test_a_directory_deeper_than_python_recurses_is_removed(place: PodDirectory) -> None:
    fd = os.open(place.volume("data"), os.O_PATH)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    place.remove()
    assert not place.path.exists()


def test_what_a_container_left_read_only_is_removed(place: PodDirectory) -> None:
    inner = place.volume("data") / "modules" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    inner.chmod(0o555)
    inner.parent.chmod(0o555)
    place.remove()
    assert not place.path.exists()


def test_removing_follows_no_symlink(place: PodDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (place.volume("data") / "link").symlink_to(outside)
    remove_others(tmp_path, set())
    assert not place.path.exists()
    assert (outside / "kept").exists()


def test_nothing_to_remove_is_no_failure(tmp_path: Path) -> None:
    remove_others(tmp_path / "none", set())


def test_a_sub_path_is_made_in_the_volume(place: PodDirectory) -> None:
    (place.volume("data") / "real").mkdir()
    (place.volume("data") / "alias").symlink_to("real")
    found = pod("alias/a/b")
    (mount,) = mounts_of(found, found.spec.containers[0], place, {})
    assert Path(mount.source).is_dir()
    assert (place.volume("data") / "real" / "a" / "b").is_dir()


def test_a_sub_path_is_never_made_outside_the_volume(place: PodDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (place.volume("data") / "link").symlink_to(outside)
    found = pod("link/made")
    with pytest.raises(VolumeFailure, match="leads out of the volume"):
        mounts_of(found, found.spec.containers[0], place, {})
    assert not (outside / "made").exists()
