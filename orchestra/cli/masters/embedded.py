"""The masters' own store: this master is a member of a Raft group, of one or of many."""

import asyncio
from dataclasses import replace

from orchestra.aio.backoff import Backoff
from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.members import Masters, hex_id
from orchestra.base.errors import ApiError, Unavailable
from orchestra.base.log import get_logger
from orchestra.cli.masters.joining import first_start, has_run
from orchestra.cli.masters.settings import MasterSettings
from orchestra.cli.processes import first_of
from orchestra.cluster.driver import MemberRemoved
from orchestra.cluster.hello import ask_hello
from orchestra.cluster.member import Member
from orchestra.cluster.membership import MemberInfo, MembershipRefused
from orchestra.cluster.peers import PeerLinks
from orchestra.etcdapi.server import EtcdServer
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.encoding import configuration_from_wire, configuration_to_wire
from orchestra.store.contract import Store, StoreUnavailable
from orchestra.store.leadership import Leadership

log = get_logger("master")

HAND_OVER_SECONDS = 1.0
# Between two attempts of a learner to get its vote.
PROMOTION_MS = (100, 2_000)
PUBLISH_MS = (100, 2_000)
# Between two looks whether a master that hears of no leader has been removed.
BELONGING_MS = (500, 5_000)
STOP_GRACE_SECONDS = 0.5


class Embedded:
    """A Backing: the member, its links, and etcd's API on it."""

    def __init__(self, settings: MasterSettings, member: Member, links: PeerLinks | None) -> None:
        self._settings = settings
        self._member = member
        self._links = links
        self._etcd: EtcdServer | None = None
        self.members: Masters | None = Masters(member, member.leadership)

    @property
    def store(self) -> Store:
        """The member's."""
        return self._member.store

    @property
    def leadership(self) -> Leadership:
        """The member's."""
        return self._member.leadership

    @property
    def disk_bytes_written(self) -> int:
        """By the member."""
        return self._member.disk_bytes_written

    def addresses(self) -> tuple[str, ...]:
        """Of those whose addresses are known."""
        return tuple(info.api_address for info in self._member.membership() if info.api_address)

    async def start(self, supervisor: Supervisor, api_address: str) -> None:
        """Serves etcd's API, if that is wanted, and tells the cluster where this master is reached."""
        settings, etcd_address = self._settings, ""
        # Before it can lead, which it then says with its address.
        self._member.api_address = api_address
        if settings.etcd_listen:
            self._etcd = EtcdServer(self._member)
            etcd_address = settings.etcd_address(await self._etcd.start(settings.etcd_listen))
        # Parts that come to an end are not missed afterwards.
        supervisor.start("addresses", lambda: self._publish(api_address, etcd_address))
        supervisor.forget("addresses")
        if settings.join and not settings.learner:
            supervisor.start("promotion", self._promotion)
            supervisor.forget("promotion")

    def lead(self, supervisor: Supervisor) -> None:
        """The members keep their store in order by themselves."""

    async def failed(self) -> None:
        """See Backing."""
        await first_of(self._member.failed(), self._belonging())

    async def hand_over(self) -> None:
        """See Backing."""
        member = self._member
        voters = [info for info in member.membership() if info.is_voter]
        if member.leader != int(member.member_id, 16) or len(voters) < 2:
            return
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await member.move_leader()
        except (MembershipRefused, StoreUnavailable, TimeoutError) as error:
            log.info("nobody else takes the lead", why=error)

    async def close(self) -> None:
        """See Backing."""
        if self._etcd is not None:
            await self._etcd.stop(STOP_GRACE_SECONDS)
        await self._member.close()
        if self._links is not None:
            await self._links.close()

    def _own(self) -> MemberInfo | None:
        return next(
            (info for info in self._member.membership() if hex_id(info.id) == self._member.member_id), None
        )

    async def _publish(self, api_address: str, etcd_address: str) -> None:
        """Until every member knows where this one is reached."""
        peer = self._settings.peer_advertise
        backoff = Backoff(*PUBLISH_MS)
        while peer and (own := self._own()) is not None and tuple(own.peer_addresses) != (peer,):
            try:
                await self._member.update_member(replace(own, peer_addresses=(peer,)))
            except (MembershipRefused, StoreUnavailable) as error:
                log.info("could not tell the others this master's peer address", why=error)
                await asyncio.sleep(backoff.next_ms() / 1000)
        await self._member.publish(api_address, etcd_address)

    async def _belonging(self) -> None:
        """While it hears of no leader: whether that is because it was removed while it was away.

        Raises: MemberRemoved.
        """
        leadership, backoff = self._member.leadership, Backoff(*BELONGING_MS)
        looked = 0
        try:
            while True:
                while leadership.leader is not None:
                    if looked > 1:
                        log.info("a master leads again", leader=leadership.leader.name)
                    looked = 0
                    backoff.reset()
                    await leadership.changed()
                await asyncio.sleep(backoff.next_ms() / 1000)
                if leadership.leader is None:
                    looked += 1
                    # An election may have taken the first time.
                    if looked == 2:
                        log.warning("no master leads: too few of them run, or they cannot reach each other")
                    await self._ask_whether_removed()
        except StoreUnavailable as error:
            # The member says why.
            log.debug("the store has ended", why=error)
            await self._member.failed()

    async def _ask_whether_removed(self) -> None:
        member = self._member
        own = int(member.member_id, 16)
        others = [info.peer_addresses for info in member.membership() if info.id != own]
        answers = await ask_hello([at for addresses in others for at in addresses], cluster=member.cluster_id)
        for answer in answers.values():
            if isinstance(answer, ApiError) or not answer.leader or answer.leader != answer.member:
                continue
            if own not in configuration_from_wire(answer.configuration).everyone:
                raise MemberRemoved(
                    f"the cluster has removed {member.name}: {self._settings.data_dir} is of no more use. To "
                    "have it back, move that away and start it with --join and another master's API address"
                )

    async def _promotion(self) -> None:
        """A learner asks for its vote until it has it."""
        backoff = Backoff(*PROMOTION_MS)
        while True:
            own = self._own()
            if own is not None and own.is_voter:
                return
            try:
                await self._member.promote_member(int(self._member.member_id, 16))
            except (MembershipRefused, StoreUnavailable) as error:
                log.debug("no vote yet", why=error)
                await asyncio.sleep(backoff.next_ms() / 1000)
            else:
                log.info("this master has caught up and has a vote", master=self._settings.name)
                return


