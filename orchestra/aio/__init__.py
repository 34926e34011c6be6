"""Running things on asyncio: actors with bounded mailboxes, supervision, work queues, back-off, RPC plumbing.

Knows how to run and bound work, and nothing of what the work is: no kinds, no store, no scheduling. All time
is the event loop's, so that a loop with a virtual clock makes everything above deterministic.
"""
