"""Placement: which node runs a pod.

`plugins` and `cycle` are pure: they see nodes as `view.ClusterView` holds them and answer with a decision.
`queue` is pure too, with time as an argument. `scheduler` acts: it feeds the view from informers, binds in
transactions and records events. Knows nothing of controllers, agents or gRPC.
"""
