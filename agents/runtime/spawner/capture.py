"""A container's output on its way into log files.

Every line is stored as the CRI stores it: `2026-01-02T03:04:05.678901234Z stdout F text`, `P` instead of
`F` when a line goes on in the next record. The pipe is read whenever it has something, whatever the agent
does, so a container never waits for anybody but this loop and the page cache. One stamp per read: lines that
arrived together carry one time, and stamping a megabyte is one replace in C.
"""

import os
import time

_CHUNK = 1 << 16
_LINE_MAX = 1 << 14
# One readable pipe is given this many reads before the others get their turn.
_READS_PER_TURN = 8


class LogFile:
    """An append-only file that is rotated by size: n.log, n.log.1 … n.log.<kept-1>, oldest last."""

    def __init__(self, path: str, bytes_max: int, kept: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._kept = kept
        self._size = 0
        self._fd = -1
        self.lost = 0
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Appends whole records. A full disk loses records rather than stopping the container."""
        while data:
            fits = data
            room = self._bytes_max - self._size
            if len(data) > room:
                # A record that is larger than a whole file still stays in one piece.
                end = data.rfind(b"\n", 0, max(0, room)) + 1 or (0 if self._size else data.find(b"\n") + 1)
                fits = data[:end]
            data = data[len(fits) :]
            try:
                self._append(fits)
                if data:
                    self._rotate()
            except OSError:
                self.lost += len(fits) + len(data)
                return

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._open()
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            # Half a record would spoil the next one, once there is room again.
            half = done - (data.rfind(b"\n", 0, done) + 1)
            if half:
                os.ftruncate(self._fd, self._size + done - half)
            done -= half
            raise
        finally:
            self._size += done

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for number in range(self._kept - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(older):
                os.replace(older, f"{self._path}.{number}")
        if self._kept <= 1:
            os.unlink(self._path)
        self._open()

    def close(self) -> None:
        """Lets go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def stamp(wall_ns: int) -> bytes:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % nanos


class Capture:
    """One pipe of one container into its log file."""

    def __init__(self, fd: int, stream: bytes, log: LogFile) -> None:
        self.fd = fd
        self._stream = stream
        self._log = log
        self._rest = b""

    def read(self) -> bool:
        """Takes what is there. False when the last writer has closed the pipe."""
        for _ in range(_READS_PER_TURN):
            try:
                chunk = os.read(self.fd, _CHUNK)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._take(chunk)
            if len(chunk) < _CHUNK >> 4:
                return True
        return True

    def drain(self) -> None:
        """Takes everything that is left, without waiting for writers that may hold the pipe."""
        while True:
            try:
                chunk = os.read(self.fd, _CHUNK)
            except OSError:
                return
            if not chunk:
                return
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        data = self._rest + chunk
        end = data.rfind(b"\n")
        now = stamp(time.time_ns())
        records = []
        if end >= 0:
            prefix = b"%s %s F " % (now, self._stream)
            records.append(prefix + data[:end].replace(b"\n", b"\n" + prefix) + b"\n")
            data = data[end + 1 :]
        while len(data) >= _LINE_MAX:
            records.append(b"%s %s P %s\n" % (now, self._stream, data[:_LINE_MAX]))
            data = data[_LINE_MAX:]
        self._rest = data
        if records:
            self._log.write(b"".join(records))

    def close(self) -> None:
        """Writes an unfinished last line and closes the pipe."""
        if self._rest:
            self._log.write(b"%s %s P %s\n" % (stamp(time.time_ns()), self._stream, self._rest))
            self._rest = b""
        os.close(self.fd)
