"""Entries, hard states, configurations, marks and messages as bytes, and back.

Source: protos/orchestra/pb/raft_v1.proto.
"""

from collections.abc import Callable

from orchestra.pb import raft_v1_pb2 as pb
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

_KINDS = {int(kind): kind for kind in EntryKind}


def _entry_to(entry: Entry) -> pb.Entry:
    return pb.Entry(term=entry.term, index=entry.index, kind=entry.kind.value, data=entry.data)  # type: ignore[arg-type]


def _entry_of(wire: pb.Entry) -> Entry:
    return Entry(wire.term, wire.index, _KINDS[wire.kind], wire.data)


def encode_entry(entry: Entry) -> bytes:
    """One entry, for the journal."""
    return _entry_to(entry).SerializeToString()


def decode_entry(data: bytes) -> Entry:
    """Raises: ValueError (protobuf's DecodeError is one), KeyError for a kind of a later version."""
    return _entry_of(pb.Entry.FromString(data))


def encode_hard_state(state: HardState) -> bytes:
    """For the journal."""
    return pb.HardState(term=state.term, vote=state.vote, commit=state.commit).SerializeToString()


def decode_hard_state(data: bytes) -> HardState:
    """The reverse."""
    wire = pb.HardState.FromString(data)
    return HardState(wire.term, wire.vote, wire.commit)


def configuration_to_wire(configuration: Configuration) -> pb.Configuration:
    """Always in the same order, so that the same one has the same bytes everywhere."""
    return pb.Configuration(
        voters=sorted(configuration.voters),
        outgoing=sorted(configuration.outgoing),
        learners=sorted(configuration.learners),
        context=configuration.context,
    )


def configuration_from_wire(wire: pb.Configuration) -> Configuration:
    """The reverse."""
    return Configuration(
        frozenset(wire.voters), frozenset(wire.outgoing), frozenset(wire.learners), wire.context
    )


def encode_configuration(configuration: Configuration) -> bytes:
    """The data of a CONFIGURATION entry."""
    return configuration_to_wire(configuration).SerializeToString()


def decode_configuration(data: bytes) -> Configuration:
    """The reverse."""
    return configuration_from_wire(pb.Configuration.FromString(data))


def mark_to_wire(mark: SnapshotMark) -> pb.SnapshotMark:
    """For a snapshot's head, and pieces of it on the wire."""
    return pb.SnapshotMark(
        index=mark.index, term=mark.term, configuration=configuration_to_wire(mark.configuration)
    )


def mark_from_wire(wire: pb.SnapshotMark) -> SnapshotMark:
    """The reverse."""
    return SnapshotMark(wire.index, wire.term, configuration_from_wire(wire.configuration))


def encode_mark(mark: SnapshotMark) -> bytes:
    """For the journal."""
    return mark_to_wire(mark).SerializeToString()


def decode_mark(data: bytes) -> SnapshotMark:
    """The reverse."""
    return mark_from_wire(pb.SnapshotMark.FromString(data))


def message_to_wire(message: Message) -> pb.PeerMessage:
    """A message without its ends: the stream that it travels on knows them."""
    match message:
        case AppendRequest():
            return pb.PeerMessage(
                append_request=pb.AppendRequest(
                    term=message.term,
                    prev_index=message.prev_index,
                    prev_term=message.prev_term,
                    entries=[_entry_to(entry) for entry in message.entries],
                    commit=message.commit,
                )
            )
        case AppendResponse():
            return pb.PeerMessage(
                append_response=pb.AppendResponse(
                    term=message.term,
                    index=message.index,
                    refused=message.refused,
                    hint_index=message.hint_index,
                    hint_term=message.hint_term,
                )
            )
        case Heartbeat(term=term, commit=commit, round=round_):
            return pb.PeerMessage(heartbeat=pb.Heartbeat(term=term, commit=commit, round=round_))
        case HeartbeatResponse(term=term, round=round_):
            return pb.PeerMessage(heartbeat_response=pb.HeartbeatResponse(term=term, round=round_))
        case ReadRequest(term=term, id=id_):
            return pb.PeerMessage(read_request=pb.ReadRequest(term=term, id=id_))
        case ReadResponse(term=term, id=id_, index=index):
            return pb.PeerMessage(read_response=pb.ReadResponse(term=term, id=id_, index=index))
        case TimeoutNow(term=term):
            return pb.PeerMessage(timeout_now=pb.TimeoutNow(term=term))
        case VoteRequest() | VoteResponse() | SnapshotChunk() | SnapshotResponse():
            return _rare_to_wire(message)


