"""Lines with levels and tab stops, and the pieces that every description has."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from orchestra.cli.printing.ages import since
from orchestra.cli.printing.cluster import event_interval
from orchestra.cli.printing.tabs import align, printable
from orchestra.pb import core, meta

_HIDDEN_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)
_ANNOTATION_CHARS_MAX = 140
_SECONDS_MAX = 253_402_300_799


class Writer:
    """Collects lines; `text` aligns them."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self._parts: list[str] = []
        self._lines: list[str] = []

    def line(self, text: str, level: int = 0) -> None:
        """One line; tabs separate its cells."""
        self._lines.append("  " * level + text)

    def field(self, name: str, value: object, level: int = 0) -> None:
        """`Name:   value`. A value of several lines is continued under itself."""
        first, *rest = str(value).split("\n")
        self.line(f"{name}:\t{first}", level)
        for more in rest:
            self.line(f"\t{more}", level)

    def many(self, name: str, values: Sequence[str], level: int = 0) -> None:
        """A name and its values, one a line, or `<none>`."""
        self.line(f"{name}:\t{values[0] if values else '<none>'}", level)
        for value in values[1:]:
            self.line(f"\t{value}" if not level else f"{'  ' * 0}\t{value}", level)

    def flush(self) -> None:
        """Ends the tab stops: what follows is aligned on its own."""
        self._parts.append(align("\n".join(map(printable, self._lines))))
        self._lines = []

    def text(self) -> str:
        """Everything, aligned."""
        self.flush()
        return "\n".join(part for part in self._parts if part) + "\n"


def moment(time: meta.Time) -> str:
    """`Mon, 02 Jan 2006 15:04:05 +0000`, as kubectl writes a time in words."""
    seconds = min(max(time.seconds, 0), _SECONDS_MAX)
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")


def labels(writer: Writer, name: str, values: Mapping[str, str], level: int = 0) -> None:
    """Labels, one a line."""
    writer.many(name, [f"{key}={values[key]}" for key in sorted(values)], level)


def annotations(writer: Writer, values: Mapping[str, str], level: int = 0) -> None:
    """Annotations, long ones cut, without the copy of the manifest that apply keeps for itself."""
    lines: list[str] = []
    for key in sorted(set(values) - set(_HIDDEN_ANNOTATIONS)):
        value = values[key].removesuffix("\n")
        if len(value) + len(key) + 2 > _ANNOTATION_CHARS_MAX or "\n" in value:
            lines.append(f"{key}:")
            most = _ANNOTATION_CHARS_MAX - 2
            lines += [
                "  " + (part[:most] + "..." if len(part) > most else part) for part in value.split("\n")
            ]
        else:
            lines.append(f"{key}: {value}")
    writer.many("Annotations", lines, level)


def head(writer: Writer, metadata: meta.ObjectMeta, *, namespaced: bool = True) -> None:
    """Name and namespace."""
    writer.field("Name", metadata.name)
    if namespaced:
        writer.field("Namespace", metadata.namespace)


def controlled_by(metadata: meta.ObjectMeta) -> str:
    """`ReplicaSet/web-5d4` of what controls the object, "" if nothing does."""
    owner = next((o for o in metadata.ownerReferences if o.controller), None)
    return f"{owner.kind}/{owner.name}" if owner else ""


def conditions(writer: Writer, found: Iterable[tuple[str, str, str]]) -> None:
    """Type, status and reason."""
    rows = list(found)
    if rows:
        writer.line("Conditions:")
        writer.line("Type\tStatus\tReason", 1)
        writer.line("----\t------\t------", 1)
        for kind, status, reason in rows:
            writer.line(f"{kind} \t{status}\t{reason}", 1)


def events(writer: Writer, found: Sequence[core.Event] | None) -> None:
    """The events, oldest first; None: not asked for."""
    if found is None:
        return
    if not found:
        writer.line("Events:\t<none>")
        return
    writer.flush()
    writer.line("Events:")
    writer.line("Type\tReason\tAge\tFrom\tMessage", 1)
    writer.line("----\t------\t----\t----\t-------", 1)
    for event in in_order(found):
        message = event.message.strip().replace("\n", " ")
        if event.involvedObject.fieldPath:
            message = f"{event.involvedObject.fieldPath}: {message}"
        source = event.source.component or event.reportingComponent
        interval = event_interval(event, writer.now_ns)
        writer.line(f"{event.type}\t{event.reason}\t{interval}\t{source}\t{message}", 1)


def in_order(found: Iterable[core.Event]) -> list[core.Event]:
    """Oldest first. Times are whole seconds: within one, the store's revision says what was written first."""
    return sorted(found, key=lambda event: (last_seen(event), int(event.metadata.resourceVersion or 0)))


def last_seen(event: core.Event) -> tuple[int, int]:
    """When it last happened."""
    times = (event.lastTimestamp, event.eventTime, event.firstTimestamp, event.metadata.creationTimestamp)
    return next(((time.seconds, time.nanos) for time in times if time.seconds), (0, 0))


def age(time: meta.Time, writer: Writer) -> str:
    """How long ago."""
    return since(time, writer.now_ns)
