"""gRPC plumbing: the one place that makes servers, the one place that makes channels, and errors on the wire.

Knows message bounds, keep-alive, deadlines, reconnects, graceful stop, and how an ApiError travels as a
status with google.rpc details. Knows no service: those hand themselves in. Everything about security and
bounds of the wire is decided here once, so that no caller can forget it.
"""

import os

# Read by gRPC's C core when it starts: its own log lines are no sentences for people, and its fork hooks
# cost every process that an agent spawns. Both can still be set from outside.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
