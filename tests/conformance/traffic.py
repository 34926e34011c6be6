"""One HTTP request, and what came back."""

import asyncio
from dataclasses import dataclass

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status code and body."""

    code: int
    body: str


async def get(host: str, port: int, path: str = "/") -> Answer:
    """GET on a connection of its own. Raises: OSError, TimeoutError."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.transport.abort()
    return Answer(int(head.split()[1]), body)
