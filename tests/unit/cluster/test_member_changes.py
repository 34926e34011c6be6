"""Members that come, go, and are replaced while the group works."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestra.cluster.driver import MemberRemoved
from orchestra.cluster.member import Member
from orchestra.cluster.membership import (
    LearnerNotReady,
    MemberNotFound,
    NotALearner,
    PeerAddressExists,
    TooManyLearners,
    UnhealthyCluster,
)
from orchestra.mvcc.model import Put, Range, Txn
from orchestra.mvcc.snapshot import state_hash
from orchestra.store.contract import Store
from tests.unit.cluster.group import SETTINGS, WAIT_SECONDS, Group, address, id_of, leads, until

# Little of the log stays: who joins needs a snapshot.
SHORT = replace(
    SETTINGS, snapshot_catch_up_entries=10, snapshot_catch_up_bytes_max=1000, snapshot_log_entries=100
)


async def put(store: Store, key: bytes, value: bytes = b"") -> int:
    return (await store.txn(Txn((), (Put(key, value),)))).revision


async def fill(store: Store, count: int = 300) -> None:
    await asyncio.gather(*(put(store, b"%04d" % n, b"x" * 2000) for n in range(count)))


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    async with Group(tmp_path, settings=SHORT) as group:
        yield group


async def promoted(group: Group, member: Member) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                await member.promote_member(id_of(member))
                return
            except LearnerNotReady:
                await asyncio.sleep(0.02)


async def test_a_learner_catches_up_by_snapshot_and_is_promoted(group: Group) -> None:
    leader = await group.leader()
    await fill(leader.store)
    learner = await group.join("m4")
    assert learner.machine.revision == 1
    with pytest.raises(TooManyLearners):
        await leader.add_member("m5", [address("m5")], True)
    # Written while it catches up.
    await fill(learner.store, 100)
    await group.equal()
    assert state_hash(learner.machine) == state_hash(leader.machine)
    assert learner.status().is_learner
    assert list((group.path / "m4" / "snapshots").iterdir())
    await promoted(group, learner)
    assert not learner.status().is_learner
    with pytest.raises(NotALearner):
        await leader.promote_member(id_of(learner))
    assert len(leader.membership()) == 4
    # What it got is there after a restart.
    await group.kill("m4")
    again = await group.start("m4")
    await put(again.store, b"k")
    await group.equal()
    assert state_hash(again.machine) == state_hash(leader.machine)


async def test_a_learner_that_is_not_there_is_not_promoted(group: Group) -> None:
    leader = await group.leader()
    info = await leader.add_member("m4", [address("m4")], True)
    with pytest.raises(LearnerNotReady, match="does not have"):
        await leader.promote_member(info.id)
    await leader.remove_member(info.id)
    with pytest.raises(MemberNotFound):
        await leader.remove_member(info.id)


async def test_one_grows_to_three(tmp_path: Path) -> None:
    async with Group(tmp_path, 1) as group:
        (first,) = group.members.values()
        await first.publish("127.0.0.1:1", "")
        await fill(first.store, 50)
        with pytest.raises(UnhealthyCluster, match="add it as a learner"):
            await first.add_member("m2", [address("m2")], False)
        for name in ("m2", "m3"):
            await promoted(group, await group.join(name))
            await put(group.members[name].store, b"from", name.encode())
        await group.kill("m1")
        await put((await group.leader()).store, b"k")
        assert (await group.members["m3"].store.range(Range(b"0", b"1"))).count == 50


async def test_a_removed_follower_stops_and_says_why(group: Group) -> None:
    await group.leader()
    gone, other = await group.followers()
    await other.remove_member(id_of(gone))
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(MemberRemoved, match=r"has been removed from the cluster.*add it as a new member"):
            await gone.failed()
    await group.kill(gone.name)
    await put(other.store, b"k")
    assert len(other.membership()) == 2


async def test_a_removed_leader_hands_over_first(group: Group) -> None:
    leader = await group.leader()
    other, _ = await group.followers()
    await other.remove_member(id_of(leader))
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(MemberRemoved):
            await leader.failed()
    await group.kill(leader.name)
    await put(other.store, b"k")


async def test_a_member_whose_disk_is_lost_is_replaced(group: Group) -> None:
    leader = await group.leader()
    await fill(leader.store, 150)
    lost, _ = await group.followers()
    await group.kill(lost.name)
    shutil.rmtree(group.path / lost.name)
    with pytest.raises(PeerAddressExists):
        await leader.add_member(lost.name, [address(lost.name)], True)
    await leader.remove_member(id_of(lost))
    new = await group.join(lost.name)
    await promoted(group, new)
    await group.equal()
    assert state_hash(new.machine) == state_hash(leader.machine)
    assert {each.name for each in leader.membership()} == {"m1", "m2", "m3"}
    # It counts: with it, another one may go.
    another = next(each for each in group.members.values() if each not in (leader, new))
    await group.kill(another.name)
    await put(new.store, b"k")


async def test_the_last_who_make_a_majority_stay(group: Group) -> None:
    leader = await group.leader()
    dead, alive = await group.followers()
    await group.kill(dead.name)
    await until(lambda: len(leader.active() or ()) == 2)
    with pytest.raises(UnhealthyCluster):
        await alive.remove_member(id_of(alive))
    await alive.remove_member(id_of(dead))


async def test_a_member_publishes_where_it_serves(group: Group) -> None:
    await group.leader()
    await asyncio.gather(
        *(each.publish(f"{name}:7070", f"{name}:2379") for name, each in group.members.items())
    )
    await group.equal()
    for member in group.members.values():
        assert [
            (each.name, each.api_address, each.etcd_address, each.started) for each in member.membership()
        ] == sorted(
            ((name, f"{name}:7070", f"{name}:2379", True) for name in group.names),
            key=lambda said: id_of(group.members[said[0]]),
        )
    before = member.machine.applied_index
    await member.publish(f"{member.name}:7070", f"{member.name}:2379")
    assert member.machine.applied_index == before


async def test_a_follower_that_was_away_for_long_gets_a_snapshot(group: Group) -> None:
    leader = await group.leader()
    away, other = await group.followers()
    watch = away.store.watch(b"\0", b"\0")
    await put(other.store, b"first")
    assert (await anext(watch)).events
    group.network.isolate(id_of(away))
    await fill(other.store)
    group.network.heal()
    await group.equal()
    assert state_hash(away.machine) == state_hash(leader.machine)
    seen = []
    while len(seen) < 300:
        seen += [event.kv.key for event in (await anext(watch)).events]
    assert sorted(seen) == [b"%04d" % n for n in range(300)]
    await put(away.store, b"k")
    assert sum(leads(each) for each in group.members.values()) == 1
