"""Snapshots: paper §7, thesis §5."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from orchestra.raft.core import RaftCore
from orchestra.raft.model import (
    AppendResponse,
    Configuration,
    HeartbeatResponse,
    Message,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
)
from tests.unit.raft.group import Group, three
from tests.unit.raft.single import append, core, drain, elected, entries, entry, log_terms, sent, to

THREE = Configuration(frozenset({1, 2, 3}))


def piece(
    index: int, sequence: int, *, last: bool = False, term: int = 3, mark_term: int = 2, stream: int = 1
) -> SnapshotChunk:
    return SnapshotChunk(2, 1, term, SnapshotMark(index, mark_term, THREE), sequence, b"x", last, stream)


def behind(**settings: object) -> Group:
    """3 was away, and what it lacks is forgotten."""
    group = three(**settings)
    group.nodes[3].crash()
    for number in range(40):
        group[1].propose([b"%d" % number])
    group.settle()
    group.nodes[1].snapshot()
    group.nodes[3].start()
    return group


def test_who_needs_what_is_forgotten_gets_a_snapshot_then_the_log__paper_7() -> None:
    group = behind()
    group.tick(4)
    assert group[3].first_index == group[1].first_index
    assert group.nodes[3].state == group.nodes[1].state
    group[1].propose([b"after"])
    group.settle()
    assert group.nodes[3].state[-1] == b"after"


@pytest.mark.parametrize("window", [1, 3, 8])
def test_no_more_pieces_are_under_way_than_the_window__paper_7(window: int) -> None:
    group = behind(snapshot_window=window)
    group[1].tick()
    group[1].tick()
    for _ in range(40):
        while group.work(1):
            pass
        assert sum(isinstance(message, SnapshotChunk) for message in group.network) <= window
        waiting, group.network = group.network, []
        for message in waiting:
            group.deliver(message)
        group.work(3)
    group.settle()
    assert group.nodes[3].state == group.nodes[1].state


def test_lost_pieces_are_sent_again() -> None:
    group = behind(snapshot_window=3)
    send = group.send
    lost: list[int] = []

    def lossy(messages: object) -> None:
        kept = []
        for message in messages:  # type: ignore[attr-defined]
            if isinstance(message, SnapshotChunk) and lost.count(message.sequence) < 2:
                lost.append(message.sequence)
            else:
                kept.append(message)
        send(kept)

    group.send = lossy  # type: ignore[assignment, method-assign]
    group.tick(600)
    assert lost
    assert group.nodes[3].state == group.nodes[1].state


def test_a_member_that_restarts_meanwhile_gets_it_anew() -> None:
    group = behind(snapshot_window=1)
    for _ in range(12):
        group[1].tick()
        for number in (1, 3):
            group.work(number)
        waiting, group.network = group.network, []
        for message in waiting:
            group.deliver(message)
    assert group.nodes[3].chunks
    group.nodes[3].crash()
    group.nodes[3].start()
    group.tick(40)
    assert group.nodes[3].state == group.nodes[1].state


def test_pieces_are_taken_in_order_and_once() -> None:
    member = core(entries(1), term=1)
    heard = to(member, piece(9, 0), piece(9, 2), piece(9, 0), piece(9, 1))
    assert [m.received for m in heard if isinstance(m, SnapshotResponse)] == [1, 1, 1, 2]


def test_pieces_of_two_sendings_never_mix() -> None:
    member = core(entries(1), term=1)
    to(member, piece(9, 0), piece(9, 1))
    (answer,) = to(member, piece(9, 2, stream=2))
    assert isinstance(answer, SnapshotResponse)
    assert (answer.received, answer.stream, answer.done) == (0, 2, False)
    to(member, piece(9, 0, stream=2))
    assert to(member, piece(9, 1, stream=1, last=True)) == []
    (answer,) = to(member, piece(9, 1, stream=2, last=True))
    assert isinstance(answer, SnapshotResponse)
    assert answer.done


def test_it_replaces_a_log_that_conflicts__paper_7() -> None:
    member = core(entries(1, 1, 1), term=1)
    member.step(piece(2, 0, last=True))
    ready = member.ready()
    assert ready is not None
    assert ready.install == SnapshotMark(2, 2, THREE)
    assert [chunk.sequence for chunk in ready.chunks] == [0]
    assert ready.must_sync
    assert ready.send_now == []
    assert ready.send_after_sync == [SnapshotResponse(1, 2, 3, 2, 1, True, 1)]
    # What is applied is the old state until it is done, and the log takes nothing.
    assert member.applied == 0
    member.step(append(3, (2, 2), [entry(3, 3)]))
    member.advance(ready)
    assert (member.applied, member.commit, member.last_index, member.first_index) == (2, 2, 2, 3)
    to(member, append(3, (2, 2), [entry(3, 3)]))
    assert member.last_index == 3


def test_a_log_that_has_it_all_stays_as_it_is__paper_7() -> None:
    member = core(entries(1, 2, 2), term=2)
    member.step(piece(2, 0, last=False))
    ready = member.ready()
    assert ready is not None
    assert ready.install is None
    assert member.commit == 2
    assert log_terms(member) == [1, 2, 2]
    (answer,) = ready.send_after_sync
    assert isinstance(answer, SnapshotResponse)
    assert answer.done


def test_one_older_than_what_is_committed_is_not_needed() -> None:
    member = core(entries(1, 1, 1), term=3, commit=3)
    (answer,) = to(member, piece(2, 0, mark_term=1))
    assert isinstance(answer, SnapshotResponse)
    assert answer.done
    assert member.last_index == 3


def test_one_whose_configuration_is_without_the_member_is_taken() -> None:
    # A learner added after the snapshot was made.
    member = core(configuration=Configuration(frozenset()), node=9)
    chunk = SnapshotChunk(2, 9, 3, SnapshotMark(5, 2, THREE), 0, b"x", True, 1)
    to(member, chunk)
    assert member.configuration == THREE
    assert member.applied == 5
    for _ in range(50):
        member.tick()
    assert member.term == 3


def leader_with_one_behind() -> RaftCore:
    member = elected(core(entries(*[1] * 9), term=1, commit=9))
    to(member, AppendResponse(2, 1, 2, 10))
    drain(member)
    member.compact(9)
    wanted = [ready.snapshots_wanted for ready in _refused(member)]
    assert wanted == [[3]]
    return member


def _refused(member: RaftCore) -> list[object]:
    member.step(AppendResponse(3, 1, 2, 9, refused=True))
    return [ready for ready in drain(member) if ready.snapshots_wanted]


def test_an_error_while_reading_ends_this_sending_and_another_is_wanted_later() -> None:
    member = leader_with_one_behind()

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise OSError("gone")

    member.offer_snapshot(3, SnapshotMark(9, 1, THREE), broken())
    sent(member)
    wanted = []
    for _ in range(12):
        member.tick()
        member.step(HeartbeatResponse(3, 1, 2, 0))
        member.step(HeartbeatResponse(2, 1, 2, 0))
        wanted += [node for ready in drain(member) for node in ready.snapshots_wanted]
    assert wanted == [3]


def test_stale_answers_move_nothing() -> None:
    member = leader_with_one_behind()
    member.offer_snapshot(3, SnapshotMark(9, 1, THREE), iter([b"a", b"b", b"c"]))
    assert len(sent(member)) == 3
    to(member, SnapshotResponse(3, 1, 2, 9, 2, False, 1))
    before = member.progress()
    to(member, SnapshotResponse(3, 1, 2, 9, 1, False, 1), SnapshotResponse(3, 1, 2, 9, 3, False, 7))
    to(member, AppendResponse(3, 1, 2, 9, refused=True))
    assert member.progress() == before
    to(member, SnapshotResponse(3, 1, 2, 9, 3, True, 1))
    assert (member.progress()[1].match, member.progress()[1].state) == (9, "replicate")


def test_an_empty_snapshot_is_one_piece() -> None:
    member = leader_with_one_behind()
    member.offer_snapshot(3, SnapshotMark(9, 1, THREE), iter([]))
    (chunk,) = sent(member)
    assert isinstance(chunk, SnapshotChunk)
    assert (chunk.sequence, chunk.data, chunk.last) == (0, b"", True)


def test_what_is_not_applied_is_not_forgotten() -> None:
    member = core(entries(1, 1), term=1)
    with pytest.raises(ValueError, match="cannot be forgotten"):
        member.compact(1)


class TestNoRoom:
    """What could not be kept is given up, and sent again later."""

    def test_all_is_as_before_and_the_leader_is_told(self) -> None:
        member = core(entries(1, 1, 2), term=3, commit=2)
        drain(member)
        member.step(append(3, (2, 3), [entry(3, 4)]))
        member.step(piece(9, 0))
        member.step(piece(9, 1, last=True))
        ready = member.ready()
        assert ready is not None
        assert ready.install is not None
        instead = member.abandon_incoming()
        assert (instead.chunks, instead.install, instead.entries) == ((), None, [])
        # That entry 4 is there is not said either: it is not written yet.
        assert instead.send_after_sync == [SnapshotResponse(1, 2, 3, 9, 0, stream=1, refused=True)]
        member.advance(instead)
        assert (member.last_index, member.commit, member.applied) == (4, 2, 2)
        assert log_terms(member) == [1, 1, 2, 3]
        (after,) = drain(member)
        assert [each.index for each in after.entries] == [4]
        # The rest of that sending is of no use; a new one is.
        assert to(member, piece(9, 2)) == [SnapshotResponse(1, 2, 3, 9, 0, stream=1)]
        to(member, piece(9, 0, stream=2), piece(9, 1, last=True, stream=2))
        assert (member.last_index, member.commit, member.applied) == (9, 9, 9)

    def test_what_is_to_be_written_anyway_stays(self) -> None:
        member = core(entries(1), term=1)
        member.step(append(3, (1, 1), [entry(3, 2)], commit=1))
        member.step(piece(9, 0))
        assert member.ready() is not None
        instead = member.abandon_incoming()
        assert instead.hard_state is not None
        assert (instead.hard_state.term, instead.must_sync) == (3, True)
        assert [each.index for each in instead.entries] == [2]
        assert [type(message) for message in instead.send_after_sync] == [AppendResponse, SnapshotResponse]

    def test_there_is_nothing_to_abandon_without_a_piece(self) -> None:
        member = core(entries(1), term=1)
        with pytest.raises(AssertionError):
            member.abandon_incoming()
        member.step(append(3, (1, 1)))
        assert member.ready() is not None
        with pytest.raises(AssertionError):
            member.abandon_incoming()

    def test_the_leader_waits_longer_each_time_up_to_a_bound(self) -> None:
        group = behind()
        group.nodes[3].full = True
        sent_at = []
        send = group.send
        tick = 0

        def watching(messages: Sequence[Message]) -> None:
            if any(isinstance(message, SnapshotChunk) for message in messages):
                sent_at.append(tick)
            send(messages)

        group.send = watching  # type: ignore[method-assign]
        while len(sent_at) < 8:
            group.tick()
            tick += 1
        waits = [after - before for before, after in itertools.pairwise(sent_at)]
        assert waits == sorted(waits)
        assert waits[0] >= 10
        assert 160 <= waits[-1] <= 165
        group.nodes[3].full = False
        group.tick(170)
        assert group.nodes[3].state == group.nodes[1].state
