"""The bounds and times of the wire, and gRPC channel arguments made of them."""

from dataclasses import dataclass
from typing import Final

# One request. An object may hold 1.5 MiB in the store; a batch of statuses or a large apply needs more.
REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
# One response: a page of a list, a batch of a watch. Pages are cut well below it.
RESPONSE_BYTES_MAX: Final = 16 * 1024 * 1024
# One message between masters: an entry is at most a request's size, and travels alone when it is large.
PEER_BYTES_MAX: Final = 16 * 1024 * 1024
# Trailing metadata: a status with every field violation in it. gRPC's default of 8 KiB holds about thirty.
METADATA_BYTES_MAX: Final = 256 * 1024
# Streams on one connection, and calls in all connections of a server.
STREAMS_PER_CONNECTION_MAX: Final = 4096
CALLS_MAX: Final = 16_384

# A unary call that names no deadline of its own.
UNARY_SECONDS_DEFAULT: Final = 10.0
# What a server grants a unary call at most, whatever the caller asked for.
UNARY_SECONDS_MAX: Final = 60.0

RECONNECT_MS_MIN: Final = 100  # gRPC's own lower bound; it adds the jitter
RECONNECT_MS_MAX: Final = 1000
CONNECT_MS_MAX: Final = 3000

ChannelArguments = list[tuple[str, int | str]]


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How a connection that fell silent is found: a ping when nothing came for `interval_ms`, death when it
    is not answered in `timeout_ms`. Done by gRPC's C core; costs Python nothing."""

    interval_ms: int
    timeout_ms: int
    without_calls: bool


# Agent sessions, on both ends: a machine that died without a word is found within 3 s.
SESSION_KEEPALIVE: Final = Keepalive(interval_ms=1000, timeout_ms=2000, without_calls=True)
# Masters among themselves; what a member has to do with a peer that says nothing is Raft's to decide.
PEER_KEEPALIVE: Final = Keepalive(interval_ms=1000, timeout_ms=2000, without_calls=True)
# Everyone else: pings only while a call (a watch, a log) is open.
CLIENT_KEEPALIVE: Final = Keepalive(interval_ms=5000, timeout_ms=3000, without_calls=False)
# The same where another master can take over: a call must have time left to be made again there.
FAILOVER_KEEPALIVE: Final = Keepalive(interval_ms=2000, timeout_ms=1500, without_calls=False)


def channel_arguments(keepalive: Keepalive, request_bytes_max: int = REQUEST_BYTES_MAX) -> ChannelArguments:
    """Arguments of a client's channel."""
    return [
        ("grpc.max_send_message_length", request_bytes_max),
        ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX * 2),
        *_keepalive_arguments(keepalive),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
        # In spite of its name, how long one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS_MAX),
        # A channel's connection is its own: another channel's back-off is no reason to wait.
        ("grpc.use_local_subchannel_pool", 1),
        # A cluster's machines are dialled directly, whatever http_proxy says.
        ("grpc.enable_http_proxy", 0),
        # Only what the server certainly has not seen is sent again by itself (gRPC's transparent retry);
        # a service config handed out by a DNS entry must not change that.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.primary_user_agent", "orchestra"),
    ]


def server_arguments(
    keepalive: Keepalive,
    request_bytes_max: int = REQUEST_BYTES_MAX,
    response_bytes_max: int = RESPONSE_BYTES_MAX,
) -> ChannelArguments:
    """Arguments of a server. A bound of -1: none."""
    return [
        ("grpc.max_receive_message_length", request_bytes_max),
        ("grpc.max_send_message_length", response_bytes_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX * 2),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
        *_keepalive_arguments(keepalive),
        # Sessions ping every second, other clients as they please within reason.
        ("grpc.http2.min_ping_interval_without_data_ms", keepalive.interval_ms // 2),
        ("grpc.http2.max_ping_strikes", 10),
        # Two masters must not share one port unnoticed.
        ("grpc.so_reuseport", 0),
    ]


def _keepalive_arguments(keepalive: Keepalive) -> ChannelArguments:
    return [
        ("grpc.keepalive_time_ms", keepalive.interval_ms),
        ("grpc.keepalive_timeout_ms", keepalive.timeout_ms),
        # Of every ping; where it is longer than the keep-alive's own, that is what counts.
        ("grpc.http2.ping_timeout_ms", keepalive.timeout_ms),
        ("grpc.keepalive_permit_without_calls", int(keepalive.without_calls)),
        ("grpc.http2.max_pings_without_data", 0),
    ]
