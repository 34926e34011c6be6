"""A master's first start: alone, together with others, or into a cluster that runs."""

import asyncio
from pathlib import Path

from orchestra.aio.backoff import Backoff
from orchestra.base.errors import ApiError, OrchestraError, PreconditionFailed, Unavailable
from orchestra.base.log import get_logger
from orchestra.cli.masters.settings import MasterSettings
from orchestra.client import Client
from orchestra.cluster import bootstrap
from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.hello import ask_hello
from orchestra.cluster.membership import MemberInfo, encode
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import Configuration
from orchestra.storage.disk import SystemDisk
from orchestra.storage.identity import load_identity

log = get_logger("master")

HELLO_MS = (50, 1_000)
HELLO_SECONDS = 1.0
# How long the masters of a running cluster are looked for, and another's joining is waited for.
JOIN_SECONDS = 60.0
JOIN_MS = (200, 2_000)
# How long an answer may take before that is told.
PATIENCE_SECONDS = 2.0


async def first_start(settings: MasterSettings) -> Bootstrap | None:
    """What this master's data directory is to be made with; None when it is there already.

    Raises: OrchestraError when it must not start empty, or is not let in.
    """
    if await asyncio.to_thread(has_run, settings.data_dir):
        return None
    if settings.join:
        return await _joined(settings)
    if settings.initial_cluster:
        members = {name: (address,) for name, address in settings.initial_cluster.items()}
        made = bootstrap.together(members, settings.name, settings.initial_cluster_token)
        if len(members) > 1:
            await _check_new(settings, made)
        return made
    return bootstrap.alone(settings.name, (settings.peer_advertise,) if settings.peer_advertise else ())


def has_run(data_dir: Path) -> bool:
    """Whether a master has run on a data directory. Blocks. Raises: OrchestraError."""
    disk = SystemDisk()
    try:
        return data_dir.is_dir() and load_identity(disk, data_dir) is not None
    except OSError as error:
        raise OrchestraError(f"{data_dir}: cannot be used as data directory ({error.strerror})") from error


async def _check_new(settings: MasterSettings, made: Bootstrap) -> None:
    """Begins only when a majority, itself included, knows nothing of an earlier life of this master: one that
    forgot what it promised would let two masters lead.
    """
    others = {name: at for name, at in settings.initial_cluster.items() if name != settings.name}
    needed = len(settings.initial_cluster) // 2 + 1
    backoff = Backoff(*HELLO_MS)
    told = False
    while True:
        answers = await ask_hello(list(others.values()), timeout_seconds=HELLO_SECONDS)
        known = [answer for answer in answers.values() if not isinstance(answer, ApiError)]
        for address, answer in answers.items():
            if not isinstance(answer, ApiError):
                _check_hello(settings, made, address, answer)
        if len(known) + 1 >= needed:
            return
        if not told:
            told = True
            silent = [name for name, at in others.items() if isinstance(answers[at], ApiError)]
            log.info("waiting for other masters of the initial cluster", silent=",".join(silent))
        await asyncio.sleep(backoff.next_ms() / 1000)


def _check_hello(settings: MasterSettings, made: Bootstrap, address: str, answer: pb.HelloResponse) -> None:
    if not answer.cluster:
        return
    name = settings.name
    join = "start it with --join and the API address of another master in place of --initial-cluster"
    members = pb.Membership.FromString(answer.configuration.context).members
    own = next((member for member in members if member.name == name), None)
    if own is not None and own.started and settings.peer_advertise in own.peer_addresses:
        raise OrchestraError(
            f"{settings.data_dir} is empty, but {name} has run in this cluster: without what it had written "
            "down it could break what it promised to the others. If its disk is lost, take it out with: "
            f"orchestra member remove {name}; then {join}"
        )
    if answer.cluster != made.cluster_id:
        raise OrchestraError(
            f"the master at {address} belongs to another cluster ({answer.cluster}) than "
            f"--initial-cluster would begin ({made.cluster_id}): give all masters the same list, or enter a "
            "cluster that runs with --join"
        )
    if own is None or own.id != made.member_id:
        raise OrchestraError(f"the cluster has removed {name}: to let it in again, {join}")


async def _joined(settings: MasterSettings) -> Bootstrap:
    """Asks to be let in, as a learner, unless `orchestra member add` has done so."""
    log.info("asking to be let in", masters=",".join(settings.join))
    async with Client(",".join(settings.join), retry_seconds=JOIN_SECONDS) as client:
        answer = await _members(client)
        own = _named(answer, settings.name)
        if own is None:
            answer = await _added(client, settings)
            own = _named(answer, settings.name)
    if own is None:
        raise OrchestraError(f"the cluster has let {settings.name} in and removed it at once: try again")
    if own.started:
        raise OrchestraError(
            f"the cluster has a master named {settings.name} already, and {settings.data_dir} is empty: give "
            "this one another --name, or, if that one's disk is lost, take it out first with: "
            f"orchestra member remove {settings.name}"
        )
    if settings.peer_advertise not in own.peer_addresses:
        raise OrchestraError(
            f"{settings.name} was added with the peer address {','.join(own.peer_addresses)}, and listens at "
            f"{settings.peer_advertise}: give --peer-listen (or --advertise) that address, or add it anew"
        )
    log.info("let in", cluster=answer.cluster, member=own.id, learner=own.learner)
    return Bootstrap(answer.cluster, int(own.id, 16), settings.name, _configuration(answer))


async def _members(client: Client) -> api.MembersResponse:
    """Whoever waits for masters that do not answer is told so before the time is over."""
    asking = asyncio.ensure_future(client.members(timeout=JOIN_SECONDS))
    try:
        await asyncio.wait((asking,), timeout=PATIENCE_SECONDS)
        if not asking.done():
            log.warning(
                "no master answers yet: are these API addresses of masters that run?",
                masters=client.target,
                seconds_max=JOIN_SECONDS,
            )
        return await asking
    finally:
        asking.cancel()


async def _added(client: Client, settings: MasterSettings) -> api.MembersResponse:
    """One learner at a time: while another one catches up, this one waits."""
    backoff, told = Backoff(*JOIN_MS), ""
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            while True:
                try:
                    return await client.add_member(settings.name, (settings.peer_advertise,))
                except PreconditionFailed as error:
                    members = (await client.members()).members
                    if not any(member.learner for member in members):
                        raise
                    why: ApiError = error
                except Unavailable as error:
                    # Whether it was done is to be seen.
                    why, answer = error, await client.members()
                    if _named(answer, settings.name) is not None:
                        return answer
                if str(why) != told:
                    told = str(why)
                    log.info("waiting to be let in", why=why, seconds_max=JOIN_SECONDS)
                await asyncio.sleep(backoff.next_ms() / 1000)
    except TimeoutError:
        raise OrchestraError(
            f"not let in within {JOIN_SECONDS:g} s: {told or 'the masters do not answer'}; "
            "see orchestra member list"
        ) from None


def _named(answer: api.MembersResponse, name: str) -> api.ClusterMember | None:
    return next((member for member in answer.members if member.name == name), None)


def _configuration(answer: api.MembersResponse) -> Configuration:
    infos = [
        MemberInfo(
            int(member.id, 16),
            member.name,
            tuple(member.peer_addresses),
            member.api_address,
            member.etcd_address,
            member.started,
            is_learner=member.learner,
            is_voter=not member.learner,
        )
        for member in answer.members
    ]
    return Configuration(
        voters=frozenset(info.id for info in infos if info.is_voter),
        learners=frozenset(info.id for info in infos if info.is_learner),
        context=encode(infos),
    )
