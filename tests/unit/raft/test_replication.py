"""The log: paper §5.3, §5.4.2, figure 7, figure 8; thesis §10.2.1."""

import pytest

from orchestra.raft.errors import NotLeader, TooManyPending
from orchestra.raft.model import AppendRequest, AppendResponse, Heartbeat, HeartbeatResponse, Role
from tests.unit.raft.group import Group, three
from tests.unit.raft.single import append, core, drain, elected, entries, entry, log_terms, sent, to


def test_a_command_is_committed_and_applied_by_all__paper_5_3() -> None:
    group = three()
    group[1].propose([b"a", b"b"])
    group.tick(3)
    assert [group.nodes[number].state for number in (1, 2, 3)] == [[b"a", b"b"]] * 3


@pytest.mark.parametrize(
    ("members", "others", "committed"),
    [(3, 0, False), (3, 1, True), (5, 1, False), (5, 2, True), (4, 1, False)],
)
def test_a_majority_commits__paper_5_3(members: int, others: int, committed: bool) -> None:
    member = elected(core(members=members))
    index = member.propose([b"a"])
    for peer in range(2, 2 + others):
        to(member, AppendResponse(peer, 1, member.term, index))
    drain(member)
    assert (member.commit >= index) is committed


def test_only_entries_of_the_own_term_are_committed_by_counting__paper_5_4_2() -> None:
    # Figure 8: an entry of an older term on a majority may still be overwritten.
    member = core(entries(1, 2), term=2)
    elected(member)
    assert member.term == 3
    to(member, AppendResponse(2, 1, 3, 2))
    assert member.commit == 0
    to(member, AppendResponse(2, 1, 3, 3))
    assert member.commit == 3


def test_a_leader_counts_its_own_log_only_once_it_is_durable__thesis_10_2_1() -> None:
    member = elected(core(members=3))
    index = member.propose([b"a"])
    ready = member.ready()
    assert ready is not None
    assert [type(message) for message in ready.send_now] == []
    to_follower = AppendResponse(2, 1, member.term, index)
    member.step(to_follower)
    assert member.commit < index
    member.advance(ready)
    assert member.commit == index


@pytest.mark.parametrize(
    "follower",
    [
        (1, 1, 1, 4, 4, 5, 5, 6, 6),
        (1, 1, 1, 4),
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
        (1, 1, 1, 4, 4, 4, 4),
        (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
    ],
    ids="abcdef",
)
def test_any_log_is_brought_into_line__paper_figure_7(follower: tuple[int, ...]) -> None:
    leader = core(entries(1, 1, 1, 4, 4, 5, 5, 6, 6, 6), term=8, check_quorum=False)
    other = core(entries(*follower), term=7, node=2)
    third = core(entries(1, 1), term=1, node=3)
    members = {1: leader, 2: other, 3: third}
    leader.campaign()
    messages = 0
    for _ in range(30):
        for member in list(members.values()):
            for message in sent(member):
                if {message.frm, message.to} <= members.keys():
                    messages += isinstance(message, AppendRequest) and message.to == 2
                    members[message.to].step(message)
        for member in members.values():
            if member.role is not Role.LEADER:
                continue
            member.tick()
    assert log_terms(other) == log_terms(third) == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, leader.term]


def test_back_tracking_takes_a_step_a_term_not_an_entry__paper_5_3() -> None:
    group = Group()
    group.add([1, 2, 3])
    old = [entry(1, 1), *[entry(2, index) for index in range(2, 300)]]
    new = [entry(1, 1), *[entry(3, index) for index in range(2, 200)]]
    for number, log in ((1, new), (2, old), (3, new)):
        node = group.nodes[number]
        node.disk.write(None, log)
        node.disk.hard_state = type(node.disk.hard_state)(3, 0, 0)
        node.start()
    heard: list[AppendRequest] = []
    send = group.send
    group.send = lambda messages: (  # type: ignore[method-assign]
        heard.extend(m for m in messages if isinstance(m, AppendRequest) and m.to == 2),
        send(messages),
    )[1]
    group.lead(1)
    group.tick(4)
    assert group.log_of(2) == group.log_of(1)
    assert len(heard) <= 6


