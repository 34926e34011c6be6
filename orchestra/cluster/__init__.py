"""A member of the cluster: the driver of Raft's core, its log on disk, its links to the other members, the
machine that the log feeds, and the store they make.

Knows in which order things become durable, sent, applied and answered, how a write outlives its leader, who
keeps the leases' time, when to take a snapshot, and when to give up because the disk has. Must not know what
is stored, nor who asks: above it there is only a Store, and one member or many look the same from there.
Consensus itself is decided in orchestra.raft, without a disk, a network or a clock.
"""
