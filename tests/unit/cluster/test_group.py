"""Three members that agree: elections, writes and reads at any of them, failover, leases, full disks."""

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestra.base.clock import ManualClock
from orchestra.cluster.member import Member
from orchestra.mvcc.model import Compare, Event, Put, Range, Result, Target, Txn
from orchestra.mvcc.snapshot import state_hash
from orchestra.store.contract import LeaseNotFound, NoSpace, Store, StoreUnavailable
from tests.unit.cluster.group import SETTINGS, WAIT_SECONDS, Group, id_of, leads, until
from tests.unit.storage.disks import FaultyDisk


async def put(store: Store, key: bytes, value: bytes = b"", lease: int = 0) -> int:
    return (await store.txn(Txn((), (Put(key, value, lease),)))).revision


async def get(store: Store, key: bytes) -> bytes | None:
    kvs = (await store.range(Range(key))).kvs
    return kvs[0].value if kvs else None


async def increment(store: Store, key: bytes) -> None:
    """Adds one, once, however long it takes. Raises: StoreUnavailable."""
    while True:
        kvs = (await store.range(Range(key))).kvs
        revision, count = (kvs[0].mod_revision, int(kvs[0].value)) if kvs else (0, 0)
        unchanged = Compare(key, Target.MOD, Result.EQUAL, revision)
        if (await store.txn(Txn((unchanged,), (Put(key, b"%d" % (count + 1)),)))).succeeded:
            return


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    async with Group(tmp_path) as group:
        yield group


async def test_every_member_writes_and_reads_what_any_has_written(group: Group) -> None:
    await group.leader()
    for number, member in enumerate(group.members.values()):
        await put(member.store, b"k", b"%d" % number)
        for other in group.members.values():
            assert await get(other.store, b"k") == b"%d" % number
    await group.equal()
    assert len({state_hash(each.machine) for each in group.members.values()}) == 1


async def test_an_idle_group_writes_nothing(group: Group) -> None:
    leader = await group.leader()
    await put(leader.store, b"k")
    lease = await leader.store.lease_grant(60)
    await group.equal()
    # The last commit index goes to disk with the next write, not by itself.
    before = {name: each.disk_bytes_written for name, each in group.members.items()}
    for _ in range(10):
        for member in group.members.values():
            await member.store.lease_keep_alive(lease)
            await get(member.store, b"k")
        await asyncio.sleep(0.02)
    assert {name: each.disk_bytes_written for name, each in group.members.items()} == before


async def test_a_write_waits_for_a_leader_and_has_a_deadline(tmp_path: Path) -> None:
    settings = replace(SETTINGS, propose_timeout_ms=300)
    async with Group(tmp_path, settings=settings) as group:
        leader = await group.leader()
        for follower in await group.followers():
            await group.stop(follower.name)
        await until(lambda: not leads(leader))
        with pytest.raises(StoreUnavailable, match="there is no leader: see that most of the members run"):
            await put(leader.store, b"a")
        with pytest.raises(StoreUnavailable, match="no leader has confirmed"):
            await get(leader.store, b"a")
        assert (await leader.store.range(Range(b"a", serializable=True))).count == 0
        await group.start("m1" if leader.name != "m1" else "m2")
        await put(leader.store, b"a", b"1")
        assert await get(leader.store, b"a") == b"1"


