"""What is to be done, and what must be durable before what: paper §5, thesis §10.2.1."""

import random

import pytest

from orchestra.raft.core import RaftCore
from orchestra.raft.model import (
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    HardState,
    HeartbeatResponse,
    RaftSettings,
    ReadState,
    SnapshotMark,
)
from orchestra.raft.state import Restored
from tests.unit.raft.single import core, drain, elected, entries, entry, sent, to


def test_one_ready_at_a_time() -> None:
    member = core(members=1)
    member.campaign()
    ready = member.ready()
    assert ready is not None
    with pytest.raises(AssertionError):
        member.ready()
    member.advance(ready)
    with pytest.raises(AssertionError):
        member.advance(ready)


def test_idle_there_is_nothing_to_do() -> None:
    member = core(members=1)
    member.campaign()
    drain(member)
    for _ in range(50):
        member.tick()
    assert member.ready() is None


def test_a_leaders_entries_leave_while_they_are_written__thesis_10_2_1() -> None:
    member = elected(core(members=2))
    to(member, AppendResponse(2, 1, 1, 1))
    member.propose([b"a"])
    ready = member.ready()
    assert ready is not None
    assert [type(message) for message in ready.send_now] == [AppendRequest]
    assert ready.must_sync


def test_nothing_leaves_in_a_term_that_is_not_durable__paper_5_2() -> None:
    # A lone voter leads before its term is on disk; its learner must not hear of it before that.
    configuration = Configuration(frozenset({1}), learners=frozenset({2}))
    member = core(configuration=configuration)
    member.campaign()
    ready = member.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert ready.send_now == []
    assert [type(message) for message in ready.send_after_sync] == [AppendRequest]
    assert ready.committed == []


def test_the_commit_index_alone_is_not_worth_a_write() -> None:
    member = elected(core(members=2))
    index = member.propose([b"a"])
    drain(member)
    member.step(AppendResponse(2, 1, 1, index))
    for ready in drain(member):
        assert ready.hard_state is None
        assert not ready.must_sync
    member.propose([b"b"])
    ready = member.ready()
    assert ready is not None
    assert ready.hard_state == HardState(1, 1, index)


def test_a_commit_index_beyond_the_log_is_what_a_crash_left() -> None:
    member = core(entries(1, 1), term=1, commit=7)
    assert member.commit == 2
    (ready,) = drain(member)
    assert [each.index for each in ready.committed] == [1, 2]


@pytest.mark.parametrize(
    ("mark", "log", "applied", "term"),
    [
        (5, [entry(1, 7)], 5, 1),
        (5, [entry(1, 6)], 4, 1),
        (5, [entry(1, 6)], 7, 1),
        (5, [entry(2, 6)], 5, 1),
    ],
)
def test_what_cannot_have_been_written_is_refused(
    mark: int, log: list[Entry], applied: int, term: int
) -> None:
    restored = Restored(
        HardState(term, 0, 0), SnapshotMark(mark, 1, Configuration(frozenset({1}))), log, applied
    )
    with pytest.raises(ValueError):
        RaftCore(RaftSettings(node=1), restored, random.Random(1))


class TestTakingBack:
    """The disk is full, and the cluster is this member."""

    def test_entries_that_could_not_be_written_never_were(self) -> None:
        member = core(members=1)
        member.campaign()
        drain(member)
        member.propose([b"a"])
        member.read(1)
        assert member.ready() is not None
        assert member.discard_unpersisted()
        assert (member.last_index, member.commit, member.pending_bytes) == (1, 1, 0)
        (ready,) = drain(member)
        assert ready.committed == []
        # The read waits for nothing that is gone.
        assert ready.reads == [ReadState(1, 1)]
        assert member.propose([b"b"]) == 2
        (ready,) = drain(member)
        assert [each.data for each in ready.committed] == [b"b"]

    def test_what_was_applied_before_is_still_to_be_applied(self) -> None:
        member = core(members=1, apply_bytes_max=1)
        member.campaign()
        drain(member)
        member.propose([b"a", b"b"])
        ready = member.ready()
        assert ready is not None
        member.advance(ready)
        member.propose([b"c"])
        ready = member.ready()
        assert ready is not None
        assert [each.data for each in ready.committed] == [b"b"]
        assert member.discard_unpersisted()
        assert [each.data for ready in drain(member) for each in ready.committed] == [b"b"]

    def test_a_membership_is_taken_back_too(self) -> None:
        member = core(members=1)
        member.campaign()
        drain(member)
        before = member.configuration
        member.change(frozenset({1}), frozenset(), b"new")
        assert member.ready() is not None
        assert member.discard_unpersisted()
        assert member.configuration == before
        member.change(frozenset({1}), frozenset(), b"newer")

    def test_not_what_the_term_begins_with(self) -> None:
        member = core(members=1)
        member.campaign()
        ready = member.ready()
        assert ready is not None
        assert not member.discard_unpersisted()
        member.advance(ready)

    def test_not_what_others_may_have(self) -> None:
        member = elected(core())
        member.propose([b"a"])
        assert member.ready() is not None
        assert not member.discard_unpersisted()

    def test_not_what_a_learner_was_just_told(self) -> None:
        member = core(members=1)
        member.campaign()
        drain(member)
        member.change(frozenset({1}), frozenset({2}), b"")
        assert member.ready() is not None
        assert not member.discard_unpersisted()


def test_messages_for_someone_else_are_not_looked_at() -> None:
    member = elected(core())
    before = member.progress()
    assert to(member, HeartbeatResponse(2, 3, 9, 1)) == []
    assert member.progress() == before
    assert sent(member) == []
