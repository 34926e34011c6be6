"""Committed entries into the machine: each once, in order, its answer to whoever waits for it here."""

from collections.abc import Callable, Sequence

from orchestra.cluster.proposals import STAMP_BYTES, Proposals, stamp_of
from orchestra.cluster.tenure import Tenure
from orchestra.mvcc.commands import Command, Compact, LeaseRevoke, decode
from orchestra.mvcc.errors import Refused
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import Machine
from orchestra.raft.model import Entry, EntryKind, SnapshotMark
from orchestra.storage.errors import WrongIdentity
from orchestra.store.local import LocalStore

# So many are applied without a pause: a few milliseconds.
SLICE_ENTRIES = 128


class Applier:
    """The machine's one writer. term: of the newest entry applied."""

    def __init__(
        self,
        own: int,
        machine: Machine,
        mark: SnapshotMark,
        store: LocalStore,
        proposals: Proposals,
        tenure: Callable[[], Tenure | None],
    ) -> None:
        self.machine = machine
        self.term = mark.term
        self._own = own
        self._store = store
        self._proposals = proposals
        self._tenure = tenure

    def apply(self, entries: Sequence[Entry]) -> None:
        """Applies a slice, and tells the watches. Raises: WrongIdentity for what a newer version wrote."""
        machine, proposals = self.machine, self._proposals
        for entry in entries:
            if entry.term != self.term:
                self.term = entry.term
                proposals.term_applied(entry.term)
            if entry.kind is not EntryKind.NORMAL or not entry.data:
                machine.skip(entry.index)
                continue
            origin, sequence = stamp_of(entry.data)
            proposal = proposals.applied(sequence) if origin == self._own else None
            if proposal is not None and proposal.decoded is not None:
                command = proposal.decoded
            else:
                command = command_of(entry)
            if type(command) is Compact:
                # Watches are told of what happened before any of it is forgotten.
                self._store.applied()
            try:
                result = machine.apply(entry.index, command)
            except Refused as refusal:
                if proposal is not None:
                    proposal.failed(refusal)
                continue
            if type(result) is Lease:
                if (tenure := self._tenure()) is not None:
                    tenure.leases.granted(result)
            elif type(command) is LeaseRevoke and (tenure := self._tenure()) is not None:
                tenure.leases.revoked(command.lease)
            if proposal is not None:
                proposal.done(result)
        self._store.applied()

    def replace(self, machine: Machine, mark: SnapshotMark) -> None:
        """A snapshot takes the machine's place."""
        self.machine = machine
        self.term = mark.term
        self._proposals.jumped()
        self._store.replace(machine)


def command_of(entry: Entry) -> Command:
    """What a proposal's entry says to the machine. Raises: WrongIdentity for what a newer version wrote."""
    try:
        return decode(entry.data[STAMP_BYTES:])
    except ValueError as error:
        raise WrongIdentity(
            f"entry {entry.index} of the log is {error}; start the version that wrote it"
        ) from error
