"""Who belongs to the cluster, and which changes of that are let through.

A Membership travels as the context of a Raft configuration: voters and learners are Raft's, names and
addresses are here. Nothing here does anything: a change is planned, its refusal says why.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestra.base.errors import OrchestraError
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import Configuration

LEARNERS_MAX = 1


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member. name: may be empty until it has started. api_address, etcd_address: where it serves.

    started: it has run, so that it must never begin again without its disk.
    """

    id: int
    name: str
    peer_addresses: Sequence[str] = ()
    api_address: str = ""
    etcd_address: str = ""
    started: bool = False
    is_learner: bool = False
    is_voter: bool = True


Membership = tuple[MemberInfo, ...]


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """What `RaftCore.change` is to be given."""

    voters: frozenset[int]
    learners: frozenset[int]
    context: bytes


class MembershipRefused(OrchestraError):
    """The change was not made."""


class MemberNotFound(MembershipRefused):
    """There is no such member."""


class MemberExists(MembershipRefused):
    """There is a member of that id, or of that name, already."""


class PeerAddressExists(MembershipRefused):
    """Another member has the address."""


class NotALearner(MembershipRefused):
    """Only a learner can be promoted."""


class LearnerNotReady(MembershipRefused):
    """The learner does not have the log yet."""


class TooManyLearners(MembershipRefused):
    """There are as many learners as there may be."""


class UnhealthyCluster(MembershipRefused):
    """After the change too few members would be there to decide anything."""


class ChangeUnderWay(MembershipRefused):
    """One change at a time."""


class InvalidMember(MembershipRefused):
    """What was said of the member cannot be."""


class CannotLead(MembershipRefused):
    """The member asked for cannot take over: it is none, has no vote, or lacks the log."""


REFUSALS: Mapping[str, type[MembershipRefused]] = {
    kind.__name__: kind
    for kind in (
        MemberNotFound,
        MemberExists,
        PeerAddressExists,
        NotALearner,
        LearnerNotReady,
        TooManyLearners,
        UnhealthyCluster,
        ChangeUnderWay,
        InvalidMember,
        CannotLead,
    )
}


# Encoding.


def encode_member(member: MemberInfo) -> pb.MemberInfo:
    """As it goes over the wire and into a configuration's context."""
    return pb.MemberInfo(
        id=member.id,
        name=member.name,
        peer_addresses=member.peer_addresses,
        api_address=member.api_address,
        etcd_address=member.etcd_address,
        started=member.started,
    )


def decode_member(said: pb.MemberInfo, *, is_learner: bool = False, is_voter: bool = True) -> MemberInfo:
    """Its inverse."""
    return MemberInfo(
        id=said.id,
        name=said.name,
        peer_addresses=tuple(said.peer_addresses),
        api_address=said.api_address,
        etcd_address=said.etcd_address,
        started=said.started,
        is_learner=is_learner,
        is_voter=is_voter,
    )


def encode(members: Iterable[MemberInfo]) -> bytes:
    """A configuration's context."""
    ordered = sorted(members, key=lambda member: member.id)
    return pb.Membership(members=map(encode_member, ordered)).SerializeToString(deterministic=True)


def decode(configuration: Configuration) -> Membership:
    """Everyone in a configuration, by id; of whom the context says nothing, only that."""
    said = {member.id: member for member in pb.Membership.FromString(configuration.context).members}
    return tuple(
        decode_member(
            said.get(id_, pb.MemberInfo(id=id_)),
            is_learner=id_ in configuration.learners,
            is_voter=id_ in configuration.all_voters,
        )
        for id_ in sorted(configuration.everyone)
    )


def addresses(configuration: Configuration, but: int) -> dict[int, Sequence[str]]:
    """Where everyone but one is reached by the others; also before the configuration has members."""
    members = pb.Membership.FromString(configuration.context).members
    return {member.id: tuple(member.peer_addresses) for member in members if member.id != but}


# Plans. `active`: the members that the leader has heard of lately, itself included.


