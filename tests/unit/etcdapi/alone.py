"""A member for tests: the store in memory, and a membership of one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from orchestra.base.clock import ManualClock
from orchestra.cluster.membership import MemberInfo, MemberNotFound, TooManyLearners
from orchestra.store.memory import MemoryStore

MEMBER_ID = 0xABCDEF0123456789
CLUSTER_ID = 0x123456789ABCDEF0


@dataclass
class Status:
    """Fields of a member's status, to be set by tests."""

    id: int = MEMBER_ID
    cluster: int = CLUSTER_ID
    term: int = 7
    leader: int = MEMBER_ID
    raft_index: int = 11
    applied_index: int = 11
    is_learner: bool = False
    errors: Sequence[str] = ()
    state_bytes: int = 4096


class Alone:
    """Serves as a Backend."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.said = Status()
        self.members = [MemberInfo(MEMBER_ID, "m1", ("127.0.0.1:2380",), "", "127.0.0.1:2379", True)]
        self.moved_to: int | None = None

    @property
    def term(self) -> int:
        return self.said.term

    def status(self) -> Status:
        return self.said

    def membership(self) -> Sequence[MemberInfo]:
        return self.members

    async def add_member(self, name: str, peer_addresses: Sequence[str], learner: bool) -> MemberInfo:
        if learner and any(each.is_learner for each in self.members):
            raise TooManyLearners("one at a time")
        added = MemberInfo(5, name, tuple(peer_addresses), is_learner=learner, is_voter=not learner)
        self.members.append(added)
        return added

    async def remove_member(self, id: int) -> None:
        if id not in [each.id for each in self.members]:
            raise MemberNotFound("no such member")
        self.members = [each for each in self.members if each.id != id]

    async def update_member(self, info: MemberInfo) -> None:
        self.members = [info if each.id == info.id else each for each in self.members]

    async def promote_member(self, id: int) -> None:
        raise MemberNotFound("no such member")

    async def move_leader(self, to: int = 0) -> None:
        self.moved_to = to

    async def lease_remaining(self, lease: int) -> int:
        return self.store._log.leases.remaining_seconds(lease)

    async def snapshot_chunks(self) -> AsyncIterator[bytes]:
        for size in (100, 70_000, 0, 3):
            yield bytes(size)
