"""Orchestra: Kubernetes' model for plain Linux processes."""

import os

# Read by gRPC's C core as soon as grpc is imported, hence here: its own log lines are no sentences for
# people, and its fork hooks cost every process that an agent spawns. Both can still be set from outside.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

__version__ = "0.2.0"
