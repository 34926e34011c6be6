"""Upgrades and rollbacks under load: how many requests fail."""

import asyncio
import sys
from pathlib import Path

from orchestra.cli.up import wait_for_node_ports, wait_for_object
from orchestra.client import Client
from orchestra.objects.kinds import SERVICE
from orchestra.objects.manifests import load_documents
from scripts.benchmarks.figures import Figure, percentile
from scripts.benchmarks.pods import cluster_of
from scripts.load import Load

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
REQUESTS = 50_000
SECONDS_MAX = 180.0
CLIENTS = 12


async def _apply(client: Client, name: str) -> None:
    for document in load_documents((EXAMPLES / name).read_bytes(), name).objects:
        obj, _ = await client.apply(document.obj)
        await wait_for_object(client, obj, lambda line: None)


async def rolling_failed_requests() -> list[Figure]:
    """The web application is rolled to its second version and back, again and again, while clients ask it
    through every node's port."""
    async with cluster_of(3) as (cluster, client):
        await _apply(client, "web.yaml")
        targets = await wait_for_node_ports(cluster, await client.get(SERVICE, "default", "web"))
        rollouts = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS_MAX
        async with Load(targets, clients=CLIENTS, pause_seconds=0.0005) as load:
            while load.tally.asked < REQUESTS and loop.time() < end:
                await _apply(client, "web-v2.yaml")
                await _apply(client, "web.yaml")
                rollouts += 2
    tally = load.tally
    notes: dict[str, float | int | str] = {
        "requests": tally.asked,
        "rollouts": rollouts,
        "request_p50_ms": round(percentile(tally.latencies_ms, 0.5), 1),
        "request_p99_ms": round(percentile(tally.latencies_ms, 0.99), 1),
    }
    for failure in tally.failures[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    return [Figure("rolling_failed_requests", len(tally.failures), "requests", notes=notes)]
