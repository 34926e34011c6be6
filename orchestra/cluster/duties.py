"""What the leader is asked to do: to keep leases, to change who belongs to the cluster, and who leads it."""

import asyncio
from collections.abc import Awaitable, Callable

from orchestra.cluster.driver import Driver
from orchestra.cluster.membership import (
    CannotLead,
    LearnerNotReady,
    MembershipChange,
    UnhealthyCluster,
    changes,
    decode_member,
    plan_add,
    plan_promote,
    plan_remove,
    plan_update,
)
from orchestra.cluster.settings import MemberSettings
from orchestra.cluster.tenure import Tenure
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.core import RaftCore
from orchestra.raft.encoding import configuration_to_wire
from orchestra.raft.errors import ChangePending, NotCaughtUp, NotLeader
from orchestra.raft.model import Configuration, Role
from orchestra.store.contract import StoreUnavailable

# A member that has just come may not have been heard of yet.
_TRIES = 3

Plan = Callable[[Configuration, frozenset[int]], MembershipChange]


class LeaderDuties:
    """Changes, one at a time. Every call raises NotLeader when this member does not lead, or not to the
    end.
    """

    def __init__(
        self,
        driver: Driver,
        settings: MemberSettings,
        tenure: Callable[[], Tenure | None],
        read_barrier: Callable[[], Awaitable[None]],
    ) -> None:
        self._tenure = tenure
        self._read_barrier = read_barrier
        self._driver = driver
        self._core = driver.core
        self._retry_seconds = 2 * settings.heartbeat_ticks * settings.tick_ms / 1000
        self._election_seconds = 2 * settings.election_ticks * settings.tick_ms / 1000
        self._one_at_a_time = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._watched = 0

    async def respond(self, question: pb.Ask) -> pb.Answer:
        """Does what is asked. Raises: what it is refused for."""
        tenure = self._tenure()
        if tenure is None:
            raise NotLeader(self._core.leader)
        match question.WhichOneof("question"):
            case "keep_alive":
                await self._knows(tenure, question.keep_alive)
                seconds = await tenure.leases.keep_alive(question.keep_alive)
                # Only a leader that is one now may have said so: another could have ended the lease.
                await self._read_barrier()
                if self._tenure() is not tenure:
                    raise NotLeader(self._core.leader)
                return pb.Answer(number=seconds)
            case "remaining":
                await self._knows(tenure, question.remaining)
                return pb.Answer(number=tenure.leases.remaining_seconds(question.remaining))
            case "member_add":
                return await self.add(question.member_add)
            case "member_remove":
                return await self.remove(question.member_remove)
            case "member_update":
                return await self.update(question.member_update)
            case "member_promote":
                return await self.promote(question.member_promote)
            case "move_leader":
                return await self.hand_over(question.move_leader)
            case _:
                raise StoreUnavailable("a question that this version does not know")

    async def _knows(self, tenure: Tenure, lease: int) -> None:
        """Whoever was told of a grant by another member may be ahead of what is applied here."""
        if not tenure.leases.knows(lease):
            await self._read_barrier()

    async def add(self, asked: pb.MemberAdd) -> pb.Answer:
        """Raises: MembershipRefused."""
        member = decode_member(asked.member)
        return await self._change(
            lambda now, active: plan_add(now, member, learner=asked.learner, active=active)
        )

    async def remove(self, member: int) -> pb.Answer:
        """Itself only once somebody else leads, if anybody can. Raises: MembershipRefused."""
        if member == self._core.node and await self.gave_away():
            raise NotLeader(self._core.leader)
        return await self._change(lambda now, active: plan_remove(now, member, active=active))

    async def update(self, asked: pb.MemberInfo) -> pb.Answer:
        """Raises: MembershipRefused."""
        member = decode_member(asked)
        return await self._change(lambda now, active: plan_update(now, member))

    async def promote(self, member: int) -> pb.Answer:
        """Raises: MembershipRefused."""
        return await self._change(
            lambda now, active: plan_promote(now, member, caught_up=member in active, active=active)
        )

    async def hand_over(self, to: int) -> pb.Answer:
        """Raises: CannotLead; StoreUnavailable when nobody has taken over in time."""
        tries = 1
        while to != self._core.node:
            try:
                await self._driver.request(lambda core: core.transfer_leadership(to))
            except NotCaughtUp as error:
                if tries == _TRIES or to not in {0, *self._core.configuration.voters}:
                    raise CannotLead(str(error)) from None
                tries += 1
                await asyncio.sleep(self._retry_seconds)
            else:
                await self.not_leading()
                break
        return self._answer()

    async def gave_away(self) -> bool:
        """Has somebody else lead. Whether that is so now."""
        try:
            await self._driver.request(lambda core: core.transfer_leadership())
            await self.not_leading()
        except (NotCaughtUp, NotLeader, StoreUnavailable):
            pass
        return self._core.role is not Role.LEADER

    async def not_leading(self) -> None:
        """Waits until this member does not lead. Raises: StoreUnavailable when it does for too long."""
        try:
            async with asyncio.timeout(self._election_seconds):
                while self._core.role is Role.LEADER:
                    await self._changed()
        except TimeoutError:
            raise StoreUnavailable("nobody has taken over in time: this member leads on") from None

    async def _change(self, plan: Plan) -> pb.Answer:
        async with self._one_at_a_time:
            tries = 1
            while True:
                try:
                    term, index = await self._driver.request(lambda core: _begin(core, plan))
                    break
                except (UnhealthyCluster, LearnerNotReady, NotCaughtUp) as error:
                    if tries == _TRIES:
                        raise (
                            LearnerNotReady(str(error)) if isinstance(error, NotCaughtUp) else error
                        ) from None
                    tries += 1
                except ChangePending:
                    # One that a leader before began, or the first entry of this one's term: soon done.
                    pass
                await asyncio.sleep(self._retry_seconds)
            await self._settled(term, index)
            return self._answer()

    async def _settled(self, term: int, index: int) -> None:
        """Waits until the configuration of an entry, and what follows from it, is applied."""
        core, driver = self._core, self._driver
        while True:
            mark, _ = driver.state()
            if (
                mark.index >= index
                and mark.configuration == core.configuration
                and not mark.configuration.is_joint
            ):
                return
            if core.term != term or core.role is not Role.LEADER:
                raise NotLeader(core.leader)
            await self._changed()

    def _answer(self) -> pb.Answer:
        return pb.Answer(configuration=configuration_to_wire(self._core.configuration))

    async def _changed(self) -> None:
        self._watched += 1
        try:
            await asyncio.shield(self._news)
        finally:
            self._watched -= 1

    def noticed(self) -> None:
        """Role, term or leader may be others; or entries were applied."""
        if self._watched:
            news, self._news = self._news, self._loop.create_future()
            news.set_result(None)


def _begin(core: RaftCore, plan: Plan) -> tuple[int, int]:
    """The term, and the entry to wait for."""
    if core.role is not Role.LEADER:
        raise NotLeader(core.leader)
    active = frozenset((core.node, *(each.node for each in core.progress() if each.active)))
    change = plan(core.configuration, active)
    if not changes(core.configuration, change):
        return core.term, core.last_index
    return core.term, core.change(change.voters, change.learners, change.context)
