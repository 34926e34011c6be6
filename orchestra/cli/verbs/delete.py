"""delete: by file, by name, by label; and waiting until it is really gone."""

import asyncio

from orchestra.base.errors import ApiError, NotFound, OrchestraError, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.finding import find, scope
from orchestra.cli.flags import (
    ALL,
    ALL_NAMESPACES,
    DRY_RUN,
    FIELD_SELECTOR,
    FILENAME,
    OUTPUT,
    RECURSIVE,
    SELECTOR,
    Flag,
)
from orchestra.cli.printing.words import object_name, qualified
from orchestra.cli.session import Session
from orchestra.cli.waiting import gone
from orchestra.client.types import Propagation
from orchestra.objects.kinds import ApiObject, kind_of

_CASCADES: dict[str, Propagation] = {
    "background": "Background",
    "foreground": "Foreground",
    "orphan": "Orphan",
    "true": "Background",
    "false": "Orphan",
}
# Deletes under way at once.
_AT_ONCE = 16


def _grace_seconds(session: Session) -> int | None:
    """What the flags say together about the grace period; None: the object's own.

    Raises: UsageError for flags that contradict each other.
    """
    options = session.options
    if options.now and "grace-period" in session.given:
        raise UsageError("--now and --grace-period cannot be specified together")
    grace = 1 if options.now else int(options.grace_period)
    if grace == 0 and not options.force:
        # kubectl's rule: 0 means force, so without --force it becomes the shortest graceful stop.
        grace = 1
    if options.force and grace < 0:
        grace = 0
    if options.force and grace > 0:
        raise UsageError("--force and --grace-period greater than 0 cannot be specified together")
    return grace if grace >= 0 else None


async def _delete(session: Session) -> int:
    options = session.options
    changes = Changes(session)
    cascade = _CASCADES.get(options.cascade)
    if cascade is None:
        raise UsageError(
            f'invalid cascade value ({options.cascade}). Must be "background", "foreground", or "orphan"'
        )
    grace = _grace_seconds(session)
    found = await find(session)
    if options.ignore_not_found or options.all:
        found.failures.clear()
    if not found.objects and not found.failures:
        session.say("No resources found")
        return 0
    if options.force and not changes.client_only:
        session.warn(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been "
            "terminated. The resource may continue to run on the cluster indefinitely."
        )
    bound = asyncio.Semaphore(_AT_ONCE)

    async def one(obj: ApiObject) -> ApiObject | None:
        """Deletes one; the object if its going has to be waited for."""
        async with bound:
            return await _one(session, changes, obj, cascade, grace)

    answers = await asyncio.gather(*(one(obj) for obj in found.objects), return_exceptions=True)
    failures = [*found.failures]
    waited = []
    for obj, answer in zip(found.objects, answers, strict=True):
        if isinstance(answer, NotFound) and (options.ignore_not_found or options.all):
            continue
        if isinstance(answer, ApiError):
            failures.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        elif answer is not None:
            waited.append(obj)
    if options.wait and waited:
        await _wait(session, waited)
    if failures:
        raise Reported([line for failure in failures for line in sentences(failure)])
    return 0


async def _one(
    session: Session, changes: Changes, obj: ApiObject, cascade: Propagation, grace: int | None
) -> ApiObject | None:
    kind = kind_of(obj)
    removed = True
    if not changes.client_only:
        _, removed = await session.client.delete(
            kind,
            scope(kind, obj.metadata.namespace),
            obj.metadata.name,
            propagation=cascade,
            grace_seconds=grace,
            uid=obj.metadata.uid or None,
            dry_run=changes.server_only,
        )
    if session.options.output == "name":
        session.say(object_name(obj))
    else:
        force = "force " if session.options.force else ""
        changes.line(f'{qualified(kind)} "{obj.metadata.name}" {force}deleted')
    return None if removed or changes.server_only else obj


async def _wait(session: Session, objects: list[ApiObject]) -> None:
    seconds = session.options.timeout or None
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(gone(session.client, obj) for obj in objects))
    except TimeoutError:
        raise OrchestraError(
            "timed out waiting for the condition: what is deleted is still stopping"
        ) from None


COMMANDS = (
    Command(
        "delete",
        "Delete resources by file, by name, or by label, and wait until they are gone.",
        "(-f FILE | TYPE NAME... | TYPE/NAME... | TYPE (-l label | --all)) [options]",
        (
            ALL,
            ALL_NAMESPACES,
            Flag("cascade", "What happens to what it owns: background, foreground or orphan.",
                 default="background", bare="background"),
            DRY_RUN,
            FIELD_SELECTOR,
            FILENAME,
            Flag("force", "Remove it at once, without waiting for its processes to end.", shape="bool"),
            Flag("grace-period", "Seconds to end in; negative: its own setting.", shape="int", default=-1),
            Flag("ignore-not-found", "An object that is not there is no failure.", shape="bool"),
            Flag("now", "The same as --grace-period=1.", shape="bool"),
            OUTPUT,
            RECURSIVE,
            SELECTOR,
            Flag("timeout", "How long to wait; 0: as long as it takes.", shape="duration"),
            Flag("wait", "Wait until it is gone.", shape="bool", default=True),
        ),
        """
        # What a file created
        orchestra delete -f web.yaml
        # By name, by label, all of a kind
        orchestra delete deploy/web svc/web
        orchestra delete pods -l app=web
        orchestra delete pods --all
        # Without waiting for the processes
        orchestra delete pod web-1 --force --grace-period=0
        """,
        _delete,
    ),
)  # fmt: skip
