"""cluster-info: where the masters answer, who leads, and how it fares."""

import asyncio
from collections.abc import Sequence

from orchestra.base.errors import NotSupported, UsageError
from orchestra.cli.command import Command
from orchestra.cli.printing.ages import duration
from orchestra.cli.printing.cluster import node_status
from orchestra.cli.printing.members import ordered
from orchestra.cli.session import Session
from orchestra.cli.verbs.member import members_seen
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


def master_lines(members: Sequence[api.ClusterMember]) -> list[str]:
    """A line for each of several masters."""
    lines = []
    for member in members:
        named, where = (
            f"Orchestra master {member.name or member.id}",
            member.api_address or "an unknown address",
        )
        if not member.started:
            lines.append(f"{named} has not been started yet")
        elif member.HasField("active") and not member.active:
            lines.append(f"{named} at {where} does not answer")
        else:
            what = " and leads" if member.leader else " as learner" if member.learner else ""
            lines.append(f"{named} is running at {where}{what}")
    if not any(member.leader for member in members):
        lines.append("No master leads: see that most of them run")
    return lines


async def _members(session: Session) -> Sequence[api.ClusterMember]:
    """The masters where there are several of them, or it can be told of them."""
    try:
        members = (await members_seen(session)).members
    except NotSupported:
        return ()
    return ordered(members) if len(members) > 1 else ()


async def _cluster_info(session: Session) -> int:
    if session.words:
        raise UsageError(f"unexpected args: {session.words}")
    client = session.client
    members = await _members(session)
    if members:
        session.write("".join(line + "\n" for line in master_lines(members)))
    status, nodes, services = await asyncio.gather(
        client.status(),
        client.list(NODE),
        client.list(SERVICE, "kube-system", labels="kubernetes.io/cluster-service=true"),
    )
    if not members:
        where = status.leader_address or session.settings.server
        session.say(f"Orchestra master {status.master} is running at {where}")
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
        "Show where the masters answer, who leads, how many nodes are ready, and how the store fares.",
        "[options]",
        (),
        "orchestra cluster-info",
        _cluster_info,
    ),
)
