"""A pod's program: answers grpc.health.v1's Check, SERVING for the first FAIL_AFTER times (for ever if unset)."""

import os
from concurrent import futures

import grpc

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
left = int(os.environ.get("FAIL_AFTER", "-1"))


def check(request: bytes, context: grpc.ServicerContext) -> bytes:
    global left  # noqa: PLW0603
    if left == 0:
        return NOT_SERVING
    left -= left > 0
    return SERVING


handler = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
)
server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[handler])
server.add_insecure_port(f"{os.environ['HOST']}:{os.environ['PORT']}")
server.start()
server.wait_for_termination()
