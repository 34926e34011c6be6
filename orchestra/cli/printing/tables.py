"""Tables of objects: the columns of each kind, and a printer that keeps them aligned while it streams."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestra.cli.printing import cluster, pods, services, workloads
from orchestra.cli.printing.tabs import align, printable
from orchestra.cli.printing.words import labels_text, qualified
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    ApiObject,
    Kind,
)

_PADDING = 3
_WIDTH_MIN = 6


@dataclass(frozen=True, slots=True)
class Table:
    """A kind's columns, and the row of one object at one time: the wide columns' cells come last."""

    columns: tuple[str, ...]
    row: Callable[[ApiObject, int], list[str]]
    wide: tuple[str, ...] = ()


TABLES: Mapping[Kind, Table] = {
    POD: Table(pods.COLUMNS, pods.row, pods.WIDE_COLUMNS),
    DEPLOYMENT: Table(workloads.DEPLOYMENT_COLUMNS, workloads.deployment, workloads.WIDE_COLUMNS),
    REPLICA_SET: Table(workloads.REPLICA_SET_COLUMNS, workloads.replica_set, workloads.WIDE_COLUMNS),
    REPLICATION_CONTROLLER: Table(
        workloads.REPLICA_SET_COLUMNS, workloads.replication_controller, workloads.WIDE_COLUMNS
    ),
    SERVICE: Table(services.SERVICE_COLUMNS, services.service, services.SERVICE_WIDE_COLUMNS),
    ENDPOINT_SLICE: Table(services.SLICE_COLUMNS, services.endpoint_slice),
    NODE: Table(cluster.NODE_COLUMNS, cluster.node, cluster.NODE_WIDE_COLUMNS),
    NAMESPACE: Table(cluster.NAMESPACE_COLUMNS, cluster.namespace),
    EVENT: Table(cluster.EVENT_COLUMNS, cluster.event, cluster.EVENT_WIDE_COLUMNS),
}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table is wanted.

    with_kind: names as `pod/web`. label_columns: labels that get a column of their own.
    """

    wide: bool = False
    headers: bool = True
    with_namespace: bool = False
    with_kind: bool = False
    show_labels: bool = False
    label_columns: tuple[str, ...] = ()


def _cell(text: str) -> str:
    """The text on one line: what follows a line break is cut and marked."""
    ends = [at for at in map(text.find, "\n\r\f") if at >= 0]
    if ends:
        text = text[: min(ends)] + "..."
    return printable(text.replace("\t", " "))


class TablePrinter:
    """Prints one kind's objects, in as many parts as they come; the header stands over the first."""

    def __init__(self, kind: Kind, options: TableOptions) -> None:
        self._kind = kind
        self._table = TABLES[kind]
        self._options = options
        self._widths: list[int] = []
        self._headed = not options.headers

    def _header(self) -> list[str]:
        options = self._options
        names = ["NAMESPACE"] if options.with_namespace else []
        names += self._table.columns
        if options.wide:
            names += self._table.wide
        names += [label.rsplit("/", 1)[-1].upper() for label in options.label_columns]
        return [*names, "LABELS"] if options.show_labels else names

    def _row(self, obj: ApiObject, now_ns: int) -> list[str]:
        options = self._options
        cells = self._table.row(obj, now_ns)
        if options.with_kind and "NAME" in self._table.columns:
            at = self._table.columns.index("NAME")
            cells[at] = f"{qualified(self._kind)}/{cells[at]}"
        if not options.wide:
            del cells[len(self._table.columns) :]
        if options.with_namespace:
            cells.insert(0, obj.metadata.namespace)
        cells += [obj.metadata.labels.get(label, "") for label in options.label_columns]
        if options.show_labels:
            cells.append(labels_text(obj.metadata.labels))
        return cells

    def text(self, objects: Iterable[ApiObject], now_ns: int, *, first: Sequence[str] = ()) -> str:
        """The objects' lines, under the header if it is not out yet.

        first: cells to put before each row (the EVENT column of a watch).
        """
        rows = [[*first, *self._row(obj, now_ns)] for obj in objects]
        if not self._headed:
            self._headed = True
            rows.insert(0, [*(["EVENT"] if first else []), *self._header()])
        if not rows:
            return ""
        lines = "\n".join("\t".join(map(_cell, row)) for row in rows)
        return align(lines, padding=_PADDING, width_min=_WIDTH_MIN, widths=self._widths) + "\n"


class Lines:
    """A table of anything, printed in as many parts as it comes; the header stands over the first."""

    def __init__(self, header: Sequence[str], *, headers: bool = True) -> None:
        self._header: list[Sequence[str]] = [header] if headers else []
        self._widths: list[int] = []

    def text(self, rows: Iterable[Sequence[str]]) -> str:
        """The rows' lines, under the header if it is not out yet."""
        lines = [*self._header, *rows]
        self._header = []
        if not lines:
            return ""
        joined = "\n".join("\t".join(map(_cell, row)) for row in lines)
        return align(joined, padding=_PADDING, width_min=_WIDTH_MIN, widths=self._widths) + "\n"


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, headers: bool = True) -> str:
    """A table of anything, aligned as the objects' tables are."""
    return Lines(header, headers=headers).text(rows)
