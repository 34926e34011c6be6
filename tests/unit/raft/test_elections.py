"""Elections: paper §5.1, §5.2, §5.4.1; thesis §4.2.3, §6.2, §9.6."""

import pytest

from orchestra.raft.model import (
    AppendResponse,
    Configuration,
    Heartbeat,
    Role,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from tests.unit.raft.group import Group, three
from tests.unit.raft.single import append, core, drain, elected, entries, sent, to


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_a_newer_term_makes_a_follower_of_anyone__paper_5_1(role: Role) -> None:
    member = core(pre_vote=False)
    if role is Role.LEADER:
        elected(member)
    elif role is Role.CANDIDATE:
        member.campaign()
    to(member, append(9, (0, 0)))
    assert (member.role, member.term, member.leader) == (Role.FOLLOWER, 9, 2)


def test_a_request_of_an_older_term_is_refused_with_the_newer_one__paper_5_1() -> None:
    member = core(entries(3), term=5)
    for old in (append(4, (3, 1)), Heartbeat(2, 1, 4, 0)):
        (answer,) = to(member, old)
        assert isinstance(answer, AppendResponse)
        assert (answer.term, answer.refused) == (5, True)
    (vote,) = to(member, VoteRequest(2, 1, 4, 9, 9))
    assert vote == VoteResponse(1, 2, 5, False)


def test_everyone_starts_as_a_follower__paper_5_2() -> None:
    assert core(entries(1, 2)).role is Role.FOLLOWER


def test_a_follower_that_hears_nothing_stands_in_the_next_term_and_votes_for_itself__paper_5_2() -> None:
    member = core(term=1, pre_vote=False)
    for _ in range(20):
        member.tick()
    assert (member.role, member.term) == (Role.CANDIDATE, 2)
    (ready,) = drain(member)
    assert ready.hard_state is not None
    assert ready.hard_state.vote == 1
    assert ready.send_now == []
    assert [(m.to, m.term) for m in ready.send_after_sync] == [(2, 2), (3, 2)]


def test_timeouts_are_drawn_anew_between_one_and_two_election_times__paper_5_2() -> None:
    timeouts = set()
    for seed in range(100):
        member = core(seed=seed, pre_vote=False)
        ticks = 0
        while member.role is Role.FOLLOWER:
            member.tick()
            ticks += 1
        timeouts.add(ticks)
    assert timeouts == set(range(10, 20))


@pytest.mark.parametrize(
    ("members", "granted", "refused", "role"),
    [
        (1, 0, 0, Role.LEADER),
        (3, 0, 0, Role.CANDIDATE),
        (3, 1, 0, Role.LEADER),
        (3, 0, 2, Role.FOLLOWER),
        (5, 1, 2, Role.CANDIDATE),
        (5, 2, 2, Role.LEADER),
        (5, 1, 3, Role.FOLLOWER),
        (4, 1, 2, Role.FOLLOWER),
    ],
)
def test_a_majority_of_votes_decides__paper_5_2(members: int, granted: int, refused: int, role: Role) -> None:
    member = core(members=members, pre_vote=False)
    member.campaign()
    for peer in range(2, 2 + granted):
        to(member, VoteResponse(peer, 1, 1, True))
    for peer in range(2 + granted, 2 + granted + refused):
        to(member, VoteResponse(peer, 1, 1, False))
    assert member.role is role


def test_the_same_vote_counts_once__paper_5_2() -> None:
    member = core(members=5, pre_vote=False)
    member.campaign()
    to(member, *[VoteResponse(2, 1, 1, True)] * 4)
    assert member.role is Role.CANDIDATE


@pytest.mark.parametrize(("vote", "granted"), [(0, True), (2, True), (3, False)])
def test_one_vote_a_term_first_come_first_served__paper_5_2(vote: int, granted: bool) -> None:
    member = core(term=1, vote=vote)
    assert to(member, VoteRequest(2, 1, 1, 0, 0)) == [VoteResponse(1, 2, 1, granted)]


def test_a_vote_leaves_only_once_it_is_durable__paper_5_2() -> None:
    member = core()
    member.step(VoteRequest(2, 1, 1, 0, 0))
    ready = member.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.vote, ready.must_sync) == (1, 2, True)
    assert ready.send_now == []
    assert ready.send_after_sync == [VoteResponse(1, 2, 1, True)]


def test_a_candidate_follows_whoever_leads_its_term__paper_5_2() -> None:
    member = core(pre_vote=False)
    member.campaign()
    to(member, append(1, (0, 0)))
    assert (member.role, member.leader) == (Role.FOLLOWER, 2)


