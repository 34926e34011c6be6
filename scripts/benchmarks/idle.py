"""What a cluster costs when nothing happens."""

import asyncio
from pathlib import Path

from orchestra.cli.local_cluster import LocalCluster, descendants
from orchestra.cli.up import follow
from orchestra.objects.kinds import REPLICA_SET
from scripts.benchmarks import anchors
from scripts.benchmarks.figures import Figure
from scripts.benchmarks.pods import cluster_of, simulated_agents, sleepers
from scripts.benchmarks.processes import cpu_seconds, disk_bytes, resident_mb

SETTLE_SECONDS = 10.0
SETTLE_SECONDS_MAX = 120.0
WATCHED_SECONDS = 60.0


def own_processes(cluster: LocalCluster, agent: str) -> list[int]:
    """The agent and its helpers: descendants that run Python, which pods here do not."""
    root = cluster.agents[agent].pid
    return [root, *(pid for pid in descendants(root) if "python" in Path(f"/proc/{pid}/exe").resolve().name)]


def members(cluster: LocalCluster) -> list[int]:
    """The master, and every agent with its helpers."""
    assert cluster.master is not None
    return [cluster.master.pid, *(pid for agent in cluster.agents for pid in own_processes(cluster, agent))]


async def _settled(cluster: LocalCluster) -> None:
    """Waits until master and agents have written nothing for a while."""
    before = -1
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while (now := sum(map(disk_bytes, members(cluster)))) != before:
            before = now
            await asyncio.sleep(SETTLE_SECONDS / 2)


async def agent_idle() -> list[Figure]:
    """Memory and processor of an agent with 20 pods, its helpers included."""
    async with cluster_of(1) as (cluster, client):
        await client.create(sleepers("idle", 20))
        await follow(
            client,
            REPLICA_SET,
            "default",
            lambda s: any(r.status.readyReplicas >= 20 for r in s.values()),
            60,
        )
        await _settled(cluster)
        pids = own_processes(cluster, "n1")
        cpu = sum(cpu_seconds(pid) for pid in pids)
        await asyncio.sleep(20)
        used = (sum(cpu_seconds(pid) for pid in pids) - cpu) / 20 * 100
        memory = sum(resident_mb(pid) for pid in pids)
    bare = anchors.bare_grpc_mb()
    return [
        Figure(
            "agent_idle_mb",
            memory,
            "MB",
            anchor="bare_grpc_aio_mb",
            anchor_value=bare,
            notes={"processes": len(pids)},
        ),
        Figure("agent_idle_cpu_pct", used, "%"),
    ]


async def master_idle_mb() -> list[Figure]:
    """Memory of a master with 1,000 pods on ten simulated agents."""
    async with cluster_of(0) as (cluster, client), simulated_agents(cluster, 10):
        await client.create(sleepers("many", 1000))
        await follow(
            client,
            REPLICA_SET,
            "default",
            lambda s: any(r.status.readyReplicas >= 1000 for r in s.values()),
            120,
        )
        await asyncio.sleep(SETTLE_SECONDS)
        assert cluster.master is not None
        memory = resident_mb(cluster.master.pid)
    return [
        Figure(
            "master_idle_mb",
            memory,
            "MB",
            anchor="bare_grpc_aio_mb",
            anchor_value=anchors.bare_grpc_mb(),
            notes={"pods": 1000},
        )
    ]


async def idle_disk_bytes_min() -> list[Figure]:
    """Bytes a minute that the master and three agents write with six pods running and nothing happening."""
    async with cluster_of(3) as (cluster, client):
        await client.create(sleepers("six", 6))
        await follow(
            client, REPLICA_SET, "default", lambda s: any(r.status.readyReplicas >= 6 for r in s.values()), 60
        )
        await _settled(cluster)
        watched = members(cluster)
        before = sum(map(disk_bytes, watched))
        status = (await client.status()).disk_bytes_written
        await asyncio.sleep(WATCHED_SECONDS)
        written = sum(map(disk_bytes, watched)) - before
        stored = (await client.status()).disk_bytes_written - status
    minutes = WATCHED_SECONDS / 60
    return [
        Figure(
            "idle_disk_bytes_min",
            written / minutes,
            "bytes/min",
            notes={"store_bytes": stored, "processes": len(watched), "watched_s": int(WATCHED_SECONDS)},
        )
    ]
