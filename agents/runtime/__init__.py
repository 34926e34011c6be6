"""How a pod's containers become processes: one contract, and the spawner behind it.

Knows processes, namespaces, mounts and log files. Must not know restart policies, probes or the master:
those belong to the pod state machine, so that it can be tested without a process.
"""
