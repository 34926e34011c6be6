"""What clients were promised about their leases."""

from dataclasses import dataclass, field

from tests.simulation.group.record import Record, Violation

# Clocks of the world run between 0.97 and 1.03 times as fast as they should.
CLOCK_SHARE = 0.97 / 1.03


@dataclass(slots=True)
class Promises:
    """Until when each lease was promised to live, and which were to be revoked."""

    until: dict[int, float] = field(default_factory=dict)
    revoking: set[int] = field(default_factory=set)

    def promised(self, lease: int, invoked: float, ttl_seconds: int) -> None:
        """A grant or renewal was answered; it had been asked for at `invoked`."""
        until = invoked + ttl_seconds * CLOCK_SHARE
        self.until[lease] = max(self.until.get(lease, 0.0), until)

    def check(self, record: Record) -> None:
        """Raises: Violation when one ended early. A lease's number is given once in a world."""
        for moment, lease, expired in record.lease_ends:
            until = self.until.get(lease, 0.0)
            if expired and moment < until:
                raise Violation(f"lease {lease} was ended at {moment:.3f} and promised until {until:.3f}")
            if not expired and lease not in self.revoking:
                raise Violation(f"lease {lease} was revoked, which nobody had asked for")
