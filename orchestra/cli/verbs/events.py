"""events: what happened, oldest first."""

from collections.abc import Sequence

from orchestra.base.errors import UsageError
from orchestra.cli.arguments import select
from orchestra.cli.command import Command
from orchestra.cli.describe.writer import in_order
from orchestra.cli.flags import ALL_NAMESPACES, NO_HEADERS, OUTPUT, Flag
from orchestra.cli.printing.cluster import event_interval
from orchestra.cli.printing.output import output_of
from orchestra.cli.printing.tables import Lines
from orchestra.cli.session import Session
from orchestra.objects.kinds import EVENT
from orchestra.pb import core

_HEADER = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")


def event_row(event: core.Event, now_ns: int, with_namespace: bool) -> list[str]:
    """One line."""
    about = event.involvedObject
    row = [
        event_interval(event, now_ns),
        event.type,
        event.reason,
        f"{about.kind}/{about.name}",
        event.message.strip(),
    ]
    return [event.metadata.namespace, *row] if with_namespace else row


def _fields(target: str) -> str:
    if not target:
        return ""
    if target.count("/") != 1:
        raise UsageError("--for must be in resource/name form")
    kind, name = select([target]).targets[0]
    return f"involvedObject.kind={kind.kind},involvedObject.name={name}"


async def _events(session: Session) -> int:
    options = session.options
    if session.words:
        raise UsageError(f"unexpected args: {session.words}")
    output = output_of(options.output, headers=not options.no_headers)
    wanted = {kind.lower() for kind in options.types}
    if wanted - {"normal", "warning"}:
        raise UsageError("valid --types are Normal or Warning")
    fields = _fields(options.__dict__["for"])
    answer = await session.client.list(EVENT, session.namespace, fields=fields)
    lines = Lines(
        (["NAMESPACE"] if options.all_namespaces else []) + list(_HEADER), headers=not options.no_headers
    )

    def chosen(events: Sequence[core.Event]) -> list[core.Event]:
        return [event for event in events if not wanted or event.type.lower() in wanted]

    def show(events: Sequence[core.Event]) -> None:
        if output.tabular:
            now = session.now_ns()
            session.write(lines.text([event_row(event, now, options.all_namespaces) for event in events]))
        else:
            session.write(output.text(events, as_list=not options.watch))

    events = in_order(chosen(answer.items))
    if events or not output.tabular:
        show(events)
    elif not options.watch:
        where = "" if options.all_namespaces else f" in {session.settings.namespace} namespace."
        session.warn(f"No events found{where}")
    if options.watch:
        async with session.client.watch(
            EVENT, session.namespace, fields=fields, revision=answer.revision
        ) as watch:
            async for change in watch:
                if change.type != "DELETED" and change.obj is not None:
                    found = chosen([change.obj])
                    if found:
                        show(found)
    return 0


COMMANDS = (
    Command(
        "events",
        "List what happened in the namespace, oldest first.",
        "[--for TYPE/NAME] [--watch] [--types=Normal,Warning] [options]",
        (
            ALL_NAMESPACES,
            Flag("for", "Only what happened to this resource (TYPE/NAME)."),
            NO_HEADERS,
            OUTPUT,
            Flag("types", "Only Normal, or only Warning.", shape="list"),
            Flag("watch", "Go on with what happens from now on.", "w", shape="bool"),
        ),
        """
        orchestra events --for pod/web-5d4f8-x2x9p
        orchestra events --types=Warning -A -w
        """,
        _events,
    ),
)
