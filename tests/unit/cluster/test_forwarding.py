"""What a leader takes from others: nothing that it could not apply itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestra.mvcc.model import Put, Txn
from orchestra.store.contract import StoreUnavailable
from tests.unit.cluster.group import SETTINGS, Group

# A command of a kind that a version to come may have: field 15, empty.
_OF_ANOTHER_VERSION = b"\x7a\x00"


async def test_a_command_that_the_leader_does_not_know_stays_out_of_the_log(tmp_path: Path) -> None:
    """Once it were in the log, no member of this version could ever go on."""
    async with Group(tmp_path, settings=replace(SETTINGS, propose_timeout_ms=500)) as group:
        leader = await group.leader()
        (follower, _) = await group.followers()
        with pytest.raises(StoreUnavailable):
            await follower.propose(_OF_ANOTHER_VERSION)
        assert await leader.store.txn(Txn((), (Put(b"k", b"1"),)))
        assert await follower.store.txn(Txn((), (Put(b"k", b"2"),)))
        await group.equal()
