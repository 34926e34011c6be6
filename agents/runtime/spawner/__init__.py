"""The spawner: one small single-threaded process per node, parent of every container.

The agent has gRPC's threads in it, and a process with threads must not run Python between fork and exec.
So containers are forked here: no grpc, no asyncio, nothing outside the standard library (it is started with
`-I -S`, so a heavy import would fail at once). It enters namespaces, mounts volumes, captures output into
log files, reaps, and kills whole trees. It outlives a killed agent and keeps exits until the next one has
read them, so nothing is lost in between.

Must not know pods' policies, probes or the master.
"""
