"""etcd's Cluster service: who belongs to the cluster."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from orchestra.cluster.membership import MemberInfo
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.errors import MEMBER_BAD_URLS, MEMBER_NOT_FOUND, EtcdError
from orchestra.etcdapi.header import Headers
from orchestra.pb import etcd_cluster_pb2 as pb

# What members are reached by is HOST:PORT; etcd's clients write URLs.
_SCHEME: Final = "http"


class ClusterService:
    """Each method answers one request. Raises: EtcdError, MembershipRefused and what the store raises."""

    def __init__(self, backend: Backend, headers: Headers) -> None:
        self._backend = backend
        self._headers = headers

    async def list(self, request: pb.MemberListRequest) -> pb.MemberListResponse:
        if request.linearizable:
            await self._backend.store.read_barrier()
        return pb.MemberListResponse(header=self._headers.unrevised(), members=self._members())

    async def add(self, request: pb.MemberAddRequest) -> pb.MemberAddResponse:
        """The new member's name is chosen by itself, when it starts."""
        added = await self._backend.add_member("", _addresses(request.peerURLs), request.isLearner)
        return pb.MemberAddResponse(
            header=self._headers.unrevised(), member=_message(added), members=self._members()
        )

    async def remove(self, request: pb.MemberRemoveRequest) -> pb.MemberRemoveResponse:
        await self._backend.remove_member(request.ID)
        return pb.MemberRemoveResponse(header=self._headers.unrevised(), members=self._members())

    async def update(self, request: pb.MemberUpdateRequest) -> pb.MemberUpdateResponse:
        addresses = _addresses(request.peerURLs)
        known = next((each for each in self._backend.membership() if each.id == request.ID), None)
        if known is None:
            raise EtcdError(MEMBER_NOT_FOUND)
        await self._backend.update_member(
            MemberInfo(
                known.id,
                known.name,
                addresses,
                known.api_address,
                known.etcd_address,
                known.started,
                known.is_learner,
                known.is_voter,
            )
        )
        return pb.MemberUpdateResponse(header=self._headers.unrevised(), members=self._members())

    async def promote(self, request: pb.MemberPromoteRequest) -> pb.MemberPromoteResponse:
        await self._backend.promote_member(request.ID)
        return pb.MemberPromoteResponse(header=self._headers.unrevised(), members=self._members())

    def _members(self) -> Sequence[pb.Member]:
        return [_message(each) for each in sorted(self._backend.membership(), key=lambda each: each.id)]


def _message(member: MemberInfo) -> pb.Member:
    return pb.Member(
        ID=member.id,
        name=member.name if member.started else "",
        peerURLs=[f"{_SCHEME}://{address}" for address in member.peer_addresses],
        clientURLs=[f"{_SCHEME}://{member.etcd_address}"] if member.etcd_address else [],
        isLearner=member.is_learner,
    )


def _addresses(urls: Sequence[str]) -> Sequence[str]:
    """Raises: EtcdError for what is no URL of a member."""
    addresses = []
    for url in urls:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise EtcdError(MEMBER_BAD_URLS) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path:
            raise EtcdError(MEMBER_BAD_URLS)
        addresses.append(parts.netloc)
    if not addresses:
        raise EtcdError(MEMBER_BAD_URLS)
    return sorted(addresses)
