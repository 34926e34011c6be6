"""How much history is kept, decided by what was written and never by time."""

from dataclasses import dataclass

from orchestra.mvcc.commands import Compact
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import AlarmType


@dataclass(frozen=True, slots=True)
class Retention:
    """revisions: how many to keep at least. value_bytes: but never more than that in values."""

    revisions: int = 10_000
    value_bytes: int = 64 * 1024 * 1024


def plan_compaction(machine: Machine, retention: Retention) -> Compact | None:
    """The compaction that is due. At a tenth, or half of the bytes, too many: seldom, and much at a time."""
    if machine.alarms and machine.alarms.raised(AlarmType.CORRUPT):
        # It would be refused.
        return None
    kept = machine.revision - machine.compact_revision
    if kept > retention.revisions + max(retention.revisions // 10, 1):
        return Compact(machine.revision - retention.revisions)
    if machine.history.value_bytes > retention.value_bytes:
        revision = min(machine.history.revision_keeping(retention.value_bytes // 2), machine.revision)
        return Compact(revision) if revision > machine.compact_revision else None
    return None
