"""etcd's v3 API on a member's store: thin adapters, so that etcdctl and any etcd client work unchanged.

Knows etcd's messages, error strings and codes, and which member call each request is. Must not decide
anything that a simulation would miss: ranges, transactions, leases and watches are the store's.
"""
