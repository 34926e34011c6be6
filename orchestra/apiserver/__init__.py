"""A master's gRPC services: objects, logs, the cluster, and the agents' sessions.

Knows the wire and who is connected. Thin: what an object means is decided in the store's typed layer, what is
to happen to it by the controllers; here requests are turned into calls, and changes into streams, within
bounds. The session hub alone has logic of its own (who is told what, when a pod is drained), kept in pieces
that need no connection (drains, sessions, reports), so that a simulation can drive them.
"""
