"""explain: what a kind's fields are, read from the messages themselves."""

import difflib
import textwrap
from collections.abc import Iterator, Sequence

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.arguments import kind_word
from orchestra.cli.command import Command
from orchestra.cli.flags import Flag
from orchestra.cli.session import Session
from orchestra.objects.codec import Field, Schema, schema_of
from orchestra.objects.docs import field_doc, message_doc
from orchestra.objects.kinds import Kind

_WIDTH = 80
_TYPES = {"QUANTITY": "Quantity", "INT_OR_STRING": "IntOrString", "BOOL": "boolean", "RAW": "Object"}
_INTEGERS = ("INT32", "INT64", "UINT32", "UINT64")


def _short(schema: Schema) -> str:
    return schema.name.rsplit(".", 1)[-1]


def _scalar(shape: str) -> str:
    return "integer" if shape in _INTEGERS else _TYPES.get(shape, "string")


def type_name(field: Field) -> str:
    """`[]Container`, `map[string]string`, `integer`."""
    of = _short(field.schema) if field.schema is not None else _scalar(field.shape.name)
    return f"map[string]{of}" if field.mapping else f"[]{of}" if field.many else of


def _walk(kind: Kind, path: Sequence[str]) -> tuple[Schema, Field | None, Schema | None]:
    """The message that has the last field of the path, that field, and its own message.

    Raises: OrchestraError for a field there is not.
    """
    holder: Schema = schema_of(kind.message)
    field, inside = None, holder
    for step in path:
        if inside is None or step not in inside.by_name:
            near = difflib.get_close_matches(step, list(inside.by_name) if inside else [], 1, 0.6)
            hint = f', did you mean "{near[0]}"?' if near else ""
            raise OrchestraError(f'field "{step}" does not exist{hint}')
        holder, field = inside, inside.by_name[step]
        inside = field.schema  # type: ignore[assignment]
    return holder, field, inside


def _paragraph(text: str, indent: int) -> str:
    return textwrap.fill(
        text, _WIDTH - 2, initial_indent=" " * indent, subsequent_indent=" " * indent, break_long_words=False
    )


def _top_fields() -> Iterator[tuple[str, str, bool]]:
    yield "apiVersion", "string", False
    yield "kind", "string", False


def _fields(schema: Schema, *, top: bool) -> list[tuple[str, str, bool]]:
    """Name, type, and whether it is required, by name."""
    rows = [(field.name, type_name(field), field.required) for field in schema]
    return sorted([*rows, *(_top_fields() if top else ())])


def _recursive(schema: Schema, *, top: bool, level: int, above: tuple[str, ...]) -> Iterator[str]:
    for name, of, required in _fields(schema, top=top):
        yield f"{'  ' * level}{name}\t<{of}>{' -required-' if required else ''}"
        field = schema.by_name.get(name)
        inside = field.schema if field is not None else None
        if inside is not None and inside.name not in above:
            yield from _recursive(inside, top=False, level=level + 1, above=(*above, inside.name))


def explain_text(kind: Kind, path: Sequence[str], *, recursive: bool = False) -> str:
    """The whole answer.

    Raises: OrchestraError for a field there is not.
    """
    lines = [f"GROUP:      {kind.group}"] if kind.group else []
    lines += [f"KIND:       {kind.kind}", f"VERSION:    {kind.version}", ""]
    if len(path) == 1 and path[0] in ("apiVersion", "kind"):
        said = field_doc(kind.kind, path[0])
        lines += [f"FIELD: {path[0]} <string>", "", "", "DESCRIPTION:", _paragraph(said, 4), ""]
        return "\n".join(lines) + "\n"
    holder, field, inside = _walk(kind, path)
    said = message_doc(_short(inside)) if inside is not None else ""
    if field is not None:
        lines += [f"FIELD: {field.name} <{type_name(field)}>", "", ""]
        own = field_doc(_short(holder), field.name)
        said = own if not said or own == said else f"{own} {said}".strip()
    lines += ["DESCRIPTION:", _paragraph(said or "<no description>", 4), "    "]
    if inside is not None:
        lines.append("FIELDS:")
        top = not path
        if recursive:
            lines += _recursive(inside, top=top, level=1, above=(inside.name,))
        else:
            for name, of, required in _fields(inside, top=top):
                doc = field_doc(_short(inside), name)
                lines.append(f"  {name}\t<{of}>{' -required-' if required else ''}")
                lines += [_paragraph(doc or "<no description>", 4), ""]
    return "\n".join(lines) + "\n"


async def _explain(session: Session) -> int:
    if len(session.words) != 1:
        raise UsageError("you must specify the type of resource to explain: TYPE or TYPE.FIELD.FIELD")
    word, *path = session.words[0].strip(".").split(".")
    kind = kind_word(word)
    wanted = session.options.api_version
    if wanted and wanted != kind.api_version:
        raise OrchestraError(
            f"couldn't find resource for {wanted}, {kind.plural}: it is in {kind.api_version}"
        )
    # `deployments.apps.spec` names the group, too.
    group = kind.group.split(".") if kind.group else []
    if group and path[: len(group)] == group:
        path = path[len(group) :]
    session.write(explain_text(kind, path, recursive=session.options.recursive))
    return 0


COMMANDS = (
    Command(
        "explain",
        "Get documentation for a resource and its fields.",
        "TYPE[.FIELD...] [--recursive] [options]",
        (
            Flag("api-version", "The API version of the resource."),
            Flag("recursive", "Print the names of all fields, all the way down.", shape="bool"),
        ),
        """
        orchestra explain pods
        orchestra explain pod.spec.containers
        orchestra explain deploy --recursive
        """,
        _explain,
    ),
)
