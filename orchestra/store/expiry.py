"""Leases shared by what is written in one slice of time, so that forgetting costs nothing worth naming."""

from orchestra.base.clock import NS_PER_SECOND, Clock
from orchestra.base.errors import ApiError
from orchestra.store.access import Access
from orchestra.store.contract import LeaseNotFound

# How long an Event is kept, at least; at most a slice longer.
EVENT_TTL_SECONDS = 3600
SLICE_SECONDS = 300


class SharedLease:
    """A lease for what is to be forgotten after a while; a new one each slice, granted when first needed.

    What is put with it lives between `ttl_seconds` and a slice more.
    """

    def __init__(self, access: Access, clock: Clock, ttl_seconds: int = EVENT_TTL_SECONDS) -> None:
        self._access = access
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._lease = 0
        self._ends_ns = 0

    async def current(self) -> int:
        """The lease of this slice. Raises: Unavailable, DeadlineExceeded."""
        now_ns = self._clock.monotonic_ns()
        if not self._lease or now_ns >= self._ends_ns:
            self._lease = await self._access.lease_grant(self._ttl_seconds + SLICE_SECONDS)
            self._ends_ns = now_ns + SLICE_SECONDS * NS_PER_SECOND
        return self._lease

    def failed(self, error: ApiError) -> None:
        """A write with the lease has failed: if the lease is gone, the next one gets another."""
        if isinstance(error.__cause__, LeaseNotFound):
            self._lease = 0
