"""apply: make the cluster what manifests say. Of an object with a mistake, nothing is applied."""

from orchestra.base.errors import ApiError, DeadlineExceeded, NotFound, Unavailable, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.errors import sentences
from orchestra.cli.files import in_order, load, place
from orchestra.cli.finding import filenames
from orchestra.cli.flags import (
    DRY_RUN,
    FIELD_MANAGER,
    FILENAME,
    MANAGED_FIELDS,
    OUTPUT,
    RECURSIVE,
    SELECTOR,
    Flag,
)
from orchestra.cli.session import Session
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.objects.selectors import parse_label_selector


async def _apply(session: Session) -> int:
    if session.words:
        raise UsageError(f"unexpected args: {session.words}")
    if not filenames(session):
        raise UsageError("must specify -f: a file, a folder, or - for standard input")
    changes = Changes(session)
    loaded = load(filenames(session), recursive=session.options.recursive)
    if not loaded.objects and not loaded.problems:
        raise UsageError("no objects passed to apply")
    failed = list(loaded.problems)
    objects = in_order(loaded.objects)
    place(objects, session.settings.namespace, session.settings.namespace_given)
    if session.options.selector:
        selector = parse_label_selector(session.options.selector)
        objects = [obj for obj in objects if selector.matches(obj.metadata.labels)]
    session.warn_all(failed)
    for obj in objects:
        failed += await _one(session, changes, obj)
    changes.finish()
    return 1 if failed else 0


async def _one(session: Session, changes: Changes, obj: ApiObject) -> list[str]:
    """Applies one object; the lines of what went wrong."""
    kind = kind_of(obj)
    if not obj.metadata.name:
        lines = [f'error: a {kind.kind} with generateName "{obj.metadata.generateName}": apply needs a name']
    else:
        try:
            if changes.client_only:
                try:
                    namespace = obj.metadata.namespace if kind.namespaced else ""
                    await session.client.get(kind, namespace, obj.metadata.name)
                    changes.tell(obj, "configured")
                except NotFound:
                    changes.tell(obj, "created")
                return []
            answer, outcome = await session.client.apply(obj, dry_run=changes.server_only)
            changes.tell(answer, outcome)
            return []
        except ApiError as error:
            if isinstance(error, Unavailable | DeadlineExceeded):
                raise
            lines = sentences(error)
    session.warn_all(lines)
    return lines


COMMANDS = (
    Command(
        "apply",
        "Make the cluster what manifests say: create what is not there, change what differs. "
        "All mistakes are listed with their line, and nothing of a wrong object is applied.",
        "-f FILENAME [options]",
        (
            FILENAME,
            RECURSIVE,
            SELECTOR,
            DRY_RUN,
            OUTPUT,
            MANAGED_FIELDS,
            FIELD_MANAGER,
            Flag("overwrite", "Always so: what the manifest says wins.", shape="bool", default=True),
            Flag("validate", "Always strict.", default="strict", bare="strict"),
        ),
        """
        # A file, a folder, or what another program writes
        orchestra apply -f web.yaml
        orchestra apply -f manifests/
        cat web.yaml | orchestra apply -f -
        # Only see what would happen
        orchestra apply -f web.yaml --dry-run=server
        """,
        _apply,
    ),
)
