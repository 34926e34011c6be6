"""The Store contract (bytes and revisions), typed objects over it, informer caches and events.

Knows how Kubernetes' API semantics become transactions on revisions. Must know neither who asks (gRPC, a
controller) nor what keeps the bytes (one member, a Raft group): every rule that is pure lives in objects.
"""
