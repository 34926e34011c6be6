"""Reads: thesis §6.4, §6.4.1."""

from orchestra.raft.core import RaftCore
from orchestra.raft.model import (
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadRequest,
    ReadResponse,
    ReadState,
    Role,
)
from tests.unit.raft.group import three
from tests.unit.raft.single import append, core, drain, elected, sent, to


def answers(member: RaftCore) -> list[ReadState]:
    return [read for ready in drain(member) for read in ready.reads]


def test_no_answer_before_an_entry_of_the_own_term_is_committed__thesis_6_4() -> None:
    member = elected(core())
    member.read(1)
    to(member, HeartbeatResponse(2, 1, 1, 0))
    assert answers(member) == []
    beats = to(member, AppendResponse(2, 1, 1, 1))
    assert [m.round for m in beats if isinstance(m, Heartbeat)] == [1, 1]
    member.step(HeartbeatResponse(2, 1, 1, 1))
    assert answers(member) == [ReadState(1, 1)]


def leading(**settings: object) -> RaftCore:
    member = elected(core(**settings))
    to(member, AppendResponse(2, 1, 1, 1), HeartbeatResponse(2, 1, 1, 0), HeartbeatResponse(3, 1, 1, 0))
    assert member.commit == 1
    return member


def test_a_round_of_heartbeats_begun_afterwards_confirms_it__thesis_6_4() -> None:
    member = leading()
    member.read(1)
    sent(member)
    # An answer to what was sent before says nothing.
    member.step(HeartbeatResponse(2, 1, 1, 0))
    assert answers(member) == []
    member.step(HeartbeatResponse(3, 1, 1, 1))
    assert answers(member) == [ReadState(1, 1)]


def test_reads_that_come_meanwhile_share_the_next_round__thesis_6_4() -> None:
    group = three()
    group[1].read(1)
    group.work(1)
    for number in range(2, 100):
        group[1].read(number)
    beats = len(group.network)
    group.work(1)
    assert len(group.network) == beats
    group.settle()
    assert [read.id for read in group.nodes[1].reads] == list(range(1, 100))


def test_any_member_reads_at_the_leaders_commit_index__thesis_6_4() -> None:
    group = three()
    index = group[1].propose([b"a"])
    group.settle()
    group[2].read(7)
    group[2].read(8)
    group.settle()
    assert group.nodes[2].reads == [ReadState(7, index), ReadState(8, index)]


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    group = three()
    group[1].read(1)
    group.work(1)
    group.network.clear()
    group.tick(2)
    assert [read.id for read in group.nodes[1].reads] == [1]


def test_a_deposed_leader_answers_nobody() -> None:
    member = leading()
    member.read(1)
    messages = to(member, ReadRequest(3, 1, 1, 5))
    assert all(isinstance(message, Heartbeat) for message in messages)
    member.step(append(2, (0, 0), frm=2))
    ready = drain(member)[0]
    assert ready.reads == [ReadState(1, None)]
    assert ReadResponse(1, 3, 2, 5, 0) in ready.send_after_sync


def test_without_a_leader_the_answer_is_none() -> None:
    member = core()
    member.read(1)
    assert answers(member) == [ReadState(1, None)]


def test_a_change_of_leader_answers_none() -> None:
    member = core(term=1)
    to(member, Heartbeat(2, 1, 1, 0))
    member.read(1)
    assert isinstance(sent(member)[0], ReadRequest)
    member.step(Heartbeat(3, 1, 2, 0))
    assert answers(member) == [ReadState(1, None)]


def test_a_leader_that_does_not_answer_is_given_up() -> None:
    member = core(term=1)
    to(member, Heartbeat(2, 1, 1, 0))
    member.read(1)
    sent(member)
    for _ in range(10):
        to(member, Heartbeat(2, 1, 1, 0))
        member.tick()
    assert answers(member) == [ReadState(1, None)]


def test_an_answer_to_a_life_before_does_not_fit() -> None:
    numbers = set()
    for seed in range(20):
        member = core(term=1, seed=seed)
        to(member, Heartbeat(2, 1, 1, 0))
        member.read(1)
        (request,) = sent(member)
        assert isinstance(request, ReadRequest)
        numbers.add(request.id)
        member.step(ReadResponse(2, 1, 1, request.id + 1, 3))
        assert answers(member) == []
    assert len(numbers) == 20


def test_a_cluster_of_one_answers_at_once() -> None:
    member = core(members=1)
    member.campaign()
    member.read(1)
    assert ReadState(1, 1) in answers(member)


class TestLease:
    """Thesis §6.4.1."""

    def test_a_majority_that_answered_lately_is_enough(self) -> None:
        group = three(lease_reads=True)
        group.tick(2)
        group[1].read(1)
        ready = group[1].ready()
        assert ready is not None
        assert [read.id for read in ready.reads] == [1]

    def test_it_ends_before_anyone_else_can_be_elected(self) -> None:
        group = three(lease_reads=True)
        group.tick(2)
        group.separate(1)
        group.tick(9, 1)
        group[1].read(1)
        group.settle()
        assert group.nodes[1].reads == []

    def test_handing_over_ends_it(self) -> None:
        group = three(lease_reads=True)
        group.tick(2)
        group[1].transfer_leadership(2)
        group[1].read(1)
        group.work(1)
        assert group.nodes[1].reads == []
        group.settle()
        assert group[2].role is Role.LEADER
        assert group.nodes[1].reads == [ReadState(1, None)]


def test_reads_that_wait_are_bounded() -> None:
    member = elected(core(reads_waiting_max=2))
    for number in range(4):
        member.read(number)
    assert answers(member) == [ReadState(2, None), ReadState(3, None)]