@pytest.mark.parametrize("silently", [True, False])
async def test_writes_under_way_survive_a_leader_once_each(group: Group, silently: bool) -> None:
    leader = await group.leader()
    survivors = await group.followers()
    stores = [each.store for each in survivors]
    done = [0, 0]

    async def count(at: int) -> None:
        for _ in range(150):
            await increment(stores[at % 2], b"n%d" % (at // 2))
            done[at % 2] += 1

    async def plain(at: int) -> list[int]:
        """Puts, each of which has to happen exactly once: the version tells."""
        return [await put(stores[at], b"v%d" % at, b"%d" % n) for n in range(300)]

    counting = asyncio.gather(*map(count, range(4)), plain(0), plain(1))
    await until(lambda: sum(done) > 50)
    if silently:
        group.network.isolate(id_of(leader))
    else:
        await group.kill(leader.name)
    async with asyncio.timeout(WAIT_SECONDS):
        *_, first, second = await counting
    assert [await get(stores[0], b"n%d" % n) for n in (0, 1)] == [b"300", b"300"]
    for at, revisions in enumerate((first, second)):
        (kv,) = (await stores[0].range(Range(b"v%d" % at))).kvs
        assert (kv.version, kv.value, revisions) == (300, b"299", sorted(set(revisions)))


async def test_bad_links_double_nothing(group: Group) -> None:
    await group.leader()
    network = group.network
    network.drop, network.repeat, network.delay_seconds = 0.05, 0.2, 0.02

    async def write(member: Member) -> None:
        for n in range(20):
            await put(member.store, member.name.encode(), b"%d" % n)

    async with asyncio.timeout(2 * WAIT_SECONDS):
        await asyncio.gather(*(write(member) for member in group.members.values()))
    network.drop = network.repeat = network.delay_seconds = 0.0
    for member in group.members.values():
        (kv,) = (await member.store.range(Range(member.name.encode()))).kvs
        assert (kv.version, kv.value) == (20, b"19")


async def test_a_leader_cut_off_answers_no_read(group: Group) -> None:
    old = await group.leader()
    await put(old.store, b"k", b"old")
    group.network.isolate(id_of(old))
    reading = asyncio.ensure_future(get(old.store, b"k"))
    new = await group.leader()
    assert new is not old
    await put(new.store, b"k", b"new")
    assert not reading.done()
    group.network.heal()
    assert await reading == b"new"


async def test_a_proposal_of_a_deposed_leader_is_made_again(group: Group) -> None:
    old = await group.leader()
    group.network.isolate(id_of(old))
    writing = asyncio.ensure_future(put(old.store, b"k", b"1"))
    new = await group.leader()
    await put(new.store, b"other")
    group.network.heal()
    async with asyncio.timeout(WAIT_SECONDS):
        await writing
    (kv,) = (await new.store.range(Range(b"k"))).kvs
    assert (kv.version, kv.value) == (1, b"1")


async def test_an_orderly_stop_hands_over(group: Group) -> None:
    leader = await group.leader()
    rest = await group.followers()
    await group.stop(leader.name)
    assert any(leads(each) for each in rest)
    await put(rest[0].store, b"k", b"1")
    assert await get(rest[1].store, b"k") == b"1"


async def test_leadership_moves_where_it_is_told_to(group: Group) -> None:
    await group.leader()
    for member in list(group.members.values()):
        others = [each for each in group.members.values() if each is not member]
        await others[0].move_leader(id_of(member))
        await until(lambda: leads(member))  # noqa: B023 - asked within the turn


async def test_everything_is_there_after_all_have_stopped(group: Group) -> None:
    leader = await group.leader()
    await asyncio.gather(*(put(leader.store, b"%d" % n, b"x") for n in range(50)))
    for name in list(group.members):
        await group.kill(name)
    for name in group.names:
        await group.start(name)
    assert (await (await group.leader()).store.range(Range(b"\0", b"\0"))).count == 50


async def test_a_lease_outlives_its_leader_and_ends_after_the_next(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.clocks = {name: ManualClock() for name in group.names}
    async with group:
        old = await group.leader()
        follower, _ = await group.followers()
        lease = await follower.store.lease_grant(10)
        await put(follower.store, b"k", b"", lease)
        for clock in group.clocks.values():
            assert isinstance(clock, ManualClock)
            clock.advance(9)
        assert await follower.lease_remaining(lease) <= 1
        await group.kill(old.name)
        new = await group.leader()
        assert await new.lease_remaining(lease) == 10
        for clock in group.clocks.values():
            assert isinstance(clock, ManualClock)
            clock.advance(9)
        assert await follower.store.lease_keep_alive(lease) == 10
        for clock in group.clocks.values():
            assert isinstance(clock, ManualClock)
            clock.advance(11)
        # Anything that makes the owner look at its clock.
        await follower.store.lease_grant(60)
        await until(lambda: not new.machine.range(Range(b"k")).count)
        with pytest.raises(LeaseNotFound):
            await follower.store.lease_keep_alive(lease)


async def test_an_expiry_of_a_leader_cut_off_does_not_come_true_later(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.clocks = {name: ManualClock() for name in group.names}
    async with group:
        old = await group.leader()
        lease = await old.store.lease_grant(10)
        await group.equal()
        group.network.isolate(id_of(old))
        clock = group.clocks[old.name]
        assert isinstance(clock, ManualClock)
        clock.advance(11)
        waking = asyncio.ensure_future(old.store.lease_grant(60))
        new = await group.leader()
        assert await new.store.lease_keep_alive(lease) == 10
        group.network.heal()
        await waking
        assert await old.store.lease_keep_alive(lease) == 10


async def test_leadership_is_proved_by_a_key_and_the_deposed_is_refused(group: Group) -> None:
    old = await group.leader()
    contests = {each.name: asyncio.ensure_future(each.leadership.won()) for each in group.members.values()}
    old.api_address = "127.0.0.1:1"
    first = await contests[old.name]
    await until(lambda: all(each.leadership.leader for each in group.members.values()))
    assert {each.leadership.leader.name for each in group.members.values() if each.leadership.leader} == {
        old.name
    }
    assert (await old.store.txn(Txn(first.guards, (Put(b"a", b"1"),)))).succeeded
    changed = [asyncio.ensure_future(each.leadership.changed()) for each in group.members.values()]
    group.network.isolate(id_of(old))
    late = asyncio.ensure_future(old.store.txn(Txn(first.guards, (Put(b"a", b"late"),))))
    new = await group.leader()
    second = await contests[new.name]
    assert (await new.store.txn(Txn(second.guards, (Put(b"a", b"2"),)))).succeeded
    group.network.heal()
    async with asyncio.timeout(WAIT_SECONDS):
        await first.over()
        assert not (await late).succeeded
        await asyncio.gather(*changed)
    assert await get(old.store, b"a") == b"2"
    await until(lambda: old.leadership.leader and old.leadership.leader.name == new.name)
    for contest in contests.values():
        contest.cancel()


async def test_a_watch_at_a_follower_sees_everything_once_over_failovers(group: Group) -> None:
    leader = await group.leader()
    watcher, other = await group.followers()
    seen: list[Event] = []

    async def watch() -> None:
        async for batch in watcher.store.watch(b"k"):
            seen.extend(batch.events)

    watching = asyncio.create_task(watch())
    values = [b"%d" % n for n in range(200)]

    async def write() -> None:
        for value in values:
            await put(other.store, b"k", value)

    writing = asyncio.create_task(write())
    await until(lambda: len(seen) > 30)
    await group.kill(leader.name)
    await until(lambda: len(seen) > 90)
    await group.start(leader.name)
    await (await group.leader()).move_leader(id_of(group.members[leader.name]))
    async with asyncio.timeout(WAIT_SECONDS):
        await writing
    await until(lambda: len(seen) >= len(values))
    assert [event.kv.value for event in seen] == values
    watching.cancel()


async def test_a_full_disk_at_the_leader_stops_the_leader_only(tmp_path: Path) -> None:
    group = Group(tmp_path)
    disks = {name: FaultyDisk() for name in group.names}
    group.disks.update(disks)
    async with group:
        old = await group.leader()
        await put(old.store, b"k", b"1")
        disks[old.name].write_error = OSError(errno.ENOSPC, "No space left on device")
        writing = asyncio.ensure_future(put(old.store, b"k", b"2"))
        await until(lambda: old.status().errors)
        with pytest.raises(NoSpace, match="no space left"):
            await put(old.store, b"k", b"no")
        rest = [each for each in group.members.values() if each is not old]
        await until(lambda: any(each.leading_term for each in rest))
        await put(rest[0].store, b"other", b"3")
        disks[old.name].write_error = None
        async with asyncio.timeout(WAIT_SECONDS):
            await writing
        await put(old.store, b"k", b"4")
        (kv,) = (await rest[0].store.range(Range(b"k"))).kvs
        assert (kv.version, kv.value) == (3, b"4")


async def test_a_leader_without_room_gives_up_its_mandate_and_may_win_it_again(tmp_path: Path) -> None:
    group = Group(tmp_path, 2)
    disks = {name: FaultyDisk() for name in group.names}
    group.disks.update(disks)
    async with group, asyncio.timeout(WAIT_SECONDS):
        old = await group.leader()
        mandate = await old.leadership.won()
        assert (old.leading_term, old.leader_name) == (old.core.term, old.name)
        for disk in disks.values():
            disk.write_error = OSError(errno.ENOSPC, "No space left on device")
        writing = asyncio.ensure_future(put(old.store, b"k", b"1"))
        await mandate.over()
        assert (old.leading_term, old.leader_name, old.leader) == (0, "", 0)
        assert old.leadership.leader is None
        for disk in disks.values():
            disk.write_error = None
        await writing
        wins = [asyncio.ensure_future(each.leadership.won()) for each in group.members.values()]
        done, rest = await asyncio.wait(wins, return_when=asyncio.FIRST_COMPLETED)
        assert done.pop().result() is not mandate
        for each in rest:
            each.cancel()


async def test_a_failed_disk_ends_one_member_and_not_the_group(tmp_path: Path) -> None:
    group = Group(tmp_path)
    disks = {name: FaultyDisk() for name in group.names}
    group.disks.update(disks)
    async with group:
        old = await group.leader()
        disks[old.name].sync_error = OSError(errno.EIO, "Input/output error")
        with pytest.raises(StoreUnavailable):
            await put(old.store, b"k", b"1")
        with pytest.raises(Exception, match="fault"):
            await old.failed()
        await group.kill(old.name)
        await put((await group.leader()).store, b"k", b"2")
