"""How a run is told."""

from collections.abc import Iterable

from scripts.chaos_scenarios.trial import Row

VIOLATIONS_SHOWN = 5
VIOLATION_CHARS = 800


class Table:
    """A line for each scenario, and what does not hold below it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._width = max(len("SCENARIO"), *map(len, names))

    def head(self) -> str:
        """The names of the columns."""
        return self._cells(
            "SCENARIO", "FAULTS", "OK", "REFUSED", "UNKNOWN", "GAP MS", "SECONDS", "VERDICT", "CHECKED"
        )

    def line(self, row: Row) -> str:
        """How one went."""
        verdict = "FAILED" if row.violations else "ok"
        lines = [
            self._cells(
                row.scenario,
                str(row.faults),
                str(row.ok),
                str(row.refused),
                str(row.unknown),
                str(row.gap_ms),
                f"{row.seconds:.1f}",
                verdict,
                ", ".join(row.checked),
            )
        ]
        for violation in row.violations[:VIOLATIONS_SHOWN]:
            lines.append(f"  - {violation[:VIOLATION_CHARS]}")
        if len(row.violations) > VIOLATIONS_SHOWN:
            lines.append(f"  - and {len(row.violations) - VIOLATIONS_SHOWN} more")
        if row.violations:
            lines.append(f"  calls without an answer were told: {row.whys}")
            lines.append(f"  what was done, logs and data directories: {row.logs}")
        return "\n".join(lines)

    def _cells(self, name: str, *cells: str) -> str:
        widths = (6, 6, 7, 7, 6, 7, 7)
        numbers = [cell.rjust(width) for cell, width in zip(cells[:-2], widths[:-1], strict=True)]
        return "  ".join([name.ljust(self._width), *numbers, cells[-2].ljust(widths[-1]), cells[-1]])
