"""A member of the cluster: its log on disk, the machine that the log feeds, and the store they make.

Knows in which order things become durable, applied and answered, when to take a snapshot, and when to give
up because the disk has. Must not know what is stored, nor who asks: above it there is only a Store. The log's
place can be taken by a group of members that agree on it; nothing above sees the difference.
"""
