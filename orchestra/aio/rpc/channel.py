"""The one place that makes channels."""

import grpc.aio

from orchestra.aio.rpc.limits import (
    CLIENT_KEEPALIVE,
    REQUEST_BYTES_MAX,
    SESSION_KEEPALIVE,
    Keepalive,
    channel_arguments,
)
from orchestra.base.errors import UsageError


def open_channel(
    target: str,
    *,
    session: bool = False,
    keepalive: Keepalive | None = None,
    request_bytes_max: int = REQUEST_BYTES_MAX,
) -> grpc.aio.Channel:
    """A channel to one server; it connects at the first call and reconnects by itself, with jitter.

    session: for an agent's session: pings whether or not a call is open, so that silent death is found
    within 3 s. `keepalive` overrides both.
    Raises: UsageError for an address that is none.
    """
    chosen = keepalive or (SESSION_KEEPALIVE if session else CLIENT_KEEPALIVE)
    return grpc.aio.insecure_channel(
        check_address(target), options=channel_arguments(chosen, request_bytes_max)
    )


def check_address(address: str) -> str:
    """The address, if it is HOST:PORT (or unix:PATH).

    Raises: UsageError.
    """
    if address.startswith("unix:") and len(address) > len("unix:"):
        return address
    host, colon, port = address.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and int(port) <= 65535 and "/" not in host:
        return address
    raise UsageError(f'"{address}" is no address: give HOST:PORT, for instance 127.0.0.1:7070')
