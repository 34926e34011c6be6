"""A backup from the data directory of a member that does not run: what is left when a majority is lost.

The directory stays as it is. The newest good snapshot is restored and every entry of the log after it is
applied: those that the member knew to be committed, and those after them. Of the latter nobody is left to
say whether a majority had them, and so whether somebody was told that they were done; without them, what was
acknowledged might be missing, with them, something may be there whose writer was never told so.

Of several survivors, the one to take is the one that an election would: the highest term of a last entry, of
these the highest index. It has every committed entry that any of them has (paper §5.4). What only those that
are gone had is lost.

Everything here blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.cluster.applying import command_of
from orchestra.cluster.backup import BackupInfo, backup_parts, write_backup
from orchestra.cluster.datadir import BEGINNING, RESTORING, SNAPSHOTS, WAL, DataDirectory
from orchestra.mvcc.errors import Refused
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.snapshot import snapshot
from orchestra.raft.encoding import decode_configuration
from orchestra.raft.model import Entry, EntryKind, SnapshotMark
from orchestra.storage.disk import Disk
from orchestra.storage.errors import Damaged, DiskFailed, StorageError
from orchestra.storage.identity import NAME, Identity, load_identity
from orchestra.storage.unchanged import UnchangedDisk
from orchestra.storage.wal import SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was saved. name: the member's. uncommitted: entries in it not known to be committed."""

    info: BackupInfo
    name: str
    uncommitted: int


def save_offline(data_dir: Path, file: Path, disk: Disk | None = None) -> Salvaged:
    """Writes a backup of all that a member's data directory holds, which is not changed.

    disk: where the file is written. Raises: StorageError (in use, not a data directory, damaged, of another
    format; the file cannot be written).
    """
    reading = UnchangedDisk()
    identity = _identity(reading, data_dir)
    if file.resolve().is_relative_to(data_dir.resolve()):
        raise StorageError(f"{file}: is in the data directory, which is left as it is; name another place")
    directory = DataDirectory.open(reading, data_dir, identity.name, SEGMENT_BYTES)
    try:
        mark, machine = _applied(directory.mark, directory.machine, directory.entries)
        if not mark.index:
            raise StorageError(
                f"{data_dir}: the log of {identity.name} is empty: it has nothing to save; "
                "save from another master's data directory"
            )
        info = write_backup(backup_parts(identity, mark, snapshot(machine)), file, disk)
        return Salvaged(info, identity.name, mark.index - directory.hard_state.commit)
    finally:
        directory.close()


def _identity(disk: Disk, path: Path) -> Identity:
    """Whose directory it is: none is begun here."""
    try:
        identity = load_identity(disk, path)
        names = disk.names(path)
        holds = [part for part in (WAL, SNAPSHOTS) if part in names and disk.names(path / part)]
    except OSError as error:
        raise DiskFailed(
            f"{error.filename or path}: cannot be used as data directory ({error.strerror or error})"
        ) from error
    if identity is not None:
        return identity
    if RESTORING in names:
        raise StorageError(
            f"{path}: restoring a backup into it did not finish; that backup holds all that it does"
        )
    if holds and BEGINNING not in names:
        raise Damaged(
            path / NAME,
            0,
            f"the file is missing, but there is a {holds[0]} directory with files in it",
            "Put it back from a copy of the directory, or save from another master's data directory.",
        )
    raise StorageError(
        f"{path}: not a data directory: it has no {NAME}; name the one that the master was started with"
    )


def _applied(mark: SnapshotMark, machine: Machine, entries: Sequence[Entry]) -> tuple[SnapshotMark, Machine]:
    """The machine after the last entry, and the mark for it. Raises: WrongIdentity."""
    term, configuration = mark.term, mark.configuration
    for entry in entries:
        term = entry.term
        if entry.kind is EntryKind.CONFIGURATION:
            configuration = decode_configuration(entry.data)
        if entry.kind is not EntryKind.NORMAL or not entry.data:
            machine.skip(entry.index)
            continue
        try:
            machine.apply(entry.index, command_of(entry))
        except Refused:
            # It changed nothing then, and changes nothing now.
            continue
    return SnapshotMark(machine.applied_index, term, configuration), machine