@pytest.mark.parametrize(
    ("own", "last_term", "last_index", "granted"),
    [
        ((1,), 1, 1, True),
        ((1,), 1, 2, True),
        ((1, 1), 1, 1, False),
        ((1,), 2, 1, True),
        ((1, 1), 2, 1, True),
        ((2,), 1, 1, False),
        ((2,), 1, 2, False),
        ((1, 1, 1), 2, 1, True),
    ],
)
def test_votes_go_to_logs_at_least_as_new__paper_5_4_1(
    own: tuple[int, ...], last_term: int, last_index: int, granted: bool
) -> None:
    member = core(entries(*own), term=5)
    (answer,) = to(member, VoteRequest(2, 1, 6, last_index, last_term))
    assert answer == VoteResponse(1, 2, 6, granted)


def test_only_a_vote_given_puts_off_standing_not_one_refused__paper_5_2() -> None:
    member = core(entries(1, 2), check_quorum=False, pre_vote=False)
    stood = []
    for _ in range(19):
        to(member, VoteRequest(3, 1, member.term + 1, 1, 1))
        member.tick()
        stood.append(member.role is Role.CANDIDATE)
    assert any(stood)


def test_pre_vote_changes_neither_term_nor_vote__thesis_9_6() -> None:
    member = core(entries(1), term=1)
    member.campaign()
    assert (member.role, member.term) == (Role.PRE_CANDIDATE, 1)
    (ready,) = drain(member)
    assert ready.hard_state is None
    voter = core(entries(1), term=1, node=2)
    assert to(voter, VoteRequest(1, 2, 2, 1, 1, pre=True)) == [VoteResponse(2, 1, 2, True, pre=True)]
    assert voter.term == 1
    assert to(voter, VoteRequest(3, 2, 2, 1, 1, pre=True)) == [VoteResponse(2, 3, 2, True, pre=True)]


def test_who_was_cut_off_comes_back_without_deposing_the_leader__thesis_9_6() -> None:
    group = three()
    group.separate(3)
    group.tick(100)
    assert group[3].term == 1
    group.heal()
    group.tick(30)
    assert group.leaders() == [1]
    assert group[1].term == 1


def test_a_member_that_hears_its_leader_takes_part_in_no_election__thesis_4_2_3() -> None:
    group = three(pre_vote=False)
    group.cut |= {(1, 3), (3, 1)}
    group.tick(9, 3)
    group[3].campaign()
    group.settle()
    assert group[2].term == 1
    assert group.leaders() == [1]


def test_a_member_with_a_newer_term_tells_the_leader_and_is_not_left_out_for_ever__thesis_9_6() -> None:
    group = three(pre_vote=False)
    group.separate(3)
    group.tick(60, 3)
    assert group[3].term > 1
    group.heal()
    group.tick(40)
    assert len(group.leaders()) == 1
    assert {group[number].term for number in (1, 2, 3)} == {group[3].term}


def test_a_candidate_of_an_older_term_learns_the_newer_one__thesis_9_6() -> None:
    member = core(entries(1), term=7)
    (answer,) = to(member, VoteRequest(2, 1, 3, 9, 2, pre=True))
    asking = core(entries(1), term=2, node=2)
    asking.campaign()
    to(asking, answer)
    assert asking.term == 7


def test_a_leader_without_a_majority_steps_down__thesis_6_2() -> None:
    group = three()
    group.separate(1)
    group.tick(20, 1)
    assert group[1].role is Role.FOLLOWER
    assert group[1].leader == 0


def test_a_learner_never_stands_and_may_vote__thesis_4_2_1() -> None:
    configuration = Configuration(frozenset({2, 3}), learners=frozenset({1}))
    member = core(configuration=configuration)
    for _ in range(50):
        member.tick()
    member.campaign()
    assert to(member, TimeoutNow(2, 1, 0)) == []
    assert member.role is Role.FOLLOWER
    assert to(member, VoteRequest(2, 1, 1, 0, 0)) == [VoteResponse(1, 2, 1, True)]


def test_votes_of_both_sides_are_needed_while_the_voters_change__paper_6() -> None:
    configuration = Configuration(frozenset({1, 4, 5}), outgoing=frozenset({1, 2, 3}))
    member = core(configuration=configuration, pre_vote=False)
    member.campaign()
    assert [message.to for message in sent(member)] == [2, 3, 4, 5]
    to(member, VoteResponse(4, 1, 1, True), VoteResponse(5, 1, 1, True))
    assert member.role is Role.CANDIDATE
    to(member, VoteResponse(3, 1, 1, True))
    assert member.role is Role.LEADER


def test_a_lone_voter_is_elected_at_once() -> None:
    member = core(members=1)
    member.campaign()
    assert member.role is Role.LEADER
    ready = member.ready()
    assert ready is not None
    # What it leads with is durable before anything is applied.
    assert ready.hard_state is not None
    assert list(ready.entries) == list(ready.committed)


def test_an_even_split_is_resolved__paper_5_2() -> None:
    group = Group()
    group.add([1, 2, 3, 4], pre_vote=False)
    group[1].campaign()
    group[2].campaign()
    group.cut = {(1, 4), (2, 3)}
    group.settle()
    assert group.leaders() == []
    group.heal()
    group.tick(60)
    assert len(group.leaders()) == 1
