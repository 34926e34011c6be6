"""Alarms: what is refused while one is raised, by etcd's rule, and that they are part of the state."""

import pytest

from orchestra.mvcc.alarms import AlarmResult
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseCheckpoint,
    LeaseExpire,
    LeaseGrant,
    LeaseRevoke,
)
from orchestra.mvcc.errors import Corrupt, Refused, SpaceExceeded
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import AlarmMember, AlarmType, DeleteRange, Put, Range, Txn
from orchestra.mvcc.retention import Retention, plan_compaction
from orchestra.mvcc.snapshot import restore, snapshot, state_hash

NOSPACE, CORRUPT = AlarmType.NOSPACE, AlarmType.CORRUPT


def apply(machine: Machine, command: Command) -> object:
    return machine.apply(machine.applied_index + 1, command)


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    apply(made, LeaseGrant(7, 10))
    apply(made, LeaseGrant(8, 10))
    for key in (b"a", b"b", b"c"):
        apply(made, Txn((), (Put(key, b"1", 8),)))
    return made


PUT = Put(b"x", b"")
COMMANDS: tuple[tuple[Command, bool, bool], ...] = (
    # The command, whether NOSPACE refuses it, whether CORRUPT does.
    (Txn((), (PUT,)), True, True),
    (Txn((), (), (PUT,)), True, True),
    (Txn((), (Txn((), (), (PUT,)),)), True, True),
    (Txn((), (Put(b"a", b"", ignore_value=True),)), True, True),
    (Txn((), (DeleteRange(b"a"),)), False, True),
    (Txn((), (Txn((), (DeleteRange(b"a"), Range(b"b"))),)), False, True),
    (LeaseGrant(9, 10), True, True),
    (LeaseRevoke(7), False, True),
    (LeaseExpire((7,)), False, False),
    (LeaseCheckpoint(((7, 5),)), False, False),
    (Compact(3), False, True),
)


@pytest.mark.parametrize(("command", "adds", "writes"), COMMANDS)
@pytest.mark.parametrize("raised", [(), (NOSPACE,), (CORRUPT,), (NOSPACE, CORRUPT)])
def test_what_is_refused(
    machine: Machine, command: Command, adds: bool, writes: bool, raised: tuple[AlarmType, ...]
) -> None:
    for alarm in raised:
        apply(machine, AlarmActivate(AlarmMember(1, alarm)))
    refusals: tuple[type[Refused], ...] = ()
    if CORRUPT in raised and writes:
        refusals = (Corrupt,)
    elif NOSPACE in raised and adds:
        refusals = (SpaceExceeded,)
    if refusals:
        before = (machine.applied_index, machine.revision)
        with pytest.raises(refusals):
            apply(machine, command)
        assert (machine.applied_index, machine.revision) == (before[0] + 1, before[1])
        for alarm in raised:
            apply(machine, AlarmDeactivate(AlarmMember(1, alarm)))
    apply(machine, command)


def test_reads_go_on(machine: Machine) -> None:
    for alarm in (NOSPACE, CORRUPT):
        apply(machine, AlarmActivate(AlarmMember(1, alarm)))
    assert machine.range(Range(b"\0", b"\0")).count == 3
    assert machine.read_txn(Txn((), (Range(b"a"),))).succeeded


def test_alarms_are_raised_and_ended_by_member(machine: Machine) -> None:
    alarms = [AlarmMember(2, CORRUPT), AlarmMember(2, NOSPACE), AlarmMember(1, NOSPACE)]
    for alarm in alarms:
        assert apply(machine, AlarmActivate(alarm)) == AlarmResult(machine.revision, (alarm,))
    # Once more is nothing new.
    assert apply(machine, AlarmActivate(alarms[0])) == AlarmResult(machine.revision, (alarms[0],))
    assert machine.alarms.raised() == [alarms[2], alarms[1], alarms[0]]
    assert machine.alarms.raised(NOSPACE) == [alarms[2], alarms[1]]
    assert machine.alarms.raised(CORRUPT) == [alarms[0]]
    assert apply(machine, AlarmDeactivate(alarms[1])) == AlarmResult(machine.revision, (alarms[1],))
    assert apply(machine, AlarmDeactivate(alarms[1])) == AlarmResult(machine.revision, ())
    # The other member's holds on.
    apply(machine, AlarmDeactivate(alarms[0]))
    with pytest.raises(SpaceExceeded):
        apply(machine, Txn((), (PUT,)))
    apply(machine, AlarmDeactivate(alarms[2]))
    apply(machine, Txn((), (PUT,)))


def test_alarms_outlive_a_restart(machine: Machine) -> None:
    without = state_hash(machine)
    apply(machine, AlarmActivate(AlarmMember(2**64 - 1, NOSPACE)))
    restored = restore(snapshot(machine))
    assert restored.alarms.raised() == [AlarmMember(2**64 - 1, NOSPACE)]
    assert state_hash(restored) == state_hash(machine) != without


def test_no_compaction_is_planned_that_would_be_refused(machine: Machine) -> None:
    retention = Retention(revisions=1)
    assert plan_compaction(machine, retention) is not None
    apply(machine, AlarmActivate(AlarmMember(1, CORRUPT)))
    assert plan_compaction(machine, retention) is None
