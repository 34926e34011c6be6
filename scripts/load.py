"""Clients that ask a web application without pause, each request on a connection of its own, and count."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

REQUEST_SECONDS = 10.0


@dataclass(slots=True)
class Tally:
    """What the clients saw. failures: one line for each request that was not answered with 200."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """How many requests were made."""
        return self.answers.total() + len(self.failures)


async def ask(host: str, port: int, path: str = "/") -> str:
    """The body of one GET.

    Raises: OSError, TimeoutError, ValueError when the answer is not a whole 200.
    """
    async with asyncio.timeout(REQUEST_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200 " not in status + " ":
        raise ValueError(f"answered {status!r} ({len(answer)} bytes)")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        None,
    )
    if length is not None and length != len(body):
        raise ValueError(f"the body has {len(body)} of {length} bytes")
    return body.decode()


class Load:
    """Runs clients in the background while it is open: `async with Load([(host, port)]) as load: …`."""

    def __init__(
        self, targets: list[tuple[str, int]], clients: int = 8, pause_seconds: float = 0.002
    ) -> None:
        self.tally = Tally()
        self._targets = targets
        self._clients = clients
        self._pause_seconds = pause_seconds
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            host, port = self._targets[turn % len(self._targets)]
            turn += 1
            began = time.perf_counter()
            try:
                body = await ask(host, port)
            except (OSError, TimeoutError, ValueError) as failure:
                self.tally.failures.append(f"{host}:{port}: {type(failure).__name__}: {failure}")
            else:
                self.tally.answers[" ".join(body.split()[:2])] += 1
                self.tally.latencies_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(self._pause_seconds)
