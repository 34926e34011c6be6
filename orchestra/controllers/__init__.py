"""The reconcilers: what brings the cluster from what it is to what was asked for.

Knows the objects, the store's typed layer and its caches, and the liveness of agents. Must not know the wire
or how agents are spoken to. Each controller is two halves: a pure plan (`plans`) and the acts that carry it
out; it is given a name and looks at everything of that name anew, so that a missed or doubled event does no
harm. Each runs as its own supervised actor: one crash does not stop the others.
"""
