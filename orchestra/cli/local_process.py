"""One process of a cluster on this machine, through its deaths and restarts."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAST_WORDS_BYTES = 64 << 10


def descendants(root: int) -> list[int]:
    """Processes started by `root`, directly or not, from /proc; those whose parent died are not found."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we looked.
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        waiting += (kids := children.get(waiting.pop(), []))
        found += kids
    return found


@dataclass(slots=True)
class LocalProcess:
    """One process of the cluster, through its deaths and restarts."""

    name: str
    arguments: Sequence[str]
    log_path: Path
    restart_ms: tuple[int, int] | None
    process: asyncio.subprocess.Process | None = None
    lifeline: int = -1
    stopping: bool = False
    restarts: int = 0
    keeper: asyncio.Task[None] | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        """The process now, 0 if there is none."""
        return self.process.pid if self.process is not None and self.process.returncode is None else 0

    async def spawn(self) -> None:
        """Starts the process. It ends by itself when the write end of its standard input is closed: so
        nothing outlives whoever started the cluster, however that ends."""
        read_end, write_end = os.pipe()
        try:
            with self.log_path.open("ab") as output:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "orchestra.cli.main",
                    *self.arguments,
                    stdin=read_end,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self.lifeline = write_end
        self.started.set()

    def let_go(self) -> None:
        """Closes the lifeline; the process stops by itself."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def last_words(self, lines: int = 5) -> str:
        """The end of the process's log: the sentence it ended with, if it found one."""
        try:
            with self.log_path.open("rb") as log_file:
                # Of a log that may have grown for days.
                log_file.seek(max(0, log_file.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
                text = log_file.read().decode(errors="replace")
        except OSError:
            return ""
        last = text.splitlines()[-lines:]
        return last[-1] if last and last[-1].startswith("error: ") else "\n".join(last)
