"""The masters as members of the replicated store: who they are, how they come and go, and its backup."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from orchestra.base.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from orchestra.cluster.membership import (
    ChangeUnderWay,
    InvalidMember,
    LearnerNotReady,
    MemberExists,
    MemberInfo,
    MemberNotFound,
    Membership,
    MembershipRefused,
    NotALearner,
    PeerAddressExists,
    TooManyLearners,
    UnhealthyCluster,
)
from orchestra.pb import api_v1_pb2 as api
from orchestra.store.contract import StoreUnavailable
from orchestra.store.leadership import Leader, Leadership

RETRY_AFTER_MS: Final = 200
# How long the new leader is waited for to say so.
MOVED_SECONDS: Final = 2.0

_TABLE: Final[Mapping[type[MembershipRefused], Callable[[str], ApiError]]] = {
    MemberNotFound: NotFound,
    MemberExists: AlreadyExists,
    PeerAddressExists: AlreadyExists,
    NotALearner: PreconditionFailed,
    LearnerNotReady: PreconditionFailed,
    TooManyLearners: PreconditionFailed,
    UnhealthyCluster: PreconditionFailed,
    ChangeUnderWay: lambda said: Unavailable(said, retry_after_ms=RETRY_AFTER_MS, not_done=True),
    InvalidMember: BadRequest,
}


class Group(Protocol):
    """A member of the replicated store, as far as it is needed here (orchestra.cluster.member.Member)."""

    @property
    def cluster_id(self) -> str: ...

    @property
    def leader(self) -> int:
        """The leading member, 0 while there is none."""
        ...

    def active(self) -> Sequence[int] | None:
        """Whom the leader has heard of lately; None where that is not known: anywhere else."""
        ...

    def membership(self) -> Membership: ...

    async def add_member(self, name: str, peer_addresses: Sequence[str], learner: bool) -> Any: ...

    async def remove_member(self, id: int) -> Any: ...

    async def promote_member(self, id: int) -> Any: ...

    async def move_leader(self, to: int = 0) -> Any: ...

    def snapshot_chunks(self) -> AsyncIterator[bytes]:
        """A backup file's bytes, part by part."""
        ...


class Masters:
    """The Cluster service's calls about members. Any member answers; changes go to the leader by itself."""

    def __init__(self, group: Group, leadership: Leadership) -> None:
        self._group = group
        self._leadership = leadership

    def listed(self) -> api.MembersResponse:
        """Everyone, as this member knows it."""
        leader, active = self._group.leader, self._group.active()
        answer = api.MembersResponse(cluster=self._group.cluster_id)
        for info in self._group.membership():
            said = answer.members.add(
                id=hex_id(info.id),
                name=info.name,
                peer_addresses=info.peer_addresses,
                api_address=info.api_address,
                etcd_address=info.etcd_address,
                learner=info.is_learner,
                leader=info.id == leader,
                started=info.started,
            )
            if active is not None:
                said.active = info.id in active
        return answer

    async def add(self, request: api.AddMemberRequest) -> api.MembersResponse:
        """Raises: AlreadyExists, PreconditionFailed, BadRequest."""
        if not request.name:
            raise BadRequest("a member has a name: give it")
        if not request.peer_addresses:
            raise BadRequest("a member has a peer address, HOST:PORT: give it")
        self._check_reachable()
        with _mapped():
            await self._group.add_member(request.name, tuple(request.peer_addresses), request.learner)
        answer = self.listed()
        answer.added = hex_id(self._find(request.name).id)
        return answer

    def _check_reachable(self) -> None:
        for info in self._group.membership():
            if not info.peer_addresses:
                raise PreconditionFailed(
                    f"master {info.name} has no peer address, so that no other could reach it: "
                    "start it again with --peer-listen HOST:PORT"
                )

    async def remove(self, request: api.MemberRequest) -> api.MembersResponse:
        """Raises: NotFound, PreconditionFailed."""
        info = self._find(request.member)
        with _mapped():
            try:
                await self._group.remove_member(info.id)
            except StoreUnavailable:
                # A member that removes itself ends before it is answered, and knows it.
                if any(each.id == info.id for each in self._group.membership()):
                    raise
        return self.listed()

    async def promote(self, request: api.MemberRequest) -> api.MembersResponse:
        """Raises: NotFound, PreconditionFailed."""
        info = self._find(request.member)
        with _mapped():
            await self._group.promote_member(info.id)
        return self.listed()

    async def move_leader(self, request: api.MemberRequest) -> api.MembersResponse:
        """Raises: NotFound, PreconditionFailed."""
        to = self._find(request.member) if request.member else None
        if to is not None and to.is_learner:
            raise PreconditionFailed(f"{to.name} is a learner and cannot lead: promote it first")
        before = self._leadership.leader
        with _mapped():
            await self._group.move_leader(to.id if to is not None else 0)
        if to is None or before is None or to.name != before.name:
            await self._moved(before)
        return self.listed()

    async def _moved(self, before: Leader | None) -> None:
        """Until this member knows of it too, so that the answer tells who leads now."""
        leadership = self._leadership
        try:
            async with asyncio.timeout(MOVED_SECONDS):
                while leadership.leader is None or leadership.leader == before:
                    await leadership.changed()
        except TimeoutError:
            return

    def snapshot(self) -> AsyncIterator[bytes]:
        """The whole store, as `orchestra snapshot save` writes it to a file."""
        return self._group.snapshot_chunks()

    def _find(self, wanted: str) -> MemberInfo:
        members = self._group.membership()
        for info in members:
            if wanted in (info.name, hex_id(info.id)):
                return info
        known = ", ".join(sorted(info.name or hex_id(info.id) for info in members))
        raise NotFound(f'member "{wanted}" not found (there are: {known})', kind="members", name=wanted)


def hex_id(id_: int) -> str:
    """16 hexadecimal digits."""
    return f"{id_:016x}"


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except MembershipRefused as error:
        raise _TABLE.get(type(error), PreconditionFailed)(str(error)) from error
