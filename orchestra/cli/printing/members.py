"""Masters as a table and as data."""

from collections.abc import Sequence
from typing import Any

from orchestra.pb import api_v1_pb2 as api

COLUMNS = ("ID", "NAME", "STATUS", "ROLE", "PEER", "API", "ETCD")
NONE = "<none>"


def role(member: api.ClusterMember) -> str:
    """What part it has in the cluster."""
    if member.learner:
        return "learner"
    return "leader" if member.leader else "follower"


def status(member: api.ClusterMember) -> str:
    """Whether it has ever run, and whether the leader hears of it."""
    if not member.started:
        return "unstarted"
    return "unreachable" if member.HasField("active") and not member.active else "started"


def row(member: api.ClusterMember) -> list[str]:
    """One line of the table."""
    return [
        member.id,
        member.name or NONE,
        status(member),
        role(member) if member.started or member.learner else NONE,
        ",".join(member.peer_addresses) or NONE,
        member.api_address or NONE,
        member.etcd_address or NONE,
    ]


def name(member: api.ClusterMember) -> str:
    """As `-o name` has it."""
    return f"member/{member.name or member.id}"


def ordered(members: Sequence[api.ClusterMember]) -> list[api.ClusterMember]:
    """By name, as people look for them."""
    return sorted(members, key=lambda member: (member.name == "", member.name, member.id))


def data(answer: api.MembersResponse) -> dict[str, Any]:
    """As json and yaml have it."""
    return {
        "cluster": answer.cluster,
        "members": [
            {
                "id": member.id,
                "name": member.name,
                "status": status(member),
                "role": role(member),
                "peerAddresses": list(member.peer_addresses),
                "apiAddress": member.api_address,
                "etcdAddress": member.etcd_address,
            }
            for member in ordered(answer.members)
        ],
    }
