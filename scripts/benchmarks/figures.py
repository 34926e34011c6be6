"""One figure: what was measured, beside what it is held against."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """value: a latency's p50, with `p99` beside it. anchor: what ran on this machine in the same run."""

    name: str
    value: float
    unit: str
    p99: float | None = None
    anchor: str = ""
    anchor_value: float | None = None
    notes: dict[str, float | int | str] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line."""
        shown: dict[str, object] = {"name": self.name, "value": round(self.value, 3), "unit": self.unit}
        if self.p99 is not None:
            shown["p99"] = round(self.p99, 3)
        if self.anchor:
            shown["anchor"] = self.anchor
            shown["anchor_value"] = None if self.anchor_value is None else round(self.anchor_value, 3)
        return json.dumps(shown | self.notes)

    def as_text(self) -> str:
        """One line for a person."""
        tail = f"  p99 {self.p99:.1f}" if self.p99 is not None else ""
        beside = (
            f"  ({self.anchor}: {self.anchor_value:.1f})"
            if self.anchor and self.anchor_value is not None
            else ""
        )
        notes = "".join(f"  {key} {value}" for key, value in self.notes.items())
        return f"{self.name:24} {self.value:10.1f} {self.unit:10}{tail}{beside}{notes}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are no larger than."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def latency(
    name: str, values_ms: Sequence[float], *, anchor: str = "", anchor_value: float | None = None
) -> Figure:
    """The figure of a latency: p50, p99, and how many there were."""
    return Figure(
        name,
        percentile(values_ms, 0.5),
        "ms",
        percentile(values_ms, 0.99),
        anchor,
        anchor_value,
        {"n": len(values_ms)},
    )