def _rare_to_wire(message: VoteRequest | VoteResponse | SnapshotChunk | SnapshotResponse) -> pb.PeerMessage:
    match message:
        case VoteRequest():
            return pb.PeerMessage(
                vote_request=pb.VoteRequest(
                    term=message.term,
                    last_index=message.last_index,
                    last_term=message.last_term,
                    pre=message.pre,
                    transfer=message.transfer,
                )
            )
        case VoteResponse(term=term, granted=granted, pre=pre):
            return pb.PeerMessage(vote_response=pb.VoteResponse(term=term, granted=granted, pre=pre))
        case SnapshotChunk():
            return pb.PeerMessage(
                snapshot_chunk=pb.SnapshotChunk(
                    term=message.term,
                    mark=mark_to_wire(message.mark),
                    sequence=message.sequence,
                    data=message.data,
                    last=message.last,
                    stream=message.stream,
                )
            )
        case SnapshotResponse():
            return pb.PeerMessage(
                snapshot_response=pb.SnapshotResponse(
                    term=message.term,
                    index=message.index,
                    received=message.received,
                    done=message.done,
                    stream=message.stream,
                    refused=message.refused,
                )
            )


def message_from_wire(wire: pb.PeerMessage, frm: int, to: int) -> Message | None:
    """The message that came from `frm`; None, when it is not one of Raft's own."""
    which = wire.WhichOneof("message")
    read = _FROM_WIRE.get(which) if which else None
    return read(getattr(wire, which), frm, to) if which and read else None


def _append_request(wire: pb.AppendRequest, frm: int, to: int) -> Message:
    entries = [_entry_of(entry) for entry in wire.entries]
    return AppendRequest(frm, to, wire.term, wire.prev_index, wire.prev_term, entries, wire.commit)


def _append_response(wire: pb.AppendResponse, frm: int, to: int) -> Message:
    return AppendResponse(frm, to, wire.term, wire.index, wire.refused, wire.hint_index, wire.hint_term)


def _snapshot_chunk(wire: pb.SnapshotChunk, frm: int, to: int) -> Message:
    mark = mark_from_wire(wire.mark)
    return SnapshotChunk(frm, to, wire.term, mark, wire.sequence, wire.data, wire.last, wire.stream)


def _snapshot_response(wire: pb.SnapshotResponse, frm: int, to: int) -> Message:
    return SnapshotResponse(
        frm, to, wire.term, wire.index, wire.received, wire.done, wire.stream, wire.refused
    )


def _vote_request(wire: pb.VoteRequest, frm: int, to: int) -> Message:
    return VoteRequest(frm, to, wire.term, wire.last_index, wire.last_term, wire.pre, wire.transfer)


_FROM_WIRE: dict[str, Callable[..., Message]] = {
    "append_request": _append_request,
    "append_response": _append_response,
    "heartbeat": lambda wire, frm, to: Heartbeat(frm, to, wire.term, wire.commit, wire.round),
    "heartbeat_response": lambda wire, frm, to: HeartbeatResponse(frm, to, wire.term, wire.round),
    "vote_request": _vote_request,
    "vote_response": lambda wire, frm, to: VoteResponse(frm, to, wire.term, wire.granted, wire.pre),
    "snapshot_chunk": _snapshot_chunk,
    "snapshot_response": _snapshot_response,
    "read_request": lambda wire, frm, to: ReadRequest(frm, to, wire.term, wire.id),
    "read_response": lambda wire, frm, to: ReadResponse(frm, to, wire.term, wire.id, wire.index),
    "timeout_now": lambda wire, frm, to: TimeoutNow(frm, to, wire.term),
}
