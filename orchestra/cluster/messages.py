"""What members say to each other beside Raft's own messages: commands on their way to the leader, and
questions that only the leader can answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.model import Message


@dataclass(frozen=True, slots=True)
class Propose:
    """Commands for the leader of `term`, and for no other: so none can be taken twice.

    sequences: one for each command, this member's own, ascending, never used again, not even after a restart.
    settled: everything of this member's life below it will not be sent again. life: which start of the member
    the sequences are of.
    """

    frm: int
    to: int
    term: int
    settled: int
    sequences: Sequence[int]
    commands: Sequence[bytes]
    life: int


@dataclass(frozen=True, slots=True)
class ProposeRefused:
    """They were not taken now. busy: too much is pending, send them again to the same leader in a moment.

    Whoever does not lead in that term says nothing: an earlier copy may have been taken. What becomes of them
    is known once an entry of a higher term is applied.
    """

    frm: int
    to: int
    term: int
    sequences: Sequence[int]
    busy: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the leader. `question` is the wire's own message (its `id` included)."""

    frm: int
    to: int
    question: pb.Ask


@dataclass(frozen=True, slots=True)
class Answer:
    """Its answer."""

    frm: int
    to: int
    answer: pb.Answer


PeerMessage = Message | Propose | ProposeRefused | Ask | Answer
