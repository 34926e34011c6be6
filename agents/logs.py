"""Reading containers' logs from the files that the spawner writes.

Every record is `<30 bytes of time> <stdout|stderr> <F|P> <text>`: 40 bytes before the text, whichever stream,
so that a chunk is taken apart by slicing. Nothing is held but one chunk: a slow reader slows the reading.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from orchestra.base.errors import OrchestraError

_HEADER = 40
_STAMP = 30
_TAG_AT = 38
_CHUNK = 1 << 17
# Only a lost wake-up waits so long.
_FOLLOW_RECHECK_S = 0.25
_ROTATED_MAX = 100
_MESSAGE_LINES_MAX = 80
_MESSAGE_BYTES_MAX = 2048


class LogFailure(OrchestraError):
    """The log cannot be read; str() says why."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read. since: an RFC 3339 stamp with nanoseconds, "" for all. Negative: no bound.

    at: where another reading has come to; tail_lines counts no more then.
    """

    follow: bool = False
    tail_lines: int = -1
    since: str = ""
    timestamps: bool = False
    limit_bytes: int = -1
    at: "Position | None" = None


@dataclass(frozen=True, slots=True)
class Position:
    """Between two records of a run: which file, by its inode, and where in it. Rotation renames files."""

    inode: int
    offset: int


def runs_of(directory: Path) -> list[int]:
    """The runs of a container that left a log, oldest first."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(n.removesuffix(".log")) for n in names if n.endswith(".log") and n[:-4].isdigit())


def _start_of_tail(files: list[int], lines: int) -> tuple[int, int]:
    """(index of file, offset) at which the last `lines` records begin, read from the end backwards."""
    if lines == 0:
        return len(files) - 1, os.fstat(files[-1]).st_size
    missing = lines
    for index in range(len(files) - 1, -1, -1):
        end = os.fstat(files[index]).st_size
        # The newline that ends the last record does not begin another.
        position = end
        while position > 0:
            size = min(_CHUNK, position)
            position -= size
            block = os.pread(files[index], size, position)
            search_to = len(block) - 1 if position + size == end else len(block)
            while missing:
                found = block.rfind(b"\n", 0, search_to)
                if found < 0:
                    break
                missing -= 1
                if not missing:
                    return index, position + found + 1
                search_to = found
        missing -= 1 if end else 0
        if missing <= 0:
            return index, 0
    return 0, 0


def _render(records: list[bytes], query: LogQuery) -> Iterator[bytes]:
    since = query.since.encode()
    for record in records:
        if len(record) < _HEADER - 1 or (since and record[:_STAMP] < since):
            continue
        text = record[_HEADER:]
        end = b"" if record[_TAG_AT : _TAG_AT + 1] == b"P" else b"\n"
        yield record[: _STAMP + 1] + text + end if query.timestamps else text + end


class _Watch:
    """Wakes when something in a directory is written (inotify)."""

    _MASK = 0x2 | 0x8 | 0x80 | 0x100  # modify, close after writing, moved to, created

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._event = asyncio.Event()
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        # Without inotify (its instances are bounded per user) the recheck alone has to do.
        if self._fd >= 0:
            libc.inotify_add_watch(self._fd, os.fsencode(directory), self._MASK)
            asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 16 * (struct.calcsize("iIII") + 256))
        except BlockingIOError:
            return
        self._event.set()

    async def wait(self) -> None:
        """Until something was written, or the recheck is due."""
        try:
            async with asyncio.timeout(_FOLLOW_RECHECK_S):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)


