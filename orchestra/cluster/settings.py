"""What can be set about a member. Each field says its unit and why it is what it is."""

from dataclasses import dataclass, field

from orchestra.mvcc.retention import Retention
from orchestra.storage.wal import SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """segment_bytes: a log file. snapshot_log_bytes, snapshot_log_entries: a snapshot is taken when the log
    since the last one has either, and (bytes) is as long as the last snapshot: writing a large state again
    and again for a few changes wears out the disk. retention: how much history is kept.
    """

    segment_bytes: int = SEGMENT_BYTES
    snapshot_log_bytes: int = 16 * 1024 * 1024
    snapshot_log_entries: int = 100_000
    retention: Retention = field(default_factory=Retention)
