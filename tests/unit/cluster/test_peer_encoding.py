"""What members say to each other survives the wire, in order."""

from orchestra.cluster.messages import Answer, Ask, PeerMessage, Propose, ProposeRefused
from orchestra.cluster.peer_encoding import decode, encode
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import AppendRequest, Entry, EntryKind, Heartbeat

FRM, TO = 2**63 + 5, 7
MESSAGES: list[PeerMessage] = [
    Propose(FRM, TO, term=3, settled=2**63, sequences=[2**63, 2**63 + 1], commands=[b"a", b""], life=2**62),
    ProposeRefused(FRM, TO, term=3, sequences=[1, 2], busy=True),
    Ask(FRM, TO, pb.Ask(id=9, keep_alive=-4)),
    Answer(FRM, TO, pb.Answer(id=9, refusal="LeaseNotFound", message="gone", number=-1)),
    AppendRequest(FRM, TO, 3, 1, 2, [Entry(3, 2, EntryKind.NORMAL, b"x")], 1),
    Heartbeat(FRM, TO, 3, 1, round=4),
]


def test_everything_comes_back() -> None:
    assert decode(pb.PeerMessages.FromString(encode(MESSAGES)), FRM, TO) == MESSAGES


def test_what_is_not_known_is_left_out() -> None:
    assert decode(pb.PeerMessages(messages=[pb.PeerMessage()]), FRM, TO) == []
