"""What can be set about a member. Each field says its unit and why it is what it is."""

from dataclasses import dataclass, field

from orchestra.mvcc.retention import Retention
from orchestra.storage.wal import SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """segment_bytes: a log file. snapshot_log_bytes, snapshot_log_entries: a snapshot is taken when the log
    since the last one has either, and (bytes) is twice as long as the last snapshot: writing a large state
    again and again for a few changes wears out the disk. retention: how much history is kept.

    tick_ms, election_ticks, heartbeat_ticks: a leader that is silent for election_ticks to twice that is
    replaced. propose_timeout_ms: how long a request waits for a leader and a majority. resend_ms: until a
    request without an answer is sent again. retry_full_ms: between two tries to write on a full disk.
    snapshot_catch_up_entries, snapshot_catch_up_bytes: how much of the log stays in memory for members that
    are a little behind, who need no whole snapshot then; snapshot_catch_up_bytes_max: for one that is further
    behind. append_bytes_max, inflight_max: one message of the log to another member, and how many may be on
    their way to it.
    """

    segment_bytes: int = SEGMENT_BYTES
    snapshot_log_bytes: int = 64 * 1024 * 1024
    snapshot_log_entries: int = 100_000
    retention: Retention = field(default_factory=Retention)
    tick_ms: int = 50
    election_ticks: int = 10
    heartbeat_ticks: int = 2
    propose_timeout_ms: int = 5000
    resend_ms: int = 500
    retry_full_ms: int = 250
    snapshot_catch_up_entries: int = 5000
    snapshot_catch_up_bytes: int = 4 * 1024 * 1024
    snapshot_catch_up_bytes_max: int = 32 * 1024 * 1024
    append_bytes_max: int = 512 * 1024
    inflight_max: int = 64
