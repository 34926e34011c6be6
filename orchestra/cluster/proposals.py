"""What this member's callers want written: each command in the log once, whoever leads meanwhile.

A command is for the leader of one term. While that leader may have it, it is only ever sent to it again,
under the same sequence. When an entry of a higher term has been applied, what is not applied yet of a lower
one never will be: only then is it proposed anew. So a change of leader loses nothing and doubles nothing, and
nobody notices; only time ends the waiting.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from struct import Struct

from orchestra.cluster.messages import Propose
from orchestra.mvcc.commands import Command
from orchestra.mvcc.machine import CommandResult
from orchestra.store.contract import NoSpace, NotProposed, StoreUnavailable

MAX_WAITING = 8192
MAX_WAITING_BYTES = 64 * 1024 * 1024
# A batch is applied without a pause: a few milliseconds.
BATCH_COMMANDS = 128
BATCH_BYTES = 512 * 1024
# Where the sequences of one life of a member begin is drawn from so many bits: none is ever used again but by
# a chance of one in 10^14 or so at a start. The 2^63 above the last beginning are not used up in any life.
LIFE_BITS = 63

_POLL_SECONDS = 0.005

# What stands before the command in an entry: the member it comes from, and its sequence there.
_STAMP = Struct("<QQ")
STAMP_BYTES = _STAMP.size
stamped = _STAMP.pack
stamp_of = _STAMP.unpack_from


@dataclass(slots=True)
class Proposal:
    """A command on its way into the log. The caller may stop waiting; once handed over, it goes on.

    entry: stamp and command. decoded: what the command says, if the caller had it at hand. term: of the
    leader that may have it; 0: nobody. once: for this member as the leader of one term, and for no other.
    """

    sequence: int
    entry: bytes
    answer: asyncio.Future[CommandResult]
    decoded: Command | None
    deadline: float
    once: bool
    term: int = 0
    sent_at: float = 0.0

    def done(self, result: CommandResult) -> None:
        """It is durable and applied."""
        if not self.answer.done():
            self.answer.set_result(result)

    def failed(self, error: BaseException) -> None:
        """It was refused, or cannot be done, or nobody knows."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Proposals:
    """All that wait, by sequence. Bound: MAX_WAITING proposals, MAX_WAITING_BYTES in all.

    Times are the event loop's, in seconds.
    """

    def __init__(self, origin: int, life: int, timeout_seconds: float, resend_seconds: float) -> None:
        """life: drawn anew at each start, from LIFE_BITS."""
        # As if it had been sent that much earlier.
        self._busy_seconds = resend_seconds * 0.8
        self._origin = origin
        self._life = life
        self._next = life + 1
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, Proposal] = {}
        self._unsent: deque[Proposal] = deque()
        self._bytes = 0
        self._closed: str | None = None
        self._full: str | None = None
        self._leading = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def settled(self) -> int:
        """Every sequence below it will not be sent again."""
        return next(iter(self._waiting), self._next)

    @property
    def next_deadline(self) -> float | None:
        """When the oldest has waited too long."""
        for proposal in self._waiting.values():
            return proposal.deadline
        return None

    # Callers' side.

    def add(
        self, command: bytes, decoded: Command | None = None, *, once: bool = False
    ) -> asyncio.Future[CommandResult]:
        """Queues a command; its result to come.

        Raises: NotProposed when too many wait, it is closed, or does not lead and `once` is asked; NoSpace.
        """
        self.check_open()
        if once and not self._leading:
            raise NotProposed("this member does not lead")
        if self._full is not None:
            raise NoSpace(self._full)
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(command) > MAX_WAITING_BYTES:
            raise NotProposed(
                f"too many requests wait to be written ({len(self._waiting)}): retry in a moment"
            )
        answer: asyncio.Future[CommandResult] = self._loop.create_future()
        sequence = self._next
        self._next = sequence + 1
        entry = stamped(self._origin, sequence) + command
        deadline = self._loop.time() + self._timeout_seconds
        proposal = Proposal(sequence, entry, answer, decoded, deadline, once)
        self._waiting[sequence] = proposal
        self._unsent.append(proposal)
        self._bytes += len(entry)
        return answer

    def check_open(self) -> None:
        """Raises: NotProposed, with the reason, when it takes no more."""
        if self._closed is not None:
            raise NotProposed(self._closed)

    # The loop's side.

    @property
    def unsent(self) -> int:
        """How many are to be handed over."""
        return len(self._unsent)

    @property
    def waiting_bytes(self) -> int:
        """The entries of all that wait."""
        return self._bytes

    def take(self) -> list[Proposal]:
        """The next to be handed over, up to a batch's bound; whom nobody waits for any more is left out."""
        batch: list[Proposal] = []
        size = 0
        while self._unsent and len(batch) < BATCH_COMMANDS and size < BATCH_BYTES:
            proposal = self._unsent.popleft()
            if proposal.answer.done():
                self._forget(proposal)
            else:
                batch.append(proposal)
                size += len(proposal.entry)
        return batch

    def give_back(self, batch: Sequence[Proposal]) -> None:
        """Nobody could take them now."""
        self._unsent.extendleft(reversed(batch))

    def propose(self, batch: Sequence[Proposal], leader: int, term: int) -> Propose:
        """The message to a leader; from now on it may have them."""
        now = self._loop.time()
        for proposal in batch:
            proposal.term = term
            proposal.sent_at = now
        sequences = [proposal.sequence for proposal in batch]
        commands = [proposal.entry[STAMP_BYTES:] for proposal in batch]
        return Propose(self._origin, leader, term, self.settled, sequences, commands, self._life)

    def to_resend(self, term: int, older_than: float) -> Iterator[list[Proposal]]:
        """What the leader of a term was sent before a time and has not answered, in batches."""
        batch: list[Proposal] = []
        size = 0
        for proposal in self._waiting.values():
            if proposal.term == term and proposal.sent_at <= older_than:
                batch.append(proposal)
                size += len(proposal.entry)
                if len(batch) == BATCH_COMMANDS or size >= BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def busy(self, sequences: Sequence[int], now: float) -> None:
        """The leader could not take them now: they are sent again soon."""
        for sequence in sequences:
            proposal = self._waiting.get(sequence)
            if proposal is not None and proposal.sent_at:
                proposal.sent_at = min(proposal.sent_at, now - self._busy_seconds)

    def oldest_sent_at(self) -> float | None:
        """When the oldest that a leader may have was last sent."""
        for proposal in islice(self._waiting.values(), BATCH_COMMANDS):
            if proposal.term and proposal.sent_at:
                return proposal.sent_at
        return None

    def applied(self, sequence: int) -> Proposal | None:
        """The one whose entry is being applied, if anybody here still waits for it."""
        proposal = self._waiting.pop(sequence, None)
        if proposal is not None:
            self._bytes -= len(proposal.entry)
        return proposal

    def term_applied(self, term: int) -> None:
        """The first entry of a term is being applied: what leaders before it were given is lost."""
        lost = [proposal for proposal in self._waiting.values() if 0 < proposal.term < term]
        again: list[Proposal] = []
        for proposal in lost:
            proposal.term, proposal.sent_at = 0, 0.0
            if proposal.once:
                self._forget(proposal)
                proposal.failed(NotProposed("the leader has changed"))
            else:
                again.append(proposal)
        self.give_back(again)

    def jumped(self) -> None:
        """State was taken over from another member: what became of what was handed over is not told."""
        for proposal in [each for each in self._waiting.values() if each.term]:
            self._forget(proposal)
            proposal.failed(StoreUnavailable("whether the write is kept is not known: read, then retry"))

    def refused(self, sequences: Sequence[int], error: BaseException) -> None:
        """They were taken back out of the log before anybody else saw them."""
        for sequence in sequences:
            if (proposal := self.applied(sequence)) is not None:
                proposal.failed(error)

    def leading(self, leads: bool) -> None:
        """Whether this member leads; in a new term: what only the leader before could propose is not."""
        self._leading = leads
        for proposal in [each for each in self._unsent if each.once]:
            self._unsent.remove(proposal)
            self._forget(proposal)
            proposal.failed(NotProposed("this member does not lead any more"))

    def expire(self, now: float) -> None:
        """Ends the waiting of those that have waited too long."""
        while (proposal := next(iter(self._waiting.values()), None)) and proposal.deadline <= now:
            self._forget(proposal)
            if proposal.term:
                proposal.failed(
                    StoreUnavailable(
                        "no majority of the members has confirmed the write in time: whether it is kept is "
                        "not known"
                    )
                )
            else:
                proposal.failed(NotProposed("there is no leader: see that most of the members run"))
        while self._unsent and self._unsent[0].sequence not in self._waiting:
            self._unsent.popleft()

    def full(self, reason: str | None) -> None:
        """The disk is full (None: no more): new ones are refused, and those that nobody has yet."""
        self._full = reason
        if reason is not None:
            while self._unsent:
                proposal = self._unsent.popleft()
                self._forget(proposal)
                proposal.failed(NoSpace(reason))

    async def drained(self) -> None:
        """Waits until nothing waits any more."""
        while self._waiting:
            last = next(reversed(self._waiting.values()))
            await asyncio.wait((last.answer,))
            if last.sequence in self._waiting:
                # Nobody waits for it, but it is under way.
                await asyncio.sleep(_POLL_SECONDS)

    def close(self, reason: str) -> None:
        """Takes no more; what waits goes on."""
        if self._closed is None:
            self._closed = reason

    def fail(self, reason: str) -> None:
        """Takes no more, and answers all that wait."""
        self.close(reason)
        for proposal in self._waiting.values():
            if proposal.term:
                proposal.failed(StoreUnavailable(f"whether the write is kept is not known: {reason}"))
            else:
                proposal.failed(NotProposed(reason))
        self._waiting.clear()
        self._unsent.clear()
        self._bytes = 0

    def _forget(self, proposal: Proposal) -> None:
        if self._waiting.pop(proposal.sequence, None) is not None:
            self._bytes -= len(proposal.entry)


class TakenSequences:
    """What the leader of one term has taken from each other member: nothing twice.

    A sequence below what its member called settled is stale. Bound: what members may have waiting.
    """

    def __init__(self) -> None:
        self.term = 0
        self._taken: dict[tuple[int, int], tuple[int, set[int]]] = {}

    def begin(self, term: int) -> None:
        """A term to lead: what others' leaders took is no concern any more."""
        if term != self.term:
            self.term = term
            self._taken.clear()

    def new(self, propose: Propose) -> list[int]:
        """The positions of the commands that were not taken yet."""
        if not propose.sequences:
            return []
        life = propose.frm, propose.life
        settled, taken = self._taken.get(life, (0, set()))
        if propose.settled > settled:
            settled = propose.settled
            taken = {sequence for sequence in taken if sequence >= settled}
            self._taken[life] = settled, taken
        return [
            at
            for at, sequence in enumerate(propose.sequences)
            if sequence >= settled and sequence not in taken
        ]

    def took(self, propose: Propose, positions: Sequence[int]) -> None:
        """They are in the log."""
        life = propose.frm, propose.life
        settled, taken = self._taken.get(life, (0, set()))
        taken.update(propose.sequences[at] for at in positions)
        self._taken[life] = settled, taken
