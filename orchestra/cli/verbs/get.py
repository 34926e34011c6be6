"""get: tables, watches, and objects as yaml, json, names, templates."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from orchestra.base.errors import Expired, NotFound, UsageError
from orchestra.cli.arguments import Selection, select
from orchestra.cli.command import Command
from orchestra.cli.finding import Found, check_words, filenames, find, scope
from orchestra.cli.flags import (
    ALL_NAMESPACES,
    FIELD_SELECTOR,
    FILENAME,
    MANAGED_FIELDS,
    NO_HEADERS,
    OUTPUT,
    RECURSIVE,
    SELECTOR,
    Flag,
)
from orchestra.cli.printing.output import Output, output_of
from orchestra.cli.printing.tables import TableOptions, TablePrinter
from orchestra.cli.session import Session
from orchestra.client.types import WatchEvent
from orchestra.objects.kinds import ApiObject, Kind, kind_of


def _table_options(session: Session, output: Output, *, with_kind: bool, namespaced: bool) -> TableOptions:
    options = session.options
    return TableOptions(
        wide=output.form == "wide",
        headers=not options.no_headers,
        with_namespace=options.all_namespaces and namespaced,
        with_kind=with_kind or options.show_kind,
        show_labels=options.show_labels,
        label_columns=tuple(options.label_columns),
    )


def _sorted(expression: str, objects: Sequence[ApiObject]) -> list[ApiObject]:
    if not expression:
        return list(objects)
    from orchestra.cli.printing.columns import sort_by
    from orchestra.cli.printing.structured import manifest

    return [objects[at] for at in sort_by(expression, [manifest(obj) for obj in objects])]


def _none_found(session: Session, kinds: Sequence[Kind]) -> str:
    if session.options.all_namespaces or not any(kind.namespaced for kind in kinds):
        return "No resources found"
    return f"No resources found in {session.settings.namespace} namespace."


def _print_tables(
    session: Session, output: Output, found: Found, kinds: Sequence[Kind], with_kind: bool
) -> None:
    """One table for each kind, a blank line between."""
    now = session.now_ns()
    printed = 0
    for kind in kinds:
        objects = [obj for obj in found.objects if kind_of(obj) is kind]
        if not objects:
            continue
        if printed:
            session.write("\n")
        printed += 1
        table = TablePrinter(
            kind, _table_options(session, output, with_kind=with_kind, namespaced=kind.namespaced)
        )
        session.write(table.text(_sorted(session.options.sort_by, objects), now))
    if not printed and not found.failures and not session.options.ignore_not_found:
        session.warn(_none_found(session, kinds))


async def _get(session: Session) -> int:
    options = session.options
    output = output_of(
        options.output, headers=not options.no_headers, managed_fields=options.show_managed_fields
    )
    selection = Selection() if filenames(session) else select(session.words)
    if not filenames(session) and not session.words:
        raise UsageError('you must specify the type of resource to get: see "orchestra api-resources"')
    if options.watch or options.watch_only:
        return await _watch(session, output, selection)
    found = await find(session, need_names=False)
    if options.ignore_not_found:
        found.failures.clear()
    if output.tabular:
        kinds = selection.kinds or tuple({kind_of(obj).kind: kind_of(obj) for obj in found.objects}.values())
        _print_tables(session, output, found, kinds, selection.several or len(kinds) > 1)
    elif found.objects or (found.as_list and not selection.targets):
        objects = _sorted(options.sort_by, found.objects)
        session.write(output.text(objects, as_list=found.as_list))
    found.raise_failures()
    return 0


async def _events(session: Session, kind: Kind, name: str, revision: int | None) -> AsyncIterator[WatchEvent]:
    options = session.options
    fields = f"metadata.name={name}" if name else options.field_selector
    async with session.client.watch(
        kind, scope(kind, session.namespace), labels=options.selector, fields=fields, revision=revision
    ) as watch:
        async for event in watch:
            yield event


def _printer(session: Session, output: Output, kind: Kind) -> "_Rows":
    table = TablePrinter(kind, _table_options(session, output, with_kind=False, namespaced=kind.namespaced))
    return _Rows(session, output, table)


class _Rows:
    """What a watch prints: rows of a table, or whole objects one after another."""

    def __init__(self, session: Session, output: Output, table: TablePrinter) -> None:
        self._session = session
        self._output = output
        self._table = table

    def show(self, objects: Sequence[ApiObject], event: str = "ADDED") -> None:
        """Prints objects as they are now."""
        marked = self._session.options.output_watch_events
        if self._output.tabular:
            first = (event,) if marked else ()
            self._session.write(self._table.text(objects, self._session.now_ns(), first=first))
            return
        for obj in objects:
            if marked and self._output.form in ("json", "yaml"):
                from orchestra.cli.printing.structured import json_text, manifest, yaml_text

                data = {"type": event, "object": manifest(obj, managed_fields=self._output.managed_fields)}
                self._session.write(
                    json_text(data) if self._output.form == "json" else "---\n" + yaml_text(data)
                )
                continue
            self._session.write("---\n" if self._output.form == "yaml" else "")
            self._session.write(self._output.text([obj], as_list=False))
            if self._output.form == "jsonpath":
                self._session.write("\n")


async def _watch(session: Session, output: Output, selection: Selection) -> int:
    options = session.options
    if filenames(session):
        raise UsageError("-w goes with a type or a name, not with -f")
    if len(selection.kinds) != 1 or len(selection.targets) > 1:
        raise UsageError("you may only specify a single resource type or name with -w")
    if options.sort_by:
        raise UsageError("--watch and --sort-by exclude each other: rows are printed as they come")
    check_words(session, selection, need_names=False)
    kind = selection.kinds[0]
    name = selection.targets[0][1] if selection.targets else ""
    rows = _printer(session, output, kind)
    while True:
        revision = None
        if name:
            obj = await session.client.get(kind, scope(kind, session.namespace), name)
            revision, first = int(obj.metadata.resourceVersion or 0), [obj]
        else:
            answer = await session.client.list(
                kind,
                scope(kind, session.namespace),
                labels=options.selector,
                fields=options.field_selector,
            )
            revision, first = answer.revision, answer.items
        if not options.watch_only and first:
            rows.show(first)
        try:
            async for event in _events(session, kind, name, revision):
                if event.obj is not None:
                    rows.show([event.obj], event.type)
        except Expired:
            # What was missed cannot be told any more: show everything as it is now and go on from there.
            await asyncio.sleep(0)
            continue
        except NotFound:
            return 0
        return 0


COMMANDS = (
    Command(
        "get",
        "Display one or many resources, as a table or as -o asks.",
        "(TYPE [NAME...] | TYPE/NAME... | -f FILE) [options]",
        (
            ALL_NAMESPACES,
            FIELD_SELECTOR,
            FILENAME,
            RECURSIVE,
            SELECTOR,
            OUTPUT,
            NO_HEADERS,
            MANAGED_FIELDS,
            Flag("ignore-not-found", "An object that is not there is no failure.", shape="bool"),
            Flag("label-columns", "Labels that get a column of their own.", "L", shape="list"),
            Flag("output-watch-events", "With -w, say what happened to each object.", shape="bool"),
            Flag("show-kind", "Show names with their kind.", shape="bool"),
            Flag("show-labels", "Show all labels in the last column.", shape="bool"),
            Flag("sort-by", "Order by what a path finds (.metadata.creationTimestamp)."),
            Flag("watch", "After the table, every change as it comes.", "w", shape="bool"),
            Flag("watch-only", "Only the changes.", shape="bool"),
        ),
        """
        # The pods of the namespace
        orchestra get pods
        # Everything, with more columns
        orchestra get all -A -o wide
        # One deployment as yaml
        orchestra get deploy web -o yaml
        # Pods by label, as they change
        orchestra get po -l app=web -w
        # Only names and nodes
        orchestra get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName
        """,
        _get,
    ),
)
