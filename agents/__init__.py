"""The worker of a node: runs pods as local processes, proxies node ports, reports to a master.

Knows the agent's wire, the pod's life and this machine. Must not know the store, controllers or the API
server: an agent is installed on a Raspberry Pi and has to stay small, and what it may decide alone (restarts,
probes, stopping) has to keep working when no master can be reached.
"""
