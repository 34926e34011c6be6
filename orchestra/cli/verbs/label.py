"""label and annotate: one implementation, two fields of the metadata."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.finding import find, scope
from orchestra.cli.flags import (
    ALL,
    ALL_NAMESPACES,
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_SELECTOR,
    FILENAME,
    OUTPUT,
    RECURSIVE,
    SELECTOR,
    Flag,
)
from orchestra.cli.printing.words import object_name
from orchestra.cli.session import Session
from orchestra.objects.kinds import ApiObject, kind_of


@dataclass(frozen=True, slots=True)
class Edits:
    """`a=b` and `c-`, taken apart. Keys are in one of the two, never in both."""

    set: Mapping[str, str]
    remove: tuple[str, ...]


def split_words(words: Sequence[str], what: str) -> tuple[list[str], Edits]:
    """The words that name resources, and the edits after them.

    Raises: UsageError for an edit that is none, or one that contradicts another.
    """
    first = next((at for at, word in enumerate(words) if _is_edit(word)), len(words))
    named, rest = list(words[:first]), words[first:]
    sets: dict[str, str] = {}
    removes: list[str] = []
    for word in rest:
        key, equals, value = word.partition("=")
        if equals and key:
            if key in sets:
                raise UsageError(f"{what} {key} is given twice")
            sets[key] = value
        elif word.endswith("-") and len(word) > 1:
            removes.append(word[:-1])
        else:
            raise UsageError(f'all resources must be specified before {what} changes: "{word}"')
    both = set(removes) & set(sets)
    if both:
        raise UsageError(f"can not both modify and remove {min(both)} in the same command")
    return named, Edits(sets, tuple(removes))


def _is_edit(word: str) -> bool:
    return "=" in word or (word.endswith("-") and len(word) > 1 and "/" not in word.rstrip("-")[-1:])


def _apply(edits: Edits, before: Mapping[str, str], overwrite: bool, what: str) -> dict[str, str | None]:
    """The patch's map: what differs from before, None for what goes.

    Raises: OrchestraError for a value that is there and must not be overwritten.
    """
    taken = [k for k, v in edits.set.items() if k in before and before[k] != v]
    if taken and not overwrite:
        said = "; ".join(f"'{k}' already has a value ({before[k]})" for k in taken)
        raise OrchestraError(f"{said}, and --overwrite is false")
    patch: dict[str, str | None] = {k: v for k, v in edits.set.items() if before.get(k) != v}
    patch.update({k: None for k in edits.remove if k in before})
    return patch


def _verb(what: str) -> Callable[[Session], Awaitable[int]]:
    field = "labels" if what == "label" else "annotations"

    async def run(session: Session) -> int:
        options = session.options
        changes = Changes(session)
        named, edits = split_words(session.words, what)
        if not named and not options.filename:
            raise UsageError(
                "one or more resources must be specified as <resource> <name> or <resource>/<name>"
            )
        if not edits.set and not edits.remove and not options.list:
            raise UsageError(f"at least one {what} update is required")
        session.words = named
        found = await find(session)
        failed: list[str] = []
        for obj in found.objects:
            if options.list:
                if found.as_list:
                    session.say(f"Listing {field} for {object_name(obj)}:")
                values: Mapping[str, str] = getattr(obj.metadata, field)
                for key in sorted(values):
                    session.say(f"{' ' if found.as_list else ''}{key}={values[key]}")
                if not edits.set and not edits.remove:
                    continue
            try:
                await _one(session, changes, obj, edits, what, field)
            except OrchestraError as error:
                failed += sentences(error)
        changes.finish()
        for failure in found.failures:
            failed += sentences(failure)
        if failed:
            raise Reported(failed)
        return 0

    return run


async def _one(
    session: Session, changes: Changes, obj: ApiObject, edits: Edits, what: str, field: str
) -> None:
    options, kind, metadata = session.options, kind_of(obj), obj.metadata
    patch = _apply(edits, getattr(metadata, field), options.overwrite, what)
    for key in edits.remove:
        if key not in getattr(metadata, field):
            session.warn(f'{what} "{key}" not found.')
    answer = obj
    if patch and not changes.client_only:
        body: dict[str, object] = {field: patch}
        if options.resource_version:
            body["resourceVersion"] = options.resource_version
        answer = await session.client.patch(
            kind,
            scope(kind, metadata.namespace),
            metadata.name,
            {"metadata": body},
            "merge",
            dry_run=changes.server_only,
        )
    if what == "annotate":
        changes.tell(answer, "annotated")
    else:
        removing = patch and all(value is None for value in patch.values())
        changes.tell(answer, "not labeled" if not patch else "unlabeled" if removing else "labeled")


def _command(what: str) -> Command:
    field = "labels" if what == "label" else "annotations"
    example = "stage=test" if what == "label" else "kubernetes.io/change-cause='more memory'"
    return Command(
        what,
        f"Update the {field} of resources: KEY=VALUE sets, KEY- removes.",
        "[--overwrite] (-f FILE | TYPE NAME | TYPE/NAME) KEY_1=VAL_1 ... KEY_N- [options]",
        (
            ALL,
            ALL_NAMESPACES,
            DRY_RUN,
            FIELD_MANAGER,
            FIELD_SELECTOR,
            FILENAME,
            Flag("list", f"Print the {field}.", shape="bool"),
            OUTPUT,
            Flag("overwrite", "Let a value replace another.", shape="bool"),
            RECURSIVE,
            Flag("resource-version", "Only if this is still its newest version."),
            SELECTOR,
        ),
        f"""
        # Set, replace, remove
        orchestra {what} deploy/web {example}
        orchestra {what} --overwrite deploy/web {example}
        orchestra {what} deploy/web {example.partition("=")[0]}-
        """,
        _verb(what),
    )


COMMANDS = (_command("label"), _command("annotate"))