@pytest.mark.parametrize(
    ("prev", "new", "accepted", "log"),
    [
        ((0, 0), (), 0, [1, 2]),
        ((1, 1), (), 1, [1, 2]),
        ((2, 2), (), 2, [1, 2]),
        ((2, 2), ((3, 3),), 3, [1, 2, 3]),
        ((1, 1), ((3, 2),), 2, [1, 3]),
        ((1, 1), ((2, 2),), 2, [1, 2]),
        ((1, 1), ((2, 2), (3, 3)), 3, [1, 2, 3]),
        ((0, 0), ((1, 1),), 1, [1, 2]),
        ((3, 2), (), None, [1, 2]),
        ((3, 3), (), None, [1, 2]),
    ],
)
def test_entries_follow_the_one_that_matches_and_replace_what_conflicts__paper_5_3(
    prev: tuple[int, int], new: tuple[tuple[int, int], ...], accepted: int | None, log: list[int]
) -> None:
    member = core(entries(1, 2), term=3)
    (answer,) = to(member, append(3, prev, [entry(term, index) for term, index in new]))
    assert isinstance(answer, AppendResponse)
    assert (None if answer.refused else answer.index) == accepted
    assert log_terms(member) == log


def test_what_replaces_a_suffix_is_handed_out_from_its_first_entry_on__paper_5_3() -> None:
    member = core(entries(1, 2, 2), term=2)
    member.step(append(3, (1, 1), [entry(3, 2)]))
    ready = member.ready()
    assert ready is not None
    assert [(each.index, each.term) for each in ready.entries] == [(2, 3)]
    # While they are being written, a newer leader replaces them.
    member.step(append(4, (1, 1), [entry(4, 2), entry(4, 3)], frm=3))
    member.advance(ready)
    ready = member.ready()
    assert ready is not None
    assert [(each.index, each.term) for each in ready.entries] == [(2, 4), (3, 4)]


def test_an_older_shorter_request_cuts_nothing_off__paper_5_3() -> None:
    member = core(term=1)
    to(member, append(1, (0, 0), entries(1, 1, 1)))
    to(member, append(1, (0, 0), entries(1)))
    assert member.last_index == 3


def test_acceptance_leaves_only_once_the_entries_are_durable__paper_5_3() -> None:
    member = core(term=1)
    member.step(append(1, (0, 0), entries(1, 1), commit=2))
    ready = member.ready()
    assert ready is not None
    assert ready.must_sync
    assert ready.send_now == []
    assert ready.send_after_sync == [AppendResponse(1, 2, 1, 2)]
    # Its own entries are written before they are applied.
    assert [each.index for each in ready.committed] == [1, 2]


