"""One program on one machine of the network, through its deaths and stops."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STOP_SECONDS = 10.0
_LAST_BYTES = 64 * 1024


class Program:
    """`orchestra …` in a network namespace. It ends by itself when this process does."""

    def __init__(self, name: str, words: Sequence[str], namespace: str, log_path: Path) -> None:
        self.name = name
        self.words = list(words)
        self._namespace = namespace
        self._log_path = log_path
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline = -1
        self._killed = False
        self._stopped = False

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    @property
    def stopped(self) -> bool:
        """Whether it stands still."""
        return self._stopped

    async def start(self) -> None:
        """Starts it, unless it runs."""
        if self.pid:
            return
        read_end, self._lifeline = os.pipe()
        self._killed = self._stopped = False
        try:
            with self._log_path.open("ab") as output:
                output.write(f"--- started at {time.monotonic():.3f}\n".encode())
                output.flush()
                self._process = await asyncio.create_subprocess_exec(
                    "nsenter",
                    f"--net={self._namespace}",
                    sys.executable,
                    "-m",
                    "orchestra.cli.main",
                    *self.words,
                    "--with-parent",
                    stdin=read_end,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        finally:
            os.close(read_end)

    async def kill(self) -> None:
        """kill -9."""
        if self.pid:
            self._killed = True
            os.kill(self.pid, signal.SIGKILL)
        await self._gone()

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.pid:
            self._stopped = True
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.pid:
            self._stopped = False
            os.kill(self.pid, signal.SIGCONT)

    async def terminate(self) -> None:
        """SIGTERM, and kill -9 for one that does not end."""
        self._killed = True
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._gone()
            except TimeoutError:
                await self.kill()
        await self._gone()

    async def ended(self, seconds: float) -> bool:
        """Waits for it to end by itself; whether it has."""
        if self._process is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._process.wait()
            except TimeoutError:
                return False
        return True

    @property
    def failure(self) -> str:
        """How it ended without being told to; "" if it did not."""
        if self._process is None or self._process.returncode is None or self._killed:
            return ""
        return f"{self.name} ended by itself with code {self._process.returncode}: {self.last_words()}"

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        with self._log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
