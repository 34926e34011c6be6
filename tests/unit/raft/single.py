"""One core whose peers are the test."""

import random
from collections.abc import Sequence

from orchestra.raft.core import RaftCore
from orchestra.raft.model import (
    AppendRequest,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftSettings,
    Ready,
    Role,
    SnapshotMark,
    VoteResponse,
)
from orchestra.raft.state import Restored


def entry(term: int, index: int, data: bytes = b"x") -> Entry:
    return Entry(term, index, EntryKind.NORMAL, data)


def entries(*terms: int) -> list[Entry]:
    """A log from index 1, by the terms of its entries."""
    return [entry(term, index, b"%d" % index) for index, term in enumerate(terms, 1)]


def core(
    log: Sequence[Entry] = (),
    *,
    term: int | None = None,
    vote: int = 0,
    commit: int = 0,
    members: int = 3,
    node: int = 1,
    configuration: Configuration | None = None,
    seed: int = 1,
    **settings: object,
) -> RaftCore:
    """A member with this log on disk. term: its last entry's, if not given."""
    if term is None:
        term = log[-1].term if log else 0
    first = configuration or Configuration(frozenset(range(1, members + 1)))
    restored = Restored(HardState(term, vote, commit), SnapshotMark(0, 0, first), log, 0)
    return RaftCore(RaftSettings(node=node, **settings), restored, random.Random(seed))  # type: ignore[arg-type]


def drain(member: RaftCore) -> list[Ready]:
    """Does everything that it says."""
    done = []
    while (ready := member.ready()) is not None:
        member.advance(ready)
        done.append(ready)
    return done


def sent(member: RaftCore) -> list[Message]:
    """What it sends."""
    return [message for ready in drain(member) for message in [*ready.send_now, *ready.send_after_sync]]


def to(member: RaftCore, *messages: Message) -> list[Message]:
    """Steps messages; what it sends upon them."""
    for message in messages:
        member.step(message)
    return sent(member)


def elected(member: RaftCore) -> RaftCore:
    """Has it elected by everyone, and forgets what it said meanwhile."""
    for pre in (True, False) if member._state.settings.pre_vote else (False,):
        if pre or not member._state.settings.pre_vote:
            member.campaign()
        sent(member)
        term = member.term + 1 if pre else member.term
        for peer in sorted(member.configuration.all_voters - {member.node}):
            member.step(VoteResponse(peer, member.node, term, True, pre))
    assert member.role is Role.LEADER
    sent(member)
    return member


def log_terms(member: RaftCore) -> list[int]:
    return [member.term_at(index) or 0 for index in range(1, member.last_index + 1)]


def append(
    term: int, prev: tuple[int, int], new: Sequence[Entry] = (), commit: int = 0, frm: int = 2, node: int = 1
) -> AppendRequest:
    """prev: term and index."""
    return AppendRequest(frm, node, term, prev[1], prev[0], new, commit)
