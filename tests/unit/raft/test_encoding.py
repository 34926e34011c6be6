"""What is written and sent is read again as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft import encoding
from orchestra.raft.model import (
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    Message,
    ReadRequest,
    ReadResponse,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

number = st.integers(0, 2**64 - 1)
members = st.frozensets(number, max_size=4)
entries = st.builds(Entry, number, number, st.sampled_from(EntryKind), st.binary(max_size=20))
configurations = st.builds(Configuration, members, members, members, st.binary(max_size=9))
marks = st.builds(SnapshotMark, number, number, configurations)
ends = {"frm": st.just(7), "to": st.just(8), "term": number}
messages = st.one_of(
    st.builds(
        VoteRequest, **ends, last_index=number, last_term=number, pre=st.booleans(), transfer=st.booleans()
    ),
    st.builds(VoteResponse, **ends, granted=st.booleans(), pre=st.booleans()),
    st.builds(
        AppendRequest,
        **ends,
        prev_index=number,
        prev_term=number,
        entries=st.lists(entries, max_size=3),
        commit=number,
    ),
    st.builds(
        AppendResponse, **ends, index=number, refused=st.booleans(), hint_index=number, hint_term=number
    ),
    st.builds(Heartbeat, **ends, commit=number, round=number),
    st.builds(HeartbeatResponse, **ends, round=number),
    st.builds(
        SnapshotChunk,
        **ends,
        mark=marks,
        sequence=number,
        data=st.binary(max_size=9),
        last=st.booleans(),
        stream=number,
    ),
    st.builds(
        SnapshotResponse,
        **ends,
        index=number,
        received=number,
        done=st.booleans(),
        stream=number,
        refused=st.booleans(),
    ),
    st.builds(ReadRequest, **ends, id=number),
    st.builds(ReadResponse, **ends, id=number, index=number),
    st.builds(TimeoutNow, **ends),
)


@settings(deadline=None)
@given(messages)
def test_messages(message: Message) -> None:
    wire = pb.PeerMessage.FromString(encoding.message_to_wire(message).SerializeToString())
    assert encoding.message_from_wire(wire, message.frm, message.to) == message


@settings(deadline=None)
@given(entries, configurations, marks, st.builds(HardState, number, number, number))
def test_records(
    entry: Entry, configuration: Configuration, mark: SnapshotMark, hard_state: HardState
) -> None:
    assert encoding.decode_entry(encoding.encode_entry(entry)) == entry
    assert encoding.decode_configuration(encoding.encode_configuration(configuration)) == configuration
    assert encoding.decode_mark(encoding.encode_mark(mark)) == mark
    assert encoding.decode_hard_state(encoding.encode_hard_state(hard_state)) == hard_state


def test_other_members_words_are_not_rafts() -> None:
    assert encoding.message_from_wire(pb.PeerMessage(propose=pb.Propose(term=1)), 1, 2) is None
    assert encoding.message_from_wire(pb.PeerMessage(), 1, 2) is None


@pytest.mark.parametrize("data", [b"\xff", b"\x08"])
def test_damage_is_an_error(data: bytes) -> None:
    with pytest.raises(Exception, match="rror"):
        encoding.decode_entry(data)
