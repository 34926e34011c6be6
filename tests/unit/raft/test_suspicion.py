"""A broken link is a hint, for speed only: paper §5.2, thesis §6.4.1, §9.6."""

import itertools

import pytest

from orchestra.raft.model import Heartbeat, Role, VoteRequest, VoteResponse
from tests.unit.raft.group import three
from tests.unit.raft.single import core, elected, entries, sent, to


class TestSuspicion:
    """It has the others stand soon."""

    def test_a_broken_link_from_the_leader_has_the_others_elect_a_new_one_soon(self) -> None:
        group = three()
        group.nodes[1].crash()
        for number in (2, 3):
            group[number].suspect(1)
        group.tick(6)
        assert len(group.leaders()) == 1

    def test_one_member_alone_in_its_suspicion_deposes_nobody(self) -> None:
        group = three()
        group[3].suspect(1)
        group.cut.add((1, 3))
        group.tick(8)
        group.heal()
        group.tick(5)
        assert group.leaders() == [1]
        assert group[1].term == 1

    def test_the_leaders_word_ends_it(self) -> None:
        member = core(term=1)
        to(member, Heartbeat(2, 1, 1, 0))
        member.suspect(2)
        for _ in range(30):
            to(member, Heartbeat(2, 1, 1, 0))
            member.tick()
        assert member.role is Role.FOLLOWER

    def test_others_links_mean_nothing(self) -> None:
        member = core(term=1)
        to(member, Heartbeat(2, 1, 1, 0))
        member.suspect(3)
        for _ in range(9):
            member.tick()
        assert member.role is Role.FOLLOWER

    def test_a_promise_that_a_lease_relies_on_is_kept__thesis_6_4_1(self) -> None:
        member = core(term=1, lease_reads=True)
        to(member, Heartbeat(2, 1, 1, 0))
        member.suspect(2)
        for _ in range(9):
            member.tick()
            assert to(member, VoteRequest(3, 1, 2, 5, 5)) == []
        again = core(term=1, lease_reads=True)
        assert to(again, VoteRequest(3, 1, 2, 5, 5)) == []


class TestHaste:
    """A lost leader's group does not wait whole timeouts for an election that came to nothing."""

    @pytest.mark.parametrize("seed", range(20))
    def test_who_stands_goes_by_number(self, seed: int) -> None:
        ticks = {}
        for node in (2, 3):
            member = core(term=1, node=node, seed=seed)
            to(member, Heartbeat(1, node, 1, 0))
            member.suspect(1)
            ticks[node] = 0
            while member.role is Role.FOLLOWER:
                member.tick()
                ticks[node] += 1
        assert ticks[2] in (1, 2)
        assert ticks[3] in (3, 4)

    @pytest.mark.parametrize(
        ("own", "other", "yields"),
        [((1, 1), (3, 1, 1), False), ((3, 1), (2, 1, 1), True), ((2, 1), (3, 1, 2), True)],
        ids=["the lower number goes on", "the higher number yields", "the older log yields"],
    )
    def test_of_two_that_ask_at_once_one_yields__thesis_9_6(
        self, own: tuple[int, int], other: tuple[int, int, int], yields: bool
    ) -> None:
        node, length = own
        frm, term, index = other
        member = core(entries(*[1] * length), term=1, node=node)
        member.campaign()
        sent(member)
        answers = to(member, VoteRequest(frm, node, 2, index, term, pre=True))
        assert answers == [VoteResponse(node, frm, 2, True, pre=True)]
        assert member.role is (Role.FOLLOWER if yields else Role.PRE_CANDIDATE)

    def test_who_has_granted_a_pre_vote_lets_the_other_try_first_but_not_for_ever(self) -> None:
        member = core(entries(1), term=1, node=3)
        to(member, Heartbeat(1, 3, 1, 0))
        member.suspect(1)
        ticks = 0
        while member.role is Role.FOLLOWER:
            to(member, VoteRequest(2, 3, 2, 1, 1, pre=True))
            member.tick()
            ticks += 1
        assert 10 <= ticks <= 20

    def test_a_split_vote_is_tried_again_soon__paper_5_2(self) -> None:
        group = three()
        group.nodes[1].crash()
        for number in (2, 3):
            group[number].suspect(1)
        group.cut |= {(2, 3), (3, 2)}
        group.tick(6)
        assert not group.leaders()[1:]
        group.heal()
        group.tick(8)
        assert len([leader for leader in group.leaders() if leader != 1]) == 1

    def test_who_asks_others_that_do_not_know_yet_asks_again_soon(self) -> None:
        group = three()
        group.nodes[1].crash()
        group[2].suspect(1)
        group.tick(2)
        assert group.leaders() == []
        group[3].suspect(1)
        group.tick(6)
        assert len(group.leaders()) == 1

    def test_haste_ends_by_itself(self) -> None:
        member = core(entries(1), term=1, node=2, members=5)
        to(member, Heartbeat(1, 2, 1, 0))
        member.suspect(1)
        stood = []
        for tick in range(400):
            member.tick()
            if sent(member):
                stood.append(tick)
        waits = [after - before for before, after in itertools.pairwise(stood)]
        assert all(wait < 13 for wait in waits[:5])
        assert all(10 <= wait < 20 for wait in waits[6:])

    def test_the_death_of_who_was_voted_for_counts_like_the_leaders(self) -> None:
        member = core(entries(1), term=1, node=3)
        to(member, VoteRequest(2, 3, 2, 1, 1))
        member.suspect(2)
        for _ in range(4):
            member.tick()
        assert member.role is Role.PRE_CANDIDATE


def test_a_leader_says_that_it_lives_as_soon_as_a_link_is_open_again() -> None:
    member = elected(core(members=3))
    member.reachable(2)
    (beat,) = sent(member)
    assert isinstance(beat, Heartbeat)
    assert beat.to == 2
    member.reachable(9)
    assert sent(member) == []
