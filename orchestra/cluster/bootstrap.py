"""What a new data directory is made with: who the member is, and who is in the cluster it begins in."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from orchestra.base.errors import OrchestraError
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import Configuration

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """cluster_id: 16 bytes in hexadecimal digits. configuration: before the first entry of the log."""

    cluster_id: str
    member_id: int
    name: str
    configuration: Configuration


def alone(
    name: str, peer_addresses: Sequence[str] = (), random_bytes: RandomBytes = secrets.token_bytes
) -> Bootstrap:
    """A new cluster of one."""
    cluster_id = random_bytes(16).hex()
    member_id = int.from_bytes(random_bytes(8)) or 1
    return Bootstrap(cluster_id, member_id, name, _configuration([(member_id, name, sorted(peer_addresses))]))


def together(members: Mapping[str, Sequence[str]], name: str, token: str = "") -> Bootstrap:
    """A new cluster that all of `members` (name: peer addresses) begin at the same time, each by itself.

    The ids follow from the list, so that all arrive at the same. token: for another cluster of the same list.
    Raises: OrchestraError when the list does not do.
    """
    if name not in members:
        raise OrchestraError(
            f"member {name!r} is not in the initial cluster ({', '.join(sorted(members))}); "
            "start it under a name that is, or add it to the list of every member"
        )
    listed = sorted((each, sorted(addresses)) for each, addresses in members.items())
    known: dict[str, str] = {}
    for each, addresses in listed:
        for address in addresses:
            if known.setdefault(address, each) != each:
                raise OrchestraError(
                    f"the initial cluster has {address} twice, for {known[address]!r} and {each!r}; "
                    "give each member an address of its own"
                )
    cluster = _digest(16, [token, *(part for each, addresses in listed for part in (each, *addresses, ""))])
    ids = {
        each: int.from_bytes(_digest(8, [cluster.hex(), each, *addresses])) or 1 for each, addresses in listed
    }
    configuration = _configuration([(ids[each], each, addresses) for each, addresses in listed])
    return Bootstrap(cluster.hex(), ids[name], name, configuration)


def _digest(size: int, parts: Sequence[str]) -> bytes:
    digest = blake2b(digest_size=size)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4))
        digest.update(data)
    return digest.digest()


def _configuration(members: Sequence[tuple[int, str, Sequence[str]]]) -> Configuration:
    membership = pb.Membership(
        members=[
            pb.MemberInfo(id=member_id, name=name, peer_addresses=addresses)
            for member_id, name, addresses in sorted(members)
        ]
    )
    return Configuration(
        voters=frozenset(member_id for member_id, _, _ in members),
        context=membership.SerializeToString(deterministic=True),
    )
