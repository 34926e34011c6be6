"""Consensus: Raft as a state machine without I/O.

Knows elections, the replicated log, reads, membership and snapshots as the thesis has them. Messages and
ticks come in, a Ready says what to persist, send and apply, and in which order. Must not know a disk, a
network, a clock or what the entries say: that is what lets the whole of it run in a simulation.
"""
