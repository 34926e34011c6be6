"""What members say to each other, as it goes over the wire."""

from collections.abc import Sequence

from orchestra.cluster.messages import Answer, Ask, PeerMessage, Propose, ProposeRefused
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.encoding import message_from_wire, message_to_wire


def encode(messages: Sequence[PeerMessage]) -> bytes:
    """pb.PeerMessages, encoded."""
    return pb.PeerMessages(messages=[_to_wire(message) for message in messages]).SerializeToString()


def decode(messages: pb.PeerMessages, frm: int, to: int) -> list[PeerMessage]:
    """The messages of one peer; what this version does not know is left out."""
    found = (_from_wire(message, frm, to) for message in messages.messages)
    return [message for message in found if message is not None]


def _to_wire(message: PeerMessage) -> pb.PeerMessage:
    match message:
        case Propose():
            proposals = [
                pb.Proposal(sequence=sequence, command=command)
                for sequence, command in zip(message.sequences, message.commands, strict=True)
            ]
            return pb.PeerMessage(
                propose=pb.Propose(
                    term=message.term, settled=message.settled, proposals=proposals, life=message.life
                )
            )
        case ProposeRefused():
            return pb.PeerMessage(
                propose_refused=pb.ProposeRefused(
                    term=message.term, sequences=message.sequences, busy=message.busy
                )
            )
        case Ask():
            return pb.PeerMessage(ask=message.question)
        case Answer():
            return pb.PeerMessage(answer=message.answer)
        case _:
            return message_to_wire(message)


def _from_wire(message: pb.PeerMessage, frm: int, to: int) -> PeerMessage | None:
    match message.WhichOneof("message"):
        case "propose":
            said = message.propose
            return Propose(
                frm=frm,
                to=to,
                term=said.term,
                settled=said.settled,
                sequences=[proposal.sequence for proposal in said.proposals],
                commands=[proposal.command for proposal in said.proposals],
                life=said.life,
            )
        case "propose_refused":
            refused = message.propose_refused
            return ProposeRefused(
                frm=frm, to=to, term=refused.term, sequences=list(refused.sequences), busy=refused.busy
            )
        case "ask":
            return Ask(frm=frm, to=to, question=message.ask)
        case "answer":
            return Answer(frm=frm, to=to, answer=message.answer)
        case None:
            return None
        case _:
            return message_from_wire(message, frm, to)
