"""What the figures are held against, measured on this machine in the same run."""

import asyncio
import os
import subprocess
import sys
import time

import grpc
from grpc import aio

from scripts.benchmarks.figures import percentile


def spawn_ms(rounds: int = 40) -> float:
    """p50 of starting one process with posix_spawn until it runs: what no pod can be faster than.

    Units: milliseconds.
    """
    taken = []
    for _ in range(rounds):
        read_end, write_end = os.pipe()
        began = time.perf_counter()
        pid = os.posix_spawn(
            "/bin/echo", ["echo", "here"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)]
        )  # fmt: skip
        os.close(write_end)
        os.read(read_end, 16)
        taken.append((time.perf_counter() - began) * 1000)
        os.close(read_end)
        os.waitpid(pid, 0)
    return percentile(taken, 0.5)


def bare_grpc_mb() -> float:
    """Resident memory of a Python process that has only imported grpc.aio and the event loop.

    Units: MB.
    """
    said = subprocess.run(
        [sys.executable, "-c", "import grpc.aio, uvloop; print(open('/proc/self/status').read())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("VmRSS")) / 1024


async def grpc_echo_per_s(seconds: float = 3.0, clients: int = 64) -> float:
    """Calls a second that a bare grpc.aio echo server answers, server and clients in one process each half."""

    async def echo(request: bytes, context: object) -> bytes:
        return request

    server = aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = aio.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary("/bench.Echo/Echo")
    done = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def client() -> None:
        nonlocal done
        while loop.time() < end:
            await call(b"x" * 256, timeout=5)
            done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    await channel.close()
    await server.stop(0)
    return done / seconds
