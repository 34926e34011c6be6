"""Damage done to real processes, what clients saw meanwhile, and whether it is what was promised.

Knows the programs by their command lines and their wires, as any operator and any client does. Must not reach
into a process, nor into the machine's own network: every master and agent has a network namespace to itself.
"""