class Introduction:
    """What this master answers to Hello, which others ask from before its store is open."""

    def __init__(self, *, is_new: bool) -> None:
        """is_new: it has never run on its data directory."""
        self._is_new = is_new
        self.member: Member | None = None

    def hello(self) -> pb.HelloResponse:
        """What the member knows of the cluster; nothing, for a master that is new.

        Raises: Unavailable while one that has run before opens its store: who asks whether it is known must
        not take that for a no.
        """
        if self.member is not None:
            return _hello(self.member)
        if not self._is_new:
            raise Unavailable("this master is still opening its store: ask again", retry_after_ms=100)
        return pb.HelloResponse()


async def open_embedded(settings: MasterSettings) -> Embedded:
    """Opens the store, having found out with whom.

    Raises: OrchestraError when the disk, the peers or the flags say that it must not.
    """
    introduction = Introduction(is_new=not await asyncio.to_thread(has_run, settings.data_dir))
    links = PeerLinks(introduction.hello) if settings.peer_listen else None
    try:
        if links is not None:
            await links.listen(settings.peer_listen)
        member = await Member.open(
            settings.data_dir, settings.name, bootstrap=await first_start(settings), transport=links
        )
    except BaseException:
        if links is not None:
            await links.close()
        raise
    introduction.member = member
    if links is not None:
        links.identify(member.cluster_id, int(member.member_id, 16), [settings.peer_advertise])
    return Embedded(settings, member, links)


def _hello(member: Member) -> pb.HelloResponse:
    """What this member knows of the cluster.

    A leader's word, by which others learn that they were removed, is of what is committed: a change that
    never comes true removes nobody.
    """
    core = member.core
    leads = core.leader == core.node
    return pb.HelloResponse(
        cluster=member.cluster_id,
        member=int(member.member_id, 16),
        leader=member.leader,
        configuration=configuration_to_wire(
            core.configuration_at(core.commit) if leads else core.configuration
        ),
    )
