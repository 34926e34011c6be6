"""Why the core does not take a request. All of them can be retried, here or at the leader."""

from orchestra.base.errors import OrchestraError


class RaftRefused(OrchestraError):
    """The request was not taken and has no effect."""


class NotLeader(RaftRefused):
    """Only the leader can do it. leader: who it is as far as this member knows; 0 if nobody."""

    def __init__(self, leader: int) -> None:
        where = f"{leader:016x} is" if leader else "there is none that this member knows"
        super().__init__(f"this member is not the leader: {where}")
        self.leader = leader


class TooManyPending(RaftRefused):
    """The leader's entries that are not committed yet have reached their bound."""


class ChangePending(RaftRefused):
    """A change of the membership is under way; one at a time."""


class NotCaughtUp(RaftRefused):
    """The member asked for does not follow the log closely enough."""
