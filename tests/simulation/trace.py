"""What happened, for a person who has a seed and wants the cause; and its hash, for sameness."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable

KEPT_LINES = 400


class Trace:
    """Lines with virtual times: the last KEPT_LINES, and a hash of all."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.count = 0
        self._hash = hashlib.sha256()

    def say(self, text: str, data: bytes = b"") -> None:
        """One line. data: what is hashed with it but not shown."""
        line = f"{self._now():12.6f}  {text}"
        self.count += 1
        self.lines.append(line)
        self._hash.update(line.encode() + b"\n" + data)

    def hash(self) -> str:
        """Equal for equal histories."""
        return self._hash.hexdigest()

    def tail(self) -> str:
        """The last lines."""
        return "\n".join(self.lines)
