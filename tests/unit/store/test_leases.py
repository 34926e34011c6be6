"""The leases' owner, on the store in memory and a clock that moves when told."""

import asyncio

import pytest

from orchestra.base.clock import ManualClock
from orchestra.mvcc.commands import LeaseCheckpoint, LeaseExpire, LeaseGrant, decode
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.mvcc.machine import CommandResult, Machine
from orchestra.mvcc.model import Put, Range, Txn
from orchestra.store.contract import StoreUnavailable
from orchestra.store.leases import LeaseOwner
from orchestra.store.memory import MemoryStore


async def put(store: MemoryStore, key: bytes, lease: int) -> None:
    await store.txn(Txn((), (Put(key, b"", lease),)))


async def count(store: MemoryStore) -> int:
    return (await store.range(Range(b"\0", b"\0"))).count


async def test_keys_go_when_their_lease_ends(store: MemoryStore, clock: ManualClock) -> None:
    short, long = await store.lease_grant(10), await store.lease_grant(20)
    await put(store, b"a", short)
    await put(store, b"b", long)
    clock.advance(9.9)
    assert await store.expire_due() == 0
    clock.advance(0.1)
    assert await store.expire_due() == 1
    assert await count(store) == 1
    with pytest.raises(LeaseNotFound):
        await store.lease_keep_alive(short)
    assert await store.lease_keep_alive(long) == 20
    clock.advance(19)
    assert await store.expire_due() == 0


async def test_the_end_of_a_revoked_lease_is_not_written_again(
    store: MemoryStore, clock: ManualClock
) -> None:
    lease = await store.lease_grant(10)
    await store.lease_revoke(lease)
    before = store.machine.applied_index
    clock.advance(60)
    assert await store.expire_due() == 0
    assert store.machine.applied_index == before


class Log:
    """A way into the log that can be closed; it remembers what came."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.commands: list[object] = []
        self.open = True

    async def propose(self, command: bytes) -> CommandResult:
        if not self.open:
            raise StoreUnavailable("closed for the test")
        self.commands.append(decode(command))
        return self.machine.apply(self.machine.applied_index + 1, command)


async def test_an_end_that_could_not_be_written_is_tried_again() -> None:
    machine, clock = Machine(), ManualClock()
    machine.apply(1, LeaseGrant(7, 10))
    log = Log(machine)
    owner = LeaseOwner(machine, clock, log.propose)
    clock.advance(10)
    log.open = False
    with pytest.raises(StoreUnavailable):
        await owner.expire_due()
    log.open = True
    assert await owner.expire_due() == 1
    assert log.commands == [LeaseExpire((7,))]


async def test_what_is_left_goes_along_with_an_expiry() -> None:
    machine, clock = Machine(), ManualClock()
    for index, (lease, seconds) in enumerate(((7, 100), (8, 3600), (9, 110)), 1):
        machine.apply(index, LeaseGrant(lease, seconds))
    log = Log(machine)
    owner = LeaseOwner(machine, clock, log.propose)
    clock.advance(100)
    assert await owner.expire_due() == 1
    assert log.commands == [LeaseExpire((7,)), LeaseCheckpoint(((8, 3500), (9, 10)))]
    # A new owner starts from there, and a renewal takes the note back.
    clock = ManualClock()
    owner = LeaseOwner(machine, clock, log.propose)
    assert owner.remaining_seconds(9) == 10
    assert await owner.keep_alive(9) == 110
    assert log.commands[-1] == LeaseCheckpoint(((9, 110),))
    assert await owner.keep_alive(9) == 110
    assert len(log.commands) == 3


async def test_a_renewal_outlasts_a_note_that_is_on_its_way() -> None:
    """What was left when the note was made must not be what a new owner gives a lease renewed since."""
    machine, clock = Machine(), ManualClock()
    machine.apply(1, LeaseGrant(7, 3600))
    log = Log(machine)
    order = asyncio.Lock()

    async def propose(command: bytes) -> CommandResult:
        async with order:
            return await log.propose(command)

    owner = LeaseOwner(machine, clock, propose)
    clock.advance(3500)
    async with order:
        noting = asyncio.ensure_future(owner.checkpoint())
        await asyncio.sleep(0)
        renewal = asyncio.ensure_future(owner.keep_alive(7))
        await asyncio.sleep(0)
    await noting
    assert await renewal == 3600
    assert LeaseOwner(machine, clock, propose).remaining_seconds(7) == 3600
