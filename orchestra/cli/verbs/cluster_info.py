"""cluster-info: where the master answers, and how it fares."""

import asyncio

from orchestra.base.errors import UsageError
from orchestra.cli.command import Command
from orchestra.cli.printing.ages import duration
from orchestra.cli.printing.cluster import node_status
from orchestra.cli.session import Session
from orchestra.objects.kinds import NODE, SERVICE
from orchestra.pb import api_v1_pb2 as api


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


def actor_lines(status: api.ClusterStatusResponse) -> list[str]:
    """A line for each part of the master that does not run, or had to be started again."""
    lines = []
    for actor in status.actors:
        if not actor.running or actor.restarts:
            how = "is not running" if not actor.running else "is running"
            again = f", restarted {actor.restarts} times" if actor.restarts else ""
            why = f": {actor.last_error}" if actor.last_error else ""
            lines.append(f"{actor.name} {how}{again}{why}")
    return lines


async def _cluster_info(session: Session) -> int:
    if session.words:
        raise UsageError(f"unexpected args: {session.words}")
    client = session.client
    status, nodes, services = await asyncio.gather(
        client.status(),
        client.list(NODE),
        client.list(SERVICE, "kube-system", labels="kubernetes.io/cluster-service=true"),
    )
    session.say(f"Orchestra master {status.master} is running at {session.settings.server}")
    for service in services.items:
        session.say(f"{service.metadata.name} is running in namespace {service.metadata.namespace}")
    ready = sum(node_status(node).startswith("Ready") for node in nodes.items)
    up = duration(session.now_ns() // 1_000_000_000 - status.started_seconds)
    session.say(f"Nodes: {ready} of {len(nodes.items)} ready, {status.agents_connected} agents connected")
    session.say(
        f"Store: {status.objects} objects, revision {status.revision}; "
        f"{_size(status.disk_bytes_written)} written in {up}"
    )
    for line in actor_lines(status):
        session.say(line)
    return 0


COMMANDS = (
    Command(
        "cluster-info",
        "Show where the master answers, how many nodes are ready, and how the store fares.",
        "[options]",
        (),
        "orchestra cluster-info",
        _cluster_info,
    ),
)
