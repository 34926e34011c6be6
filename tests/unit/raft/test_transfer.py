"""Handing leadership over: thesis §3.10."""

import pytest

from orchestra.raft.errors import NotCaughtUp, NotLeader, TooManyPending
from orchestra.raft.model import AppendResponse, Role, TimeoutNow
from tests.unit.raft.group import three
from tests.unit.raft.single import core, elected, sent, to


def test_the_named_one_leads_at_once_though_others_hear_their_leader__thesis_3_10() -> None:
    group = three()
    group[1].transfer_leadership(3)
    group.settle()
    assert group.leaders() == [3]
    assert group[1].role is Role.FOLLOWER


def test_nobody_named_the_most_up_to_date_gets_it__thesis_3_10() -> None:
    member = elected(core())
    to(member, AppendResponse(2, 1, 1, 1), AppendResponse(3, 1, 1, 1))
    index = member.propose([b"a"])
    to(member, AppendResponse(3, 1, 1, index))
    member.transfer_leadership()
    assert [message.to for message in sent(member) if isinstance(message, TimeoutNow)] == [3]


def test_it_is_brought_up_to_date_first_and_nothing_new_is_taken__thesis_3_10() -> None:
    member = elected(core())
    to(member, AppendResponse(2, 1, 1, 1))
    index = member.propose([b"a"])
    member.transfer_leadership(2)
    assert not any(isinstance(message, TimeoutNow) for message in sent(member))
    with pytest.raises(TooManyPending):
        member.propose([b"b"])
    assert any(isinstance(m, TimeoutNow) for m in to(member, AppendResponse(2, 1, 1, index)))


def test_after_an_election_timeout_it_goes_on_leading__thesis_3_10() -> None:
    group = three()
    group.cut.add((1, 2))
    group[1].transfer_leadership(2)
    group.settle()
    group.tick(12)
    group[1].propose([b"a"])
    group.heal()
    group.tick(4)
    assert group.leaders() == [1]


@pytest.mark.parametrize("to_", [2, 9])
def test_only_to_who_can_lead(to_: int) -> None:
    group = three()
    group.nodes[2].crash()
    group.tick(25)
    with pytest.raises(NotCaughtUp, match=f"{to_:016x} does not follow the log"):
        group[1].transfer_leadership(to_)
    with pytest.raises(NotLeader):
        group[3].transfer_leadership(1)


def test_to_itself_is_nothing() -> None:
    group = three()
    group[1].transfer_leadership(1)
    group[1].propose([b"a"])
    group.settle()
    assert group.leaders() == [1]
