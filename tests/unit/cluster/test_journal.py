"""The journal: what comes back, what is refused, and when files go."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.cluster.journal import Journal
from orchestra.cluster.journal_records import ENTRY, HARD_STATE, INSTALLED
from orchestra.raft.encoding import encode_entry, encode_hard_state, encode_mark
from orchestra.raft.model import Configuration, Entry, EntryKind, HardState, SnapshotMark
from orchestra.storage.disk import Disk
from orchestra.storage.errors import Damaged, DiskFailed, DiskFull, StorageError, WrongIdentity
from orchestra.storage.identity import Identity
from orchestra.storage.records import HEADER_BYTES, RecordReader, encode_records
from orchestra.storage.wal import HEAD
from tests.unit.storage.disks import FaultyDisk

OURS = Identity("11" * 16, "22" * 8, "m1")
CONFIGURATION = Configuration(frozenset((1, 2)), frozenset((1,)), frozenset((3,)), b"names")
BEGINNING = SnapshotMark(0, 0, CONFIGURATION)
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def entries(first: int, count: int, term: int = 1, size: int = 20) -> list[Entry]:
    return [
        Entry(term, index, EntryKind(index % 2), b"%d/%d " % (term, index) + b"x" * size)
        for index in range(first, first + count)
    ]


def mark(index: int, term: int = 1) -> SnapshotMark:
    return SnapshotMark(index, term, CONFIGURATION)


def created(path: Path, segment_bytes: int = 1 << 20, disk: Disk | None = None) -> Journal:
    journal = Journal(disk or FaultyDisk(), path, OURS, segment_bytes=segment_bytes)
    journal.create(BEGINNING)
    return journal


def opened(path: Path, snapshot: SnapshotMark = BEGINNING) -> tuple[Journal, HardState, list[Entry]]:
    journal = Journal(FaultyDisk(), path, OURS)
    found = journal.open(snapshot)
    return journal, journal.hard_state, found


def content(path: Path, snapshot: SnapshotMark = BEGINNING) -> tuple[HardState, list[Entry]]:
    journal, hard_state, found = opened(path, snapshot)
    journal.close()
    return hard_state, found


def test_what_was_appended_comes_back(tmp_path: Path) -> None:
    journal = created(tmp_path)
    journal.append(HardState(1, 7, 0), entries(1, 3))
    journal.append(None, entries(4, 2))
    journal.append(HardState(2, 8, 4), ())
    journal.close()
    assert content(tmp_path) == (HardState(2, 8, 4), entries(1, 5))
    assert content(tmp_path, mark(2)) == (HardState(2, 8, 4), entries(3, 3))
    assert content(tmp_path, mark(5)) == (HardState(2, 8, 5), [])


def test_later_entries_replace_the_end(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=300)
    journal.append(HardState(1, 0, 2), entries(1, 6))
    journal.append(HardState(2, 0, 2), entries(3, 1, term=2))
    journal.append(HardState(3, 0, 2), entries(4, 3, term=3))
    journal.append(HardState(4, 0, 2), entries(3, 2, term=4))
    journal.close()
    expected = entries(1, 2) + entries(3, 2, term=4)
    assert content(tmp_path) == (HardState(4, 0, 2), expected)


def test_one_append_is_one_write_and_one_sync(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = created(tmp_path, disk=disk)
    journal.append(HardState(1, 1, 0), entries(1, 1))
    before = disk.syncs
    journal.append(HardState(2, 1, 2), entries(2, 50, term=2))
    assert disk.syncs == before + 1
    journal.close()


def test_a_commit_index_alone_waits_for_the_next_write_or_the_closing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = created(tmp_path, disk=disk)
    journal.append(HardState(1, 1, 0), entries(1, 5))
    before = disk.bytes_written, disk.syncs
    for commit in range(1, 5):
        journal.append(HardState(1, 1, commit), (), sync=False)
    assert (disk.bytes_written, disk.syncs) == before
    assert journal.hard_state.commit == 4
    assert content(tmp_path) == (HardState(1, 1, 0), entries(1, 5))
    journal.close()
    assert content(tmp_path) == (HardState(1, 1, 4), entries(1, 5))


def test_a_vote_never_waits(tmp_path: Path) -> None:
    journal = created(tmp_path)
    journal.append(HardState(1, 5, 0), (), sync=False)
    # The process is gone without a word.
    assert content(tmp_path) == (HardState(1, 5, 0), [])
    journal.close()


def test_an_installed_snapshot_replaces_the_log(tmp_path: Path) -> None:
    journal = created(tmp_path)
    journal.append(HardState(2, 1, 2), entries(1, 9, term=2))
    journal.installed(mark(50, term=4), HardState(4, 0, 50))
    journal.append(None, entries(51, 2, term=4))
    journal.close()
    assert content(tmp_path, mark(50, term=4)) == (HardState(4, 0, 50), entries(51, 2, term=4))
    for snapshot in (BEGINNING, mark(9, term=2), mark(49, term=4), mark(50, term=3)):
        with pytest.raises(Damaged, match="begins after a snapshot at entry 50 of term 4"):
            content(tmp_path, snapshot)


@pytest.mark.parametrize(
    ("snapshot", "kept"),
    [
        (mark(9, term=3), None),
        (mark(6, term=3), None),
        (mark(6, term=2), []),
        (mark(4, term=2), entries(5, 2, term=2)),
    ],
)
def test_a_snapshot_that_the_log_does_not_know_replaces_it(
    tmp_path: Path, snapshot: SnapshotMark, kept: list[Entry] | None
) -> None:
    """The machine stopped after the file was safe and before the journal said so."""
    journal = created(tmp_path)
    journal.append(HardState(2, 1, 2), entries(1, 6, term=2))
    journal.close()
    term, vote = (3, 0) if snapshot.term == 3 else (2, 1)
    expected = HardState(term, vote, snapshot.index), kept or []
    assert content(tmp_path, snapshot) == expected
    assert content(tmp_path, snapshot) == expected
    if kept is None:
        with pytest.raises(Damaged):
            content(tmp_path, BEGINNING)
    journal, _, _ = opened(tmp_path, snapshot)
    following = journal.last_index + 1
    journal.append(HardState(7, 0, snapshot.index), entries(following, 1, term=7))
    journal.close()
    assert content(tmp_path, snapshot)[1][-1:] == entries(following, 1, term=7)


def test_files_go_when_all_their_entries_are_of_no_more_use(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=400)
    journal.append(HardState(1, 1, 0), ())
    for index in range(1, 31):
        journal.append(HardState(1, 1, index - 1), entries(index, 1, size=100))
    before = len(list(tmp_path.iterdir()))
    assert before > 8
    assert journal.drop_through(0) == 0
    gone = journal.drop_through(15)
    assert 0 < gone < before
    assert len(list(tmp_path.iterdir())) == before - gone
    journal.close()
    for index in (15, 16, 30):
        hard_state, found = content(tmp_path, mark(index))
        assert (hard_state, found) == (
            HardState(1, 1, max(29, index)),
            entries(index + 1, 30 - index, size=100),
        )
    with pytest.raises(Damaged, match="what came after 3 is missing"):
        content(tmp_path, mark(3))
    # What was not read at the opening is known all the same.
    journal, _, _ = opened(tmp_path, mark(30))
    again = journal.drop_through(20)
    assert again > 0
    journal.close()
    assert content(tmp_path, mark(20))[1] == entries(21, 10, size=100)
    with pytest.raises(Damaged):
        content(tmp_path, mark(10))


def test_replaced_entries_hold_no_file(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=400)
    journal.append(HardState(1, 1, 0), entries(1, 20, size=100))
    journal.append(HardState(2, 1, 0), entries(3, 2, term=2, size=400))
    journal.append(None, entries(5, 1, term=2))
    assert journal.drop_through(1) == 0
    assert journal.drop_through(2) == 1
    journal.close()
    assert content(tmp_path, mark(2)) == (
        HardState(2, 1, 2),
        entries(3, 2, term=2, size=400) + entries(5, 1, term=2),
    )


def test_an_install_frees_all_files_before_it(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=400)
    for index in range(1, 11):
        journal.append(HardState(1, 1, 0), entries(index, 1, size=200))
    journal.installed(mark(50), None)
    assert journal.drop_through(0) > 3
    for index in range(51, 56):
        journal.append(None, entries(index, 1, size=200))
    journal.drop_through(53)
    journal.close()
    assert content(tmp_path, mark(53)) == (HardState(1, 1, 53), entries(54, 2, size=200))
    with pytest.raises(Damaged):
        content(tmp_path, mark(49))


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = created(tmp_path, disk=disk, segment_bytes=300)
    journal.append(HardState(1, 1, 0), entries(1, 9))
    disk.write_error, disk.written_before_error = NO_SPACE, 40
    attempts: tuple[Callable[[], None], ...] = (
        lambda: journal.append(HardState(5, 2, 3), entries(4, 9, term=5)),
        lambda: journal.append(HardState(5, 2, 3), ()),
        lambda: journal.installed(mark(50), None),
    )
    for attempt in attempts:
        with pytest.raises(DiskFull):
            attempt()
        assert (journal.hard_state, journal.last_index) == (HardState(1, 1, 0), 9)
    disk.write_error = None
    journal.append(HardState(2, 1, 4), entries(10, 2, term=2))
    journal.close()
    assert content(tmp_path) == (HardState(2, 1, 4), entries(1, 9) + entries(10, 2, term=2))


def test_a_failed_sync_is_final(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = created(tmp_path, disk=disk)
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(DiskFailed):
        journal.append(HardState(1, 1, 0), entries(1, 1))
    disk.sync_error = None
    for attempt in (lambda: journal.append(HardState(1, 1, 0), ()), lambda: journal.installed(mark(3), None)):
        with pytest.raises(DiskFailed):
            attempt()
    journal.close()


@pytest.mark.parametrize(
    ("hard_state", "appended"),
    [
        (HardState(2, 1, 3), entries(7, 1)),
        (HardState(2, 1, 3), entries(3, 1)),
        (HardState(2, 1, 3), entries(6, 1, term=3)),
        (HardState(2, 1, 3), entries(6, 1) + entries(8, 1)),
        (HardState(1, 1, 3), []),
        (HardState(2, 1, 2), []),
        (HardState(2, 1, 6), []),
        (HardState(2, 1, 8), entries(6, 2)),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, hard_state: HardState, appended: list[Entry]
) -> None:
    journal = created(tmp_path)
    journal.append(HardState(2, 1, 3), entries(1, 5))
    for sync in (True, False):
        with pytest.raises(ValueError, match=r"cannot follow|in term"):
            journal.append(hard_state, appended, sync)
    with pytest.raises(ValueError, match="cannot follow"):
        journal.installed(mark(2), None)
    journal.close()
    assert content(tmp_path) == (HardState(2, 1, 3), entries(1, 5))


TERM_2 = (HARD_STATE, encode_hard_state(HardState(2, 1, 0)))
FIVE = [(ENTRY, encode_entry(entry)) for entry in entries(1, 5)]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([FIVE[0]], "entry 1 of term 1, but the member knew of no term 1"),
        ([TERM_2, *FIVE[1:]], "entry 2 where 1 should follow"),
        ([TERM_2, *FIVE[:2], FIVE[4]], "entry 5 where 3 should follow"),
        ([TERM_2, (HARD_STATE, encode_hard_state(HardState(2, 1, 1)))], "1 entries are committed"),
        (
            [TERM_2, *FIVE, (HARD_STATE, encode_hard_state(HardState(2, 1, 4))), FIVE[3]],
            "entry 4 where 6 should follow, committed 4",
        ),
        ([TERM_2, (HARD_STATE, encode_hard_state(HardState(1, 1, 0)))], "term=1.*after"),
        ([(INSTALLED, encode_mark(mark(5)))], "a snapshot at entry 5 of term 1"),
        ([(ENTRY, b"\xff\xff")], "cannot be read"),
        ([(ENTRY, b"\x18\x09")], "cannot be read"),
    ],
)
def test_what_no_crash_explains_is_refused(
    tmp_path: Path, records: list[tuple[int, bytes]], found: str
) -> None:
    created(tmp_path).close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + encode_records(2, records))
    with pytest.raises(Damaged, match=found) as refused:
        content(tmp_path)
    assert str(file) in str(refused.value)
    assert refused.value.offset > HEADER_BYTES
    assert "restore the data directory from a backup" in str(refused.value)


def test_a_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    created(tmp_path).close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + encode_records(2, [(99, b"")]))
    with pytest.raises(WrongIdentity, match=r"record 2 is of type 99.*start the version that wrote it"):
        content(tmp_path)


def some_journal(path: Path) -> tuple[Path, list[tuple[HardState, list[Entry]]]]:
    """A log of one file, and the states after each of its records, the head first."""
    journal = created(path)
    journal.append(HardState(1, 1, 0), entries(1, 3, size=0))
    journal.append(HardState(2, 2, 2), entries(3, 2, term=2, size=0))
    journal.append(HardState(3, 1, 4), ())
    journal.append(None, entries(5, 1, term=3, size=0))
    journal.close()
    (file,) = path.iterdir()
    one, two, five = entries(1, 3, size=0), entries(3, 2, term=2, size=0), entries(5, 1, term=3, size=0)
    states = [
        (HardState(), []),
        *((HardState(1, 1, 0), one[:n]) for n in range(4)),
        (HardState(2, 2, 2), one),
        *((HardState(2, 2, 2), one[:2] + two[:n]) for n in (1, 2)),
        (HardState(3, 1, 4), one[:2] + two),
        (HardState(3, 1, 4), one[:2] + two + five),
    ]
    return file, states


@pytest.mark.parametrize("room", [0, 700])
def test_cut_at_every_byte_it_is_what_it_was_after_some_record(tmp_path: Path, room: int) -> None:
    file, states = some_journal(tmp_path)
    whole = file.read_bytes()
    ends, reader = [], RecordReader(whole, HEADER_BYTES, 1)
    for _ in reader:
        ends.append(reader.offset)
    assert len(ends) == len(states)
    for size in range(ends[0], len(whole) + 1):
        file.write_bytes(whole[:size] + bytes(room))
        count = sum(1 for end in ends if end <= size)
        assert content(tmp_path) == states[count - 1]
    for size in range(ends[0]):
        file.write_bytes(whole[:size])
        with pytest.raises(Damaged):
            content(tmp_path)


def test_one_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    file, _ = some_journal(tmp_path)
    whole = file.read_bytes()
    for offset in range(len(whole)):
        broken = bytearray(whole)
        broken[offset] ^= 1 << offset % 8
        file.write_bytes(broken)
        with pytest.raises((Damaged, WrongIdentity)) as refused:
            content(tmp_path)
        assert str(file) in str(refused.value)
        assert file.read_bytes() == broken


def test_any_one_missing_file_is_refused_but_where_a_snapshot_stands_for_it(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=400)
    for index in range(1, 13):
        journal.append(HardState(1, 1, index - 1), entries(index, 1, size=100))
    journal.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 3
    for file in files[:-1]:
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(Damaged):
            content(tmp_path)
        file.write_bytes(data)
    files[0].unlink()
    assert content(tmp_path, mark(6))[1] == entries(7, 6, size=100)


APPEND = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2), st.integers(0, 6))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), APPEND),
        st.tuples(st.just("install"), st.integers(1, 9)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, segment_bytes=st.sampled_from((200, 500, 5000)))
def test_it_is_a_list_of_entries_and_a_hard_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]], segment_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("journal")
    journal = created(path, segment_bytes)
    snapshot, state, expected = BEGINNING, HardState(), list[Entry]()
    for step, with_ in steps:
        last = snapshot.index + len(expected)
        if step == "append":
            assert isinstance(with_, tuple)
            back, count, later, forward = with_
            first = max(last + 1 - back, state.commit + 1)
            term = state.term + later
            added = entries(first, count, term)
            if count:
                last = first + count - 1
                del expected[first - 1 - snapshot.index :]
                expected += added
            state = HardState(term, later, min(last, state.commit + forward))
            journal.append(state, added, sync=bool(later))
        elif step == "install":
            assert isinstance(with_, int)
            snapshot = mark(state.commit + with_, state.term)
            state, expected = HardState(state.term, state.vote, snapshot.index), []
            journal.installed(snapshot, state)
        elif step == "drop":
            assert isinstance(with_, int)
            if (index := min(with_, state.commit)) > snapshot.index:
                snapshot, expected = (
                    mark(index, expected[index - snapshot.index - 1].term),
                    expected[index - snapshot.index :],
                )
            journal.drop_through(snapshot.index)
        else:
            journal.close()
            journal = Journal(FaultyDisk(), path, OURS, segment_bytes=segment_bytes)
            assert journal.open(snapshot) == expected
        assert journal.hard_state == state
        assert journal.last_index == snapshot.index + len(expected)
    journal.close()
    assert content(path, snapshot) == (state, expected)


def test_the_head_is_a_type_of_its_own() -> None:
    assert len({HEAD, ENTRY, HARD_STATE, INSTALLED}) == 4
    assert issubclass(Damaged, StorageError)


def test_what_was_installed_is_known_when_its_record_is_gone(tmp_path: Path) -> None:
    journal = created(tmp_path, segment_bytes=1)
    journal.append(HardState(1, 1, 0), entries(1, 3))
    journal.installed(mark(50), None)
    journal.append(None, entries(51, 1))
    assert journal.drop_through(50) == 3
    journal.close()
    assert content(tmp_path, mark(50)) == (HardState(1, 1, 50), entries(51, 1))
    with pytest.raises(Damaged, match="begins after a snapshot at entry 50 of term 1"):
        content(tmp_path, mark(50, term=2))
