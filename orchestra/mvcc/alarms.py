"""Alarms: what the whole cluster refuses while one of its members is in trouble.

Source: etcd's alarm store and its capped and corrupt appliers. Both alarms at once refuse what either does.
"""

from collections.abc import Sequence

from orchestra.mvcc.commands import Command, Compact, LeaseGrant, LeaseRevoke
from orchestra.mvcc.errors import Corrupt, SpaceExceeded
from orchestra.mvcc.model import AlarmMember, AlarmType, Put, Txn, record


@record
class AlarmResult:
    """The alarms that the command was about, if there are any. revision: the store's."""

    revision: int
    alarms: Sequence[AlarmMember]


class Alarms:
    """The alarms that are raised: part of the machine's state."""

    __slots__ = ("_raised",)

    def __init__(self) -> None:
        self._raised: set[AlarmMember] = set()

    def __len__(self) -> int:
        return len(self._raised)

    def raised(self, alarm: AlarmType = AlarmType.NONE) -> list[AlarmMember]:
        """The alarms of one type (NONE: all), by type and member."""
        found = [each for each in self._raised if alarm in (AlarmType.NONE, each.alarm)]
        return sorted(found, key=lambda each: (each.alarm, each.member))

    def activate(self, alarm: AlarmMember) -> Sequence[AlarmMember]:
        """The alarm, which is raised now if it was not before."""
        self._raised.add(alarm)
        return (alarm,)

    def deactivate(self, alarm: AlarmMember) -> Sequence[AlarmMember]:
        """The alarm that has ended; nothing if it was not raised."""
        if alarm not in self._raised:
            return ()
        self._raised.discard(alarm)
        return (alarm,)

    def check(self, command: Command) -> None:
        """Raises: SpaceExceeded, Corrupt: the command is refused while these alarms are raised.

        The end of leases by time is never refused: it is the store's own doing, and frees space.
        """
        types = {each.alarm for each in self._raised}
        if AlarmType.CORRUPT in types and isinstance(command, Txn | Compact | LeaseGrant | LeaseRevoke):
            raise Corrupt
        if AlarmType.NOSPACE in types and (
            isinstance(command, LeaseGrant) or (isinstance(command, Txn) and _puts(command))
        ):
            raise SpaceExceeded


def _puts(txn: Txn) -> bool:
    """Whether there is a put in either branch, however deep."""
    return any(
        isinstance(op, Put) or (isinstance(op, Txn) and _puts(op))
        for branch in (txn.success, txn.failure)
        for op in branch
    )
