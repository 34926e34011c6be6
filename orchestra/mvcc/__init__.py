"""The revisioned key-value machine: commands in, results and history out.

Knows keys, values, revisions, leases and history, and how its commands and snapshots are encoded. Must not
know where commands come from (one member's log, a Raft group), what the bytes mean, or what time it is: the
same commands in the same order give the same state on every member, after every restart, in every test.
"""
