"""What etcd's API needs of a member: the one place to adapt when the member changes."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from orchestra.cluster.membership import MemberInfo
from orchestra.store.local import LocalStore


class Status(Protocol):
    """How a member stands. leader: 0 when it knows of none."""

    @property
    def id(self) -> int: ...

    @property
    def cluster(self) -> int: ...

    @property
    def term(self) -> int: ...

    @property
    def leader(self) -> int: ...

    @property
    def raft_index(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def is_learner(self) -> bool: ...

    @property
    def errors(self) -> Sequence[str]: ...

    @property
    def state_bytes(self) -> int: ...


class Backend(Protocol):
    """A member, as etcd's API sees it."""

    @property
    def store(self) -> LocalStore:
        """The member's store."""
        ...

    @property
    def term(self) -> int:
        """Raft's term; read for every answer."""
        ...

    def status(self) -> Status:
        """How it stands now."""
        ...

    def membership(self) -> Sequence[MemberInfo]:
        """Who belongs to the cluster."""
        ...

    async def add_member(self, name: str, peer_addresses: Sequence[str], learner: bool) -> MemberInfo:
        """Raises: MembershipRefused, StoreUnavailable."""
        ...

    async def remove_member(self, id: int) -> None:
        """Raises: MembershipRefused, StoreUnavailable."""
        ...

    async def update_member(self, info: MemberInfo) -> None:
        """Raises: MembershipRefused, StoreUnavailable."""
        ...

    async def promote_member(self, id: int) -> None:
        """Raises: MembershipRefused, StoreUnavailable."""
        ...

    async def move_leader(self, to: int = 0) -> None:
        """Raises: StoreUnavailable, or why it cannot lead."""
        ...

    async def lease_remaining(self, lease: int) -> int:
        """Seconds left by the leader's clock. Raises: LeaseNotFound, StoreUnavailable."""
        ...

    def snapshot_chunks(self) -> AsyncIterator[bytes]:
        """A backup file's bytes, part by part (orchestra.cluster.backup). Raises: StoreUnavailable."""
        ...