@pytest.mark.parametrize(("commit", "expected"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_a_follower_commits_no_further_than_the_entries_sent__paper_5_3(commit: int, expected: int) -> None:
    # The third entry may be of a leader that is no more.
    member = core(entries(1, 1, 1), term=2)
    to(member, append(2, (1, 1), [entry(1, 2)], commit=commit))
    assert member.commit == expected


def test_a_heartbeat_tells_no_more_than_what_is_known_to_be_there__paper_5_3() -> None:
    member = elected(core(members=5))
    index = member.propose([b"a"])
    to(member, *[AppendResponse(peer, 1, 1, index) for peer in (2, 3)])
    assert member.commit == index
    for _ in range(2):
        member.tick()
    beats = {m.to: m.commit for m in sent(member) if isinstance(m, Heartbeat)}
    assert beats == {2: index, 3: index, 4: 0, 5: 0}


def test_what_is_committed_is_never_replaced__paper_5_4() -> None:
    member = core(entries(1, 1), term=1, commit=2)
    with pytest.raises(AssertionError, match="committed"):
        member.step(append(2, (0, 0), [entry(2, 1)], frm=3)) or member.step(Heartbeat(3, 1, 2, 9))


def test_a_refusal_below_what_matches_moves_nothing() -> None:
    member = elected(core())
    index = member.propose([b"a", b"b"])
    to(member, AppendResponse(2, 1, 1, index))
    before = member.progress()
    to(member, AppendResponse(2, 1, 1, 1, refused=True, hint_index=0))
    assert member.progress() == before
    to(member, AppendResponse(2, 1, 1, index + 1, refused=True, hint_index=0))
    assert member.progress()[0].next == index + 1


def test_answers_of_an_older_term_are_not_looked_at() -> None:
    member = elected(core(entries(1, 2), term=4))
    before = member.progress()
    to(member, AppendResponse(2, 1, 4, 3), HeartbeatResponse(2, 1, 4, 9))
    assert member.progress() == before


def test_one_message_at_a_time_until_the_logs_meet_then_many__thesis_10_2_1() -> None:
    member = elected(core(members=2, inflight_max=3, append_bytes_max=30))
    member.propose([b"a" * 10 for _ in range(9)])
    assert sent(member) == []
    (first, *_) = to(member, AppendResponse(2, 1, 1, 1))
    assert isinstance(first, AppendRequest)
    assert member.progress()[0].state == "replicate"
    assert member.progress()[0].next == 5
    assert len(to(member, AppendResponse(2, 1, 1, 3))) == 2


def test_messages_that_were_lost_are_sent_again_after_a_heartbeat() -> None:
    group = three()
    group.cut = {(1, 2), (1, 3)}
    group[1].propose([b"a"])
    group.settle()
    group.heal()
    group.tick(4)
    assert group.nodes[2].state == [b"a"]


def test_a_broken_link_stops_the_stream_until_it_answers() -> None:
    member = elected(core(members=2))
    to(member, AppendResponse(2, 1, 1, 1))
    member.propose([b"a"])
    assert len(sent(member)) == 1
    member.unreachable(2)
    assert len(sent(member)) == 1
    member.propose([b"b"])
    assert sent(member) == []
    again = to(member, HeartbeatResponse(2, 1, 1, 0))
    assert isinstance(again[0], AppendRequest)
    assert [each.data for each in again[0].entries] == [b"a", b"b"]


def test_the_commit_index_is_told_at_once() -> None:
    group = three()
    group[1].propose([b"a"])
    group.settle()
    assert group.nodes[3].state == [b"a"]


class TestBounds:
    def test_a_proposal_beyond_the_bound_is_refused_whole(self) -> None:
        member = elected(core(uncommitted_bytes_max=200))
        member.propose([b"a" * 100])
        with pytest.raises(TooManyPending):
            member.propose([b"b", b"c" * 100])
        assert member.last_index == 2
        to(member, AppendResponse(2, 1, 1, 2))
        assert member.pending_bytes == 0
        member.propose([b"c" * 100])

    def test_one_larger_than_the_bound_is_taken_when_nothing_waits(self) -> None:
        member = elected(core(uncommitted_bytes_max=10))
        to(member, AppendResponse(2, 1, 1, 1))
        assert member.propose([b"a" * 1000]) == member.last_index

    def test_who_does_not_lead_refuses_and_says_who_does(self) -> None:
        member = core(term=1)
        to(member, Heartbeat(2, 1, 1, 0))
        with pytest.raises(NotLeader) as refused:
            member.propose([b"a"])
        assert refused.value.leader == 2

    def test_what_is_to_be_applied_comes_in_bounded_parts(self) -> None:
        member = elected(core(members=1, apply_bytes_max=100))
        member.propose([b"a" * 40] * 10)
        readies = drain(member)
        assert [len(ready.committed) for ready in readies] == [1] * 10

    def test_entries_of_one_message_are_bounded(self) -> None:
        member = elected(core(members=2, append_bytes_max=1000))
        to(member, AppendResponse(2, 1, 1, 1))
        member.propose([b"a" * 400] * 10)
        messages = sent(member)
        assert [len(m.entries) for m in messages if isinstance(m, AppendRequest)] == [2] * 5
