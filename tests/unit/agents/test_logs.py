"""Log files: written by the spawner's capture, read by the agent."""

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.logs import LogFailure, LogQuery, end_of_log, read_log, read_positioned, runs_of
from agents.runtime.spawner.capture import Capture, LogFile, stamp

STAMP = "2026-01-02T03:04:05.{:09d}Z"


def record(number: int, text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"{STAMP.format(number)} {stream} {tag} {text}\n"


def always() -> bool:
    return True


async def read(path: Path, *, ended: Callable[[], bool] = always, **words: object) -> str:
    query = LogQuery(**words)  # type: ignore[arg-type]
    return b"".join([piece async for piece in read_log(path, query, ended)]).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten lines over three files."""
    path = tmp_path / "1.log"
    (tmp_path / "1.log.2").write_text("".join(record(i, f"line {i}") for i in range(3)))
    (tmp_path / "1.log.1").write_text("".join(record(i, f"line {i}", stream="stderr") for i in range(3, 7)))
    path.write_text("".join(record(i, f"line {i}") for i in range(7, 10)))
    return path


def lines(*numbers: int) -> str:
    return "".join(f"line {n}\n" for n in numbers)


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 1000])
async def test_the_tail_is_found_across_files(log: Path, tail: int) -> None:
    assert await read(log, tail_lines=tail) == lines(*range(max(0, 10 - tail), 10))


async def test_everything_comes_oldest_first(log: Path) -> None:
    assert await read(log) == lines(*range(10))
    assert (await read(log, timestamps=True, tail_lines=1)) == f"{STAMP.format(9)} line 9\n"
    assert await read(log, since=STAMP.format(8)) == lines(8, 9)
    assert await read(log, limit_bytes=9) == "line 0\nli"


def test_the_end_of_a_log_explains_a_failure(log: Path, tmp_path: Path) -> None:
    assert end_of_log(log) == lines(*range(10))
    assert end_of_log(tmp_path / "none.log") == ""
    many = tmp_path / "2.log"
    many.write_text("".join(record(i, f"line {i}") for i in range(1000)))
    assert end_of_log(many) == lines(*range(920, 1000)), "80 lines at most"
    many.write_text("".join(record(i, "x" * 100) for i in range(50)))
    assert len(end_of_log(many)) == 2048
    many.write_text(record(0, "no newline", "P"))
    assert end_of_log(many) == "no newline"


async def test_a_partial_record_goes_on_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_text(record(1, "one ", "P") + record(2, "line") + record(3, "rest", "P"))
    assert await read(path) == "one line\nrest"


async def test_a_log_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogFailure):
        await read(tmp_path / "1.log")
    assert runs_of(tmp_path / "nowhere") == []


def test_runs_are_found_by_their_files(tmp_path: Path) -> None:
    for name in ("1.log", "2.log", "10.log", "2.log.1", "x.log"):
        (tmp_path / name).touch()
    assert runs_of(tmp_path) == [1, 2, 10]


async def test_following_sees_what_is_written_and_rotated_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_text(record(0, "line 0"))
    over = False
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def follow() -> None:
        async for piece in read_log(path, LogQuery(follow=True), lambda: over):
            pieces.put_nowait(piece)

    task = asyncio.create_task(follow())
    assert await pieces.get() == b"line 0\n"
    with path.open("a") as file:
        file.write(record(1, "line 1"))
    assert await pieces.get() == b"line 1\n"
    path.rename(tmp_path / "1.log.1")
    path.write_text(record(2, "line 2"))
    assert await pieces.get() == b"line 2\n"
    with path.open("a") as file:
        file.write(record(3, "line 3"))
        over = True
    assert await pieces.get() == b"line 3\n"
    await task


async def test_a_slow_reader_misses_no_file_when_several_are_rotated_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_text(record(0, "line 0"))
    over = False
    said = read_log(path, LogQuery(follow=True), lambda: over)
    assert await anext(said) == b"line 0\n"
    path.rename(tmp_path / "1.log.2")
    (tmp_path / "1.log.1").write_text(record(1, "line 1"))
    path.write_text(record(2, "line 2"))
    over = True
    assert [piece async for piece in said] == [b"line 1\n", b"line 2\n"]


# -- writing ---------------------------------------------------------------------------------------------


def captured(tmp_path: Path, chunks: list[bytes], bytes_max: int = 1 << 20) -> list[Path]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    log = LogFile(str(tmp_path / "1.log"), bytes_max, 5)
    capture = Capture(read_fd, b"stdout", log)
    for chunk in chunks:
        for start in range(0, len(chunk), 60_000):
            os.write(write_fd, chunk[start : start + 60_000])
            assert capture.read()
    os.close(write_fd)
    capture.drain()
    capture.close()
    log.close()
    return sorted(tmp_path.iterdir(), key=lambda p: p.name, reverse=True)


@given(st.lists(st.binary(max_size=50).map(lambda b: b.replace(b"\r", b".")), max_size=20))
def test_what_was_written_is_what_is_read(chunks: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        captured(path, [chunk for chunk in chunks if chunk])
        with asyncio.Runner() as runner:
            said = runner.run(_raw(path / "1.log"))
    assert said == b"".join(chunks)


async def _raw(path: Path) -> bytes:
    return b"".join([piece async for piece in read_log(path, LogQuery(), always)])


def test_a_line_without_an_end_is_cut_into_pieces_of_bounded_size(tmp_path: Path) -> None:
    (path,) = captured(tmp_path, [b"x" * 100_000 + b"\ny\n"])
    records = path.read_bytes().splitlines()
    assert all(len(r) <= 80_000 for r in records)
    assert b"".join(r[40:] for r in records) == b"x" * 100_000 + b"y"


def test_files_are_rotated_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    paths = captured(tmp_path, [b"%05d\n" % i for i in range(200)], bytes_max=460)
    assert [p.name for p in paths] == ["1.log.4", "1.log.3", "1.log.2", "1.log.1", "1.log"]
    assert all(p.stat().st_size <= 460 for p in paths)
    kept = [line[40:] for p in paths for line in p.read_text().splitlines()]
    assert kept == [f"{i:05d}" for i in range(200 - len(kept), 200)]


def test_a_full_disk_loses_lines_and_not_the_container(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        raise AssertionError("this test needs /dev/full")
    log = LogFile("/dev/full", 1 << 20, 1)
    log.write(b"lost\n")
    assert log.lost == 5
    log.close()


def test_a_disk_that_fills_up_in_a_record_spoils_no_later_one(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "1.log"), 1 << 20, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, hard))
    try:
        log.write(b"record 1\nrecord 2\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write(b"record 3\n")
    log.close()
    assert (tmp_path / "1.log").read_bytes() == b"record 1\nrecord 3\n"


def test_stamps_are_rfc_3339_with_nanoseconds() -> None:
    assert stamp(1_700_000_000_000_000_005) == b"2023-11-14T22:13:20.000000005Z"


async def test_a_reading_goes_on_where_another_one_was(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_text("".join(record(i, f"line {i}") for i in range(100)))
    pieces = [piece async for piece in read_positioned(path, LogQuery(tail_lines=40), always)]
    begin, end = pieces[0][1], pieces[-1][1]
    assert pieces[0][0] == b""
    assert b"".join(data for data, _ in pieces).decode() == lines(*range(60, 100))
    assert await read(path, at=begin) == lines(*range(60, 100))
    assert await read(path, at=end) == ""
    with path.open("a") as file:
        file.write(record(100, "line 100"))
    # The file that it was in is rotated meanwhile, and then gone.
    path.rename(tmp_path / "1.log.1")
    path.write_text(record(101, "line 101"))
    assert await read(path, at=end) == lines(100, 101)
    (tmp_path / "1.log.1").unlink()
    assert await read(path, at=end) == lines(101)