def plan_add(
    configuration: Configuration, member: MemberInfo, *, learner: bool, active: Collection[int]
) -> MembershipChange:
    """A new member. Adding it again as it is already is no change, and no refusal.

    Raises: MemberExists, PeerAddressExists, TooManyLearners, UnhealthyCluster, ChangeUnderWay, InvalidMember.
    """
    members = decode(configuration)
    if found := _find(members, member.id):
        if found.peer_addresses == tuple(member.peer_addresses) and found.name == member.name:
            return _same(configuration)
        raise MemberExists(f"member {member.id:016x} is there already")
    _check_settled(configuration)
    _check_addresses(members, member)
    if member.name and any(other.name == member.name for other in members):
        raise MemberExists(f"a member named {member.name!r} is there already: remove that one first")
    voters, learners = configuration.voters, configuration.learners
    if learner:
        if len(learners) >= LEARNERS_MAX:
            raise TooManyLearners(
                f"there is a learner already, {_named(members, min(learners))}: promote or remove it first"
            )
        learners |= {member.id}
    else:
        voters |= {member.id}
        _check_health(
            voters, active, f"{member.name or 'it'} has not started: add it as a learner, promote it later"
        )
    return MembershipChange(voters, learners, encode((*members, member)))


def plan_remove(configuration: Configuration, member: int, *, active: Collection[int]) -> MembershipChange:
    """One member less. Raises: MemberNotFound, UnhealthyCluster, ChangeUnderWay."""
    members = decode(configuration)
    if not _find(members, member):
        raise _not_found(member)
    _check_settled(configuration)
    voters = configuration.voters - {member}
    if not voters:
        raise UnhealthyCluster("the only voting member cannot be removed")
    if member in configuration.voters:
        _check_health(voters, active, "start the others, or remove one that is gone")
    rest = (other for other in members if other.id != member)
    return MembershipChange(voters, configuration.learners - {member}, encode(rest))


def plan_promote(
    configuration: Configuration, member: int, *, caught_up: bool, active: Collection[int]
) -> MembershipChange:
    """A learner gets a vote. Raises: MemberNotFound, NotALearner, LearnerNotReady, UnhealthyCluster,
    ChangeUnderWay.
    """
    members = decode(configuration)
    if not _find(members, member):
        raise _not_found(member)
    if member not in configuration.learners:
        raise NotALearner(f"{_named(members, member)} has a vote already: only a learner can be promoted")
    _check_settled(configuration)
    if not caught_up:
        raise LearnerNotReady(
            f"{_named(members, member)} does not have the leader's log yet: see that it runs, and try again"
        )
    voters = configuration.voters | {member}
    _check_health(voters, active, "start the others first")
    return MembershipChange(voters, configuration.learners - {member}, configuration.context)


def plan_update(configuration: Configuration, member: MemberInfo) -> MembershipChange:
    """Other words about a member (addresses, name). Raises: MemberNotFound, PeerAddressExists,
    ChangeUnderWay, InvalidMember.
    """
    members = decode(configuration)
    found = _find(members, member.id)
    if not found:
        raise _not_found(member.id)
    if member.name and any(other.name == member.name and other.id != member.id for other in members):
        raise MemberExists(f"another member is named {member.name!r}")
    _check_addresses(members, member)
    said = replace(member, is_learner=found.is_learner, is_voter=found.is_voter)
    if encode_member(said) == encode_member(found):
        return _same(configuration)
    _check_settled(configuration)
    others = (other for other in members if other.id != member.id)
    return MembershipChange(configuration.voters, configuration.learners, encode((*others, said)))


def changes(configuration: Configuration, change: MembershipChange) -> bool:
    """Whether it is any change at all."""
    return change != _same(configuration)


def _same(configuration: Configuration) -> MembershipChange:
    return MembershipChange(configuration.voters, configuration.learners, configuration.context)


def _find(members: Membership, id_: int) -> MemberInfo | None:
    return next((member for member in members if member.id == id_), None)


def _named(members: Membership, id_: int) -> str:
    found = _find(members, id_)
    return f"member {found.name!r} ({id_:016x})" if found and found.name else f"member {id_:016x}"


def _not_found(member: int) -> MemberNotFound:
    return MemberNotFound(f"there is no member {member:016x}")


def _check_settled(configuration: Configuration) -> None:
    if configuration.is_joint:
        raise ChangeUnderWay("another change of the membership is under way: try again in a moment")


def _check_addresses(members: Membership, member: MemberInfo) -> None:
    for address in member.peer_addresses:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise InvalidMember(f"peer address {address!r} is not of the form host:port")
    for other in members:
        if other.id != member.id and set(other.peer_addresses) & set(member.peer_addresses):
            raise PeerAddressExists(f"{_named(members, other.id)} has that peer address already")


def _check_health(voters: frozenset[int], active: Collection[int], remedy: str) -> None:
    there, needed = len(voters.intersection(active)), len(voters) // 2 + 1
    if there < needed:
        raise UnhealthyCluster(
            f"{there} of {len(voters)} voting members would be there afterwards, and {needed} are needed: "
            f"{remedy}"
        )
