"""How the records of the journal, and the head of a snapshot file, say what they say."""

from typing import NamedTuple

from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.encoding import decode_hard_state, encode_hard_state, mark_from_wire, mark_to_wire
from orchestra.raft.model import HardState, SnapshotMark

ENTRY = 2
HARD_STATE = 3
INSTALLED = 4


class Head(NamedTuple):
    """What the segments before one came to."""

    hard_state: HardState
    mark: SnapshotMark
    last_index: int


def encode_head(hard_state: HardState, mark: SnapshotMark, last_index: int) -> bytes:
    """The first record of a segment."""
    return pb.SegmentHead(
        hard_state=pb.HardState.FromString(encode_hard_state(hard_state)),
        mark=mark_to_wire(mark),
        last_index=last_index,
    ).SerializeToString()


def decode_head(payload: bytes) -> Head:
    """And back. Raises: DecodeError."""
    head = pb.SegmentHead.FromString(payload)
    hard_state = decode_hard_state(head.hard_state.SerializeToString())
    return Head(hard_state, mark_from_wire(head.mark), head.last_index)


def encode_header(mark: SnapshotMark) -> bytes:
    """The first chunk of a snapshot file."""
    return pb.SnapshotHeader(mark=mark_to_wire(mark)).SerializeToString()


def decode_header(chunk: bytes) -> SnapshotMark:
    """And back. Raises: DecodeError."""
    return mark_from_wire(pb.SnapshotHeader.FromString(chunk).mark)
