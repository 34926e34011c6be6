"""The planning half of every controller: what was observed goes in, what to do comes out.

Knows Kubernetes' rules for replicas, rollouts, nodes, endpoints, owners and namespaces. Must not know the
store, caches, queues or any clock: every decision is a function of its arguments, so that a table can test
it and a simulation can replay it.
"""
