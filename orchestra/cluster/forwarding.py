"""Proposals on their way to the leader: from here, and, while this member leads, from the others."""

from collections.abc import Callable, Sequence

from orchestra.base.log import get_logger
from orchestra.cluster.messages import PeerMessage, Propose, ProposeRefused
from orchestra.cluster.proposals import Proposals, TakenSequences, stamped
from orchestra.mvcc.commands import check_known
from orchestra.raft.core import RaftCore
from orchestra.raft.errors import NotLeader, TooManyPending
from orchestra.raft.model import Role

# What is handed over at once, in batches: so much shares a sync.
_BATCHES = 4

log = get_logger("cluster.forwarding")


class Forwarding:
    """Only the loop calls it."""

    def __init__(
        self,
        core: RaftCore,
        proposals: Proposals,
        send: Callable[[Sequence[PeerMessage]], None],
        applied_term: Callable[[], int],
    ) -> None:
        """applied_term: of the newest entry applied."""
        self._core = core
        self._applied_term = applied_term
        self._proposals = proposals
        self._send = send
        self._taken = TakenSequences()

    def hand_over(self) -> None:
        """Hands what waits to the leader: into the own log, or over the wire. Without one it waits on."""
        core, proposals = self._core, self._proposals
        if core.role is Role.LEADER:
            for _ in range(_BATCHES):
                batch = proposals.take()
                if not batch:
                    return
                try:
                    core.propose([proposal.entry for proposal in batch])
                except (NotLeader, TooManyPending):
                    proposals.give_back(batch)
                    return
                term = core.term
                for proposal in batch:
                    proposal.term = term
        elif core.leader and self._applied_term() == core.term:
            # Not while it catches up: what a snapshot skips is never answered.
            while batch := proposals.take():
                self._send((proposals.propose(batch, core.leader, core.term),))

    def resend(self, older_than: float) -> None:
        """Sends again what the leader was sent before a time and has not answered."""
        core, proposals = self._core, self._proposals
        if core.role is Role.LEADER or not core.leader:
            return
        oldest = proposals.oldest_sent_at()
        if oldest is not None and oldest <= older_than:
            for batch in proposals.to_resend(core.term, older_than):
                self._send((proposals.propose(batch, core.leader, core.term),))

    def take(self, propose: Propose) -> None:
        """Another member's. Not led here in that term: no answer, a new leader's first entry says it all."""
        core = self._core
        if core.role is not Role.LEADER or core.term != propose.term:
            return
        self._taken.begin(core.term)
        new = [at for at in self._taken.new(propose) if self._is_known(propose, at)]
        if not new:
            return
        try:
            core.propose([stamped(propose.frm, propose.sequences[at]) + propose.commands[at] for at in new])
        except NotLeader:
            return
        except TooManyPending:
            sequences = [propose.sequences[at] for at in new]
            self._send((ProposeRefused(core.node, propose.frm, core.term, sequences, busy=True),))
        else:
            self._taken.took(propose, new)

    def _is_known(self, propose: Propose, at: int) -> bool:
        """Whether this version can apply a command: in the log, one that it cannot would end every member
        that reads it, for good. Whoever runs a newer version waits in vain then, until it leads itself.
        """
        try:
            check_known(propose.commands[at])
        except ValueError as error:
            log.error("a member proposes what is not known here", member=f"{propose.frm:x}", why=error)
            return False
        return True
