"""python -m scripts.benchmarks.echo_server PORT: a bare grpc.aio server that answers with what it is sent."""

import asyncio
import sys

import grpc
import uvloop
from grpc import aio


async def main(port: int) -> None:
    """Serves until it is killed."""

    async def echo(request: bytes, context: object) -> bytes:
        return request

    server = aio.server()
    method = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