def _open_newer(path: Path, than: os.stat_result | None) -> list[int]:
    """A run's files, oldest first; only those written after the one given. Raises: LogFailure.

    Opened from the newest on: rotation moves a file towards the older ones only, so none is missed by a
    rotation meanwhile, and one that is met twice is known by its inode.
    """
    found: list[int] = []
    seen = set()
    missing = 0
    for number in range(_ROTATED_MAX):
        try:
            fd = os.open(f"{path}.{number}" if number else path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # One is missing for a moment while files are rotated, two are the end.
            missing += 1
            if missing > 1:
                break
            continue
        except OSError as error:
            for opened in found:
                os.close(opened)
            raise LogFailure(f"the log cannot be read: {error.strerror}") from error
        missing = 0
        now = os.fstat(fd)
        if than is not None and (now.st_dev, now.st_ino) == (than.st_dev, than.st_ino):
            os.close(fd)
            break
        if now.st_ino in seen:
            os.close(fd)
            continue
        seen.add(now.st_ino)
        found.insert(0, fd)
    return found


class _Reader:
    """Reads one run's files from the oldest wanted record on, across rotations."""

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._files = _open_newer(path, None)
        self._rest = b""
        if not self._files:
            raise LogFailure("the log is gone")
        try:
            self._seek(query)
        except OSError as error:
            self.close()
            raise LogFailure(f"the log cannot be read: {error.strerror}") from error

    def _seek(self, query: LogQuery) -> None:
        if query.at is not None:
            self._seek_to(query.at)
            return
        index, offset = _start_of_tail(self._files, query.tail_lines) if query.tail_lines >= 0 else (0, 0)
        for _ in range(index):
            os.close(self._files.pop(0))
        os.lseek(self._files[0], offset, os.SEEK_SET)

    def _seek_to(self, at: Position) -> None:
        """Where the file is gone, all that is left is newer."""
        inodes = [os.fstat(fd).st_ino for fd in self._files]
        if at.inode in inodes:
            for _ in range(inodes.index(at.inode)):
                os.close(self._files.pop(0))
            os.lseek(self._files[0], at.offset, os.SEEK_SET)

    def position(self) -> Position:
        """After the last record that was read."""
        fd = self._files[0]
        return Position(os.fstat(fd).st_ino, max(0, os.lseek(fd, 0, os.SEEK_CUR) - len(self._rest)))

    def read(self) -> list[bytes] | None:
        """The next records, None when there are no more for now."""
        while True:
            chunk = os.read(self._files[0], _CHUNK)
            if chunk:
                *records, self._rest = (self._rest + chunk).split(b"\n")
                return records
            if len(self._files) > 1:
                os.close(self._files.pop(0))
            elif not self._follow_rotation():
                return None

    def _follow_rotation(self) -> bool:
        newer = _open_newer(self._path, os.fstat(self._files[0]))
        self._files += newer
        return bool(newer)

    def close(self) -> None:
        for fd in self._files:
            os.close(fd)


def end_of_log(path: Path) -> str:
    """The last of what a run said, as a termination message takes it; "" when there is no log.

    Bound: 80 lines, 2 KiB. Source: Kubernetes, FallbackToLogsOnError.
    """
    query = LogQuery(tail_lines=_MESSAGE_LINES_MAX)
    try:
        reader = _Reader(path, query)
    except LogFailure:
        return ""
    try:
        said = b""
        while (records := reader.read()) is not None:
            said = (said + b"".join(_render(records, query)))[-_MESSAGE_BYTES_MAX:]
    finally:
        reader.close()
    return said.decode(errors="replace")


async def read_log(path: Path, query: LogQuery, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """As read_positioned(), without positions."""
    async with aclosing(read_positioned(path, query, ended)) as pieces:
        async for data, _ in pieces:
            if data:
                yield data


async def read_positioned(
    path: Path, query: LogQuery, ended: Callable[[], bool]
) -> AsyncGenerator[tuple[bytes, Position], None]:
    """A run's log, in pieces, each with where it ends; the first is empty and says where the log begins.

    With follow until `ended()` and everything written has been read. Raises: LogFailure.
    """
    reader = _Reader(path, query)
    watch = _Watch(path.parent) if query.follow else None
    left = query.limit_bytes
    try:
        yield b"", reader.position()
        while True:
            over = ended()
            records = reader.read()
            if records is None:
                if watch is None or over:
                    return
                await watch.wait()
                continue
            data = b"".join(_render(records, query))
            if 0 <= left < len(data):
                data = data[:left]
            left -= len(data) if left >= 0 else 0
            if data:
                yield data, reader.position()
            if left == 0:
                return
            # Reading a large log must not keep the loop from everything else.
            await asyncio.sleep(0)
    finally:
        reader.close()
        if watch is not None:
            watch.close()
