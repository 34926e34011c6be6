"""gRPC plumbing: the one place that makes servers, the one place that makes channels, and errors on the wire.

Knows message bounds, keep-alive, deadlines, reconnects, graceful stop, and how an ApiError travels as a
status with google.rpc details. Knows no service: those hand themselves in. Everything about security and
bounds of the wire is decided here once, so that no caller can forget it.
"""
