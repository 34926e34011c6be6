"""The object model: what Kubernetes' objects are, apart from any server.

Knows the kinds and their names, messages ⇄ Kubernetes' JSON, the small value types (quantities, times,
int-or-string, selectors), patches, defaults, validation, manifests and what a create, an update and a delete
mean. Everything here is a pure function of its arguments.

Must not know the store, the network, files, the clock or chance: time comes in as nanoseconds, randomness as
an injected generator. That is what lets the server, the agents, the command line and the simulation share
one definition of every rule. The protobuf descriptors are the only list of fields; nothing here repeats it.
"""
