"""The connection to the agent: frames of a 4-byte length and JSON, never blocking."""

import json
import socket
from collections.abc import Iterator
from typing import Any

_FRAME_MAX = 8 << 20
# An agent that does not read is let go: it will connect again and ask for what it missed.
_UNSENT_MAX = 16 << 20
_READ = 1 << 18


class Link:
    """One agent. `broken` says that it is gone, or that it breaks the rules."""

    def __init__(self, agent: socket.socket) -> None:
        agent.setblocking(False)
        self._agent = agent
        self._inbox = bytearray()
        self._outbox = bytearray()
        self.broken = False

    def fileno(self) -> int:
        """The socket's."""
        return self._agent.fileno()

    @property
    def unsent(self) -> bool:
        """Whether something waits for the agent to read."""
        return bool(self._outbox)

    def receive(self) -> Iterator[dict[str, Any]]:
        """The whole requests that have come. Also sends what waits."""
        self._flush()
        try:
            data = self._agent.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.broken = True
            return
        self._inbox += data
        while len(self._inbox) >= 4:
            size = int.from_bytes(self._inbox[:4], "big")
            if size > _FRAME_MAX:
                self.broken = True
                return
            if len(self._inbox) < 4 + size:
                return
            frame = bytes(self._inbox[4 : 4 + size])
            del self._inbox[: 4 + size]
            yield json.loads(frame)

    def send(self, message: dict[str, Any]) -> None:
        """Sends now what can be sent now, the rest when the agent reads."""
        frame = json.dumps(message).encode()
        self._outbox += len(frame).to_bytes(4, "big") + frame
        self._flush()
        self.broken = self.broken or len(self._outbox) > _UNSENT_MAX

    def _flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self._agent.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True

    def close(self) -> None:
        """Ends the connection."""
        self._agent.close()
