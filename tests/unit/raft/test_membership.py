"""Changes of the members: paper §6; thesis §4.1 to §4.3."""

import pytest

from orchestra.raft.encoding import encode_configuration
from orchestra.raft.errors import ChangePending, NotCaughtUp, NotLeader
from orchestra.raft.model import AppendResponse, Configuration, Entry, EntryKind, Role
from tests.unit.raft.group import Group, three
from tests.unit.raft.single import append, core, elected, entries, entry, sent, to


def voters(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def changed(index: int, term: int, configuration: Configuration) -> Entry:
    return Entry(term, index, EntryKind.CONFIGURATION, encode_configuration(configuration))


def five() -> Group:
    """1, 2, 3 vote; 4 and 5 are learners that have the log."""
    group = Group()
    group.add([1, 2, 3, 4, 5], [1, 2, 3], [4, 5])
    group.lead(1)
    group.tick(2)
    return group


def test_a_configuration_counts_from_when_it_is_in_the_log__paper_6() -> None:
    group = five()
    group[1].change(voters(1, 4, 5), voters(), b"")
    assert group[1].configuration == Configuration(voters(1, 4, 5), voters(1, 2, 3))


def test_old_and_new_each_need_a_majority__paper_6() -> None:
    group = five()
    group.cut = {(4, 1), (5, 1)}
    index = group[1].change(voters(1, 4, 5), voters(), b"")
    group.tick(5)
    # 1, 2 and 3 have it; of the new ones only 1.
    assert group[1].commit < index
    group.heal()
    group.tick(5)
    assert group[1].configuration == Configuration(voters(1, 4, 5))
    assert group[4].configuration == Configuration(voters(1, 4, 5))


def test_c_new_follows_by_itself_even_under_another_leader__paper_6() -> None:
    group = five()
    index = group[1].change(voters(1, 4, 5), voters(2), b"names")
    group.work(1)
    for message in list(group.network):
        group.deliver(message)
    group.nodes[1].crash()
    group.network.clear()
    group.tick(60)
    (leader,) = group.leaders()
    core_ = group[leader]
    assert core_.commit > index
    assert core_.configuration == Configuration(voters(1, 4, 5), learners=voters(2), context=b"names")


def test_a_configuration_goes_with_the_suffix_that_brought_it__paper_6() -> None:
    member = core(term=1)
    before = member.configuration
    new = Configuration(voters(1, 2), voters(1, 2, 3))
    to(member, append(1, (0, 0), [entry(1, 1), changed(2, 1, new)]))
    assert member.configuration == new
    to(member, append(2, (1, 1), [entry(2, 2)], frm=3))
    assert member.configuration == before


def test_a_leader_outside_c_new_does_not_count_itself_and_goes_once_it_is_committed__paper_6() -> None:
    group = three()
    group[1].change(voters(2, 3), voters(), b"")
    group.settle()
    assert group[1].role is Role.FOLLOWER
    assert len(group.leaders()) == 1
    assert group.leaders() != [1]
    group.tick(30)
    assert group[1].configuration == Configuration(voters(2, 3))
    assert group[1].term <= group[2].term == group[3].term


def test_who_is_removed_learns_it() -> None:
    group = three()
    group[1].change(voters(1, 2), voters(), b"")
    group.tick(5)
    assert group[3].configuration_at(group[3].commit) == Configuration(voters(1, 2))
    group.tick(60)
    assert group[3].term == 1
    assert [each.node for each in group[1].progress()] == [2]


def test_who_is_removed_and_does_not_know_deposes_nobody__thesis_4_2_3() -> None:
    group = three()
    group.separate(3)
    group[1].change(voters(1, 2), voters(), b"")
    group.tick(60)
    group.heal()
    group.tick(60)
    assert group.leaders() == [1]
    assert group[1].term == 1


def test_a_member_of_the_old_side_may_still_be_needed_to_stand__thesis_4_2_2() -> None:
    # 1 has C_new, in which it is not; nobody else does, and 2 cannot win against its log.
    joint = Configuration(voters(2, 3), voters(1, 2))
    log = [entry(1, 1), changed(2, 1, joint), changed(3, 1, Configuration(voters(2, 3)))]
    member = core(log, term=1, commit=2, members=2, pre_vote=False)
    for _ in range(20):
        member.tick()
    assert member.role is Role.CANDIDATE
    gone = core(log, term=1, commit=3, members=2, pre_vote=False)
    for _ in range(50):
        gone.tick()
    assert gone.role is Role.FOLLOWER


def test_a_new_leader_changes_nothing_before_an_entry_of_its_term_is_committed__thesis_4_1() -> None:
    member = elected(core())
    with pytest.raises(ChangePending):
        member.change(voters(1, 2), voters(), b"")
    to(member, AppendResponse(2, 1, 1, 1))
    member.change(voters(1, 2), voters(), b"")


def test_one_change_at_a_time__paper_6() -> None:
    member = elected(core())
    to(member, AppendResponse(2, 1, 1, 1))
    member.change(voters(1, 2, 3), voters(4), b"")
    with pytest.raises(ChangePending):
        member.change(voters(1, 2, 3), voters(5), b"")
    to(member, AppendResponse(2, 1, 1, 2))
    member.change(voters(1, 2), voters(), b"")
    with pytest.raises(ChangePending):
        member.change(voters(1, 2, 3), voters(), b"")


def test_learners_and_the_context_change_without_a_joint_configuration__thesis_4_2_1() -> None:
    member = elected(core())
    to(member, AppendResponse(2, 1, 1, 1))
    member.change(voters(1, 2, 3), voters(4), b"a")
    assert not member.configuration.is_joint
    assert [message.to for message in sent(member)] == [2, 4]


def test_a_learner_is_not_counted__thesis_4_2_1() -> None:
    group = five()
    group.separate(1, 4, 5)
    index = group[1].propose([b"a"])
    group.tick(3, 1, 4, 5)
    assert group[4].last_index == index
    assert group[1].commit < index


def test_a_learner_votes_only_when_it_has_caught_up__thesis_4_2_1() -> None:
    group = five()
    group.nodes[4].crash()
    group.tick(25)
    with pytest.raises(NotCaughtUp):
        group[1].change(voters(1, 2, 3, 4), voters(5), b"")
    group.nodes[4].start()
    group.tick(5)
    group[1].change(voters(1, 2, 3, 4), voters(5), b"")
    group.tick(3)
    assert group[4].configuration.voters == voters(1, 2, 3, 4)


def test_a_new_member_catches_up_from_nothing() -> None:
    group = three()
    group.add([4], voters=())
    group[1].propose([b"a", b"b"])
    group[1].change(voters(1, 2, 3), voters(4), b"")
    group.tick(4)
    assert group.nodes[4].state == [b"a", b"b"]
    assert group[4].configuration.learners == voters(4)


@pytest.mark.parametrize(("new", "learners"), [(voters(), voters()), (voters(1, 2), voters(2))])
def test_what_cannot_be_is_refused(new: frozenset[int], learners: frozenset[int]) -> None:
    member = elected(core())
    with pytest.raises(ValueError):
        member.change(new, learners, b"")


def test_only_the_leader_changes_it() -> None:
    with pytest.raises(NotLeader):
        core().change(voters(1), voters(), b"")


def test_from_one_to_three_and_back() -> None:
    group = Group()
    group.add([1, 2, 3], [1])
    group.lead(1)
    for target, learners in (((1,), (2, 3)), ((1, 2, 3), ()), ((1,), ())):
        group[1].change(voters(*target), voters(*learners), b"")
        group.tick(6)
        assert group[1].configuration == Configuration(voters(*target), learners=voters(*learners))
    index = group[1].propose([b"a"])
    group.settle()
    assert group[1].commit == index


def test_the_newest_configuration_of_the_log_counts_after_a_restart() -> None:
    new = Configuration(voters(1, 2), learners=voters(7))
    member = core([*entries(1), changed(2, 1, new)], term=1)
    assert member.configuration == new
    assert member.configuration_at(1).voters == voters(1, 2, 3)
