"""member: the masters of the cluster, and how they come and go."""

import asyncio

from orchestra.base.errors import ApiError, NotFound, OrchestraError, UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import NO_HEADERS, Flag
from orchestra.cli.printing.members import COLUMNS, data, name, ordered, role, row
from orchestra.cli.session import Session
from orchestra.objects.names import dns_subdomain
from orchestra.pb import api_v1_pb2 as api

LEADER_SECONDS = 2.0
_FORMS = ("json", "name", "wide", "yaml")
OUTPUT = Flag("output", "json, yaml, name or wide.", "o")


def _one(session: Session) -> str:
    if len(session.words) != 1:
        raise UsageError("exactly one member, by its NAME or ID, is required")
    return session.words[0]


def _none(session: Session) -> None:
    if session.words:
        raise UsageError(f"unexpected args: {session.words}")


def _form(session: Session) -> str:
    form = session.options.output
    if form and form not in _FORMS:
        raise UsageError(
            f'unable to match a printer suitable for the output format "{form}", '
            f"allowed formats are: {','.join(_FORMS)}"
        )
    return str(form)


def _print(session: Session, answer: api.MembersResponse, form: str) -> None:
    from orchestra.cli.printing.tables import plain_table

    members = ordered(answer.members)
    if form == "name":
        session.write("".join(name(member) + "\n" for member in members))
    elif form in ("json", "yaml"):
        from orchestra.cli.printing.structured import STRUCTURED

        session.write(STRUCTURED[form](data(answer)))
    else:
        rows = [row(member) for member in members]
        session.write(plain_table(COLUMNS, rows, headers=not session.options.no_headers))


def find_member(answer: api.MembersResponse, wanted: str) -> api.ClusterMember:
    """The member of that name or id. Raises: NotFound."""
    for member in answer.members:
        if wanted in (member.name, member.id):
            return member
    known = ", ".join(member.name or member.id for member in ordered(answer.members))
    raise NotFound(f'member "{wanted}" not found (there are: {known})', kind="members", name=wanted)


async def _list(session: Session) -> int:
    _none(session)
    form = _form(session)
    _print(session, await members_seen(session), form)
    return 0


async def members_seen(session: Session) -> api.MembersResponse:
    """The members, and whom of them the leader hears: only it can tell. Without it, each is asked itself."""
    answer = await session.client.members()
    leader = next((member for member in answer.members if member.leader), None)
    if leader is not None:
        if leader.HasField("active"):
            return answer
        told = await _asked(leader.api_address) if leader.api_address else None
        if told is not None:
            return told
    reached = [member for member in answer.members if member.api_address]
    answers = await asyncio.gather(*(_asked(member.api_address) for member in reached))
    for member, said in zip(reached, answers, strict=True):
        member.active = said is not None
    return answer


async def _asked(address: str) -> api.MembersResponse | None:
    """What the master there says; None when it does not answer."""
    from orchestra.client import Client

    try:
        async with Client(address, retry_seconds=0) as client:
            return await client.members(timeout=LEADER_SECONDS)
    except ApiError:
        return None


async def _add(session: Session) -> int:
    options, form = session.options, _form(session)
    if len(session.words) != 1:
        raise UsageError("exactly one NAME, the new master's, is required")
    new = session.words[0]
    if dns_subdomain(new):
        raise UsageError(f'''a master's name takes lower case letters, digits, "-" and "."; got "{new}"''')
    if not options.peer_addresses:
        raise UsageError("--peer-addresses is required: where the other masters will reach it, HOST:PORT")
    from orchestra.aio.rpc.channel import check_address

    for address in options.peer_addresses:
        check_address(address)
    client = session.client
    answer = await client.add_member(new, options.peer_addresses, learner=options.learner)
    if form:
        _print(session, answer, form)
        return 0
    added = find_member(answer, answer.added)
    session.say(f"Member {added.id} ({new}) added to cluster {answer.cluster}{' as learner' * added.learner}")
    apis = ",".join(m.api_address for m in answer.members if m.api_address) or session.settings.server
    session.say(
        f"Start it with:\n  orchestra master --name {new} --listen HOST:PORT "
        f"--peer-listen {options.peer_addresses[0]} --join {apis}"
    )
    return 0


async def _remove(session: Session) -> int:
    wanted = _one(session)
    client = session.client
    gone = find_member(await client.members(), wanted)
    answer = await client.remove_member(gone.id)
    session.say(f"Member {gone.id} ({gone.name}) removed from cluster {answer.cluster}")
    voters = [member for member in answer.members if not member.learner]
    if voters and len(voters) % 2 == 0:
        session.warn(
            f"{len(voters)} voting members are left, which bear the loss of no more than "
            f"{len(voters) - 1} would: add one"
        )
    return 0


async def _promote(session: Session) -> int:
    wanted = _one(session)
    answer = await session.client.promote_member(wanted)
    member = find_member(answer, wanted)
    session.say(f"Member {member.id} ({member.name}) promoted in cluster {answer.cluster}")
    return 0


async def _move_leader(session: Session) -> int:
    if len(session.words) > 1:
        raise UsageError("at most one member, by its NAME or ID, may be given")
    client = session.client
    wanted = session.words[0] if session.words else ""
    before = await client.members()
    target = find_member(before, wanted) if wanted else None
    old = next((member for member in before.members if member.leader), None)
    if target is not None and target.leader:
        session.say(f"Member {target.id} ({target.name}) leads already")
        return 0
    answer = await client.move_leader(target.id if target else "")
    new = next((member for member in answer.members if role(member) == "leader"), None)
    if new is None or (old is not None and new.id == old.id):
        raise OrchestraError("the leadership has not moved: see orchestra member list, and try again")
    moved = f" from {old.id} ({old.name})" if old else ""
    session.say(f"Leadership transferred{moved} to {new.id} ({new.name})")
    return 0


COMMANDS = (
    Command(
        "member",
        "List and change the masters of the cluster.",
        "SUBCOMMAND [options]",
        examples="""
        # Who they are, and who leads
        orchestra member list
        # A fourth one, which joins by itself; started on its own machine
        orchestra master --name m4 --listen 10.0.0.4:7070 --peer-listen 10.0.0.4:7071 --join 10.0.0.1:7070
        # One whose disk was lost goes, and comes again with an empty disk
        orchestra member remove m2
        """,
        commands=(
            Command("member add", "Make room for a master that is to be started with --join.",
                    "NAME --peer-addresses=HOST:PORT",
                    (Flag("learner", "It gets its vote when it has caught up, not at once.",
                          shape="bool", default=True),
                     NO_HEADERS, OUTPUT,
                     Flag("peer-addresses", "Where the other masters will reach it.", shape="list")),
                    "orchestra member add m4 --peer-addresses=10.0.0.4:7071", _add),
            Command("member list", "List the masters.", "", (NO_HEADERS, OUTPUT),
                    "orchestra member list -o wide", _list),
            Command("member move-leader", "Have another master lead (without a name: the most up to date).",
                    "[NAME | ID]", (), "orchestra member move-leader m2", _move_leader),
            Command("member promote", "Give a learner its vote.", "NAME | ID", (),
                    "orchestra member promote m4", _promote),
            Command("member remove", "Take a master out of the cluster for good.", "NAME | ID", (),
                    "orchestra member remove m2", _remove),
        ),
    ),
)  # fmt: skip
