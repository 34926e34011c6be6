"""Free ports of the host for containers that declare one.

Several agents share one machine (`orchestra up`), so a port is reserved for all of them at once: an abstract
Unix socket of the port's name can be bound by one process only and is gone with it. Ports come from outside
the kernel's ephemeral range, so that no outgoing connection can take one between the choice and the bind.
"""

import errno
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from orchestra.base.errors import OrchestraError

# Below Kubernetes' node ports (30000-32767) and below Linux' ephemeral ports (32768-60999).
PORT_RANGE_DEFAULT = (20_000, 29_999)


class NoFreePort(OrchestraError):
    """Every port of the range is taken."""


def ephemeral_range() -> tuple[int, int]:
    """The ports that the kernel gives to outgoing connections."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32_768, 60_999


class PortReservations:
    """The ports this agent holds. Bound: one file descriptor a port."""

    def __init__(
        self, port_range: tuple[int, int] = PORT_RANGE_DEFAULT, rng: random.Random | None = None
    ) -> None:
        self._low, self._high = port_range
        self._rng = rng or random.Random()
        self._held: dict[int, socket.socket] = {}

    def reserve(self, address: str) -> int:
        """A port nobody listens on and no other agent of this machine has. Raises: NoFreePort."""
        for port in self._candidates():
            if self.hold(port):
                if _is_free(address, port):
                    return port
                self.release(port)
        raise NoFreePort(f"no port between {self._low} and {self._high} is free: widen --port-range")

    def hold(self, port: int) -> bool:
        """Reserves this very port; False if another agent has it."""
        if port in self._held:
            return False
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mark.bind(f"\0orchestra-port-{port}")
        except OSError as error:
            mark.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._held[port] = mark
        return True

    def release(self, port: int) -> None:
        """Gives a port back."""
        mark = self._held.pop(port, None)
        if mark is not None:
            mark.close()

    def close(self) -> None:
        """Gives all back."""
        for port in list(self._held):
            self.release(port)

    def _candidates(self) -> Iterator[int]:
        low, high = ephemeral_range()
        count = self._high - self._low + 1
        # From a random place on: a port just given back is not taken again at once.
        first = self._rng.randrange(count)
        for index in range(count):
            port = self._low + (first + index) % count
            if not low <= port <= high:
                yield port


def _is_free(address: str, port: int) -> bool:
    for host in {address, "0.0.0.0"}:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
