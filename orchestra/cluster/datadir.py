"""The data directory of a member: locked, known by its identity, its log and snapshots opened in order.

    lock  identity.json  wal/<first record>.wal …  snapshots/<index>.snapshot …

A directory is one when its identity is in place, which is written last; an interrupted beginning is begun
anew. The machine is restored from a snapshot only: the applied index is in the file with the data it covers.
Entries after it are in the journal, and are applied when Raft says that they are committed.

A snapshot file is a header (the SnapshotMark it stands for) and the machine's chunks. What is sent to another
member is the machine's chunks alone, each as one piece: the mark travels with every piece.

Everything here blocks: it runs on an I/O thread.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from google.protobuf.message import DecodeError

from orchestra.cluster.bootstrap import Bootstrap, alone
from orchestra.cluster.journal import Journal
from orchestra.cluster.journal_records import decode_header, encode_header
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.snapshot import restore
from orchestra.raft.encoding import decode_mark, encode_mark
from orchestra.raft.model import Entry, HardState, SnapshotMark
from orchestra.storage.disk import Disk, Lock, write_whole
from orchestra.storage.errors import (
    Damaged,
    DirectoryInUse,
    DiskFailed,
    DiskFull,
    StorageError,
    WrongIdentity,
)
from orchestra.storage.identity import NAME, Identity, load_identity, save_identity
from orchestra.storage.snapshots import Snapshots, SnapshotWriter

WAL = "wal"
SNAPSHOTS = "snapshots"
# They are there while a new directory is being made, or made from a backup.
BEGINNING = "beginning"
RESTORING = "restoring"

_REMEDY = "Restore the data directory from a backup, or move it away to start this member empty."


@dataclass(slots=True)
class DataDirectory:
    """An open data directory, and what is known from it.

    mark: the newest snapshot, which the machine was restored from. entries: those after it. hard_state.commit
    is at least mark.index. log_bytes: of those entries. snapshot_bytes: 0 without one.
    """

    path: Path
    identity: Identity
    journal: Journal
    snapshots: Snapshots
    machine: Machine
    mark: SnapshotMark
    hard_state: HardState
    entries: list[Entry]
    snapshot_bytes: int
    log_bytes: int
    _lock: Lock = field(repr=False)

    @classmethod
    def open(
        cls, disk: Disk, path: Path, name: str, segment_bytes: int, bootstrap: Bootstrap | None = None
    ) -> Self:
        """Opens a data directory, or makes one: as `bootstrap` says, or else of a new cluster of one.

        Raises: StorageError (in use, another member's, damaged, not readable).
        """
        try:
            disk.make_directory(path)
            lock = disk.lock(path / "lock")
            if lock is None:
                holder = disk.read(path / "lock").decode(errors="replace").strip()
                raise DirectoryInUse(
                    f"{path}: in use by process {holder}; stop the master that runs on it, or choose another "
                    "data directory"
                )
            try:
                identity = _identity(disk, path, name, segment_bytes, bootstrap)
                return cls._opened(disk, path, identity, segment_bytes, lock)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise DiskFailed(
                f"{error.filename or path}: cannot be used as data directory ({error.strerror or error})"
            ) from error

    @classmethod
    def _opened(cls, disk: Disk, path: Path, identity: Identity, segment_bytes: int, lock: Lock) -> Self:
        snapshots = Snapshots(disk, path / SNAPSHOTS, identity)
        snapshots.open()
        mark, machine = _restored(path, identity, snapshots)
        journal = Journal(disk, path / WAL, identity, segment_bytes=segment_bytes)
        entries = journal.open(mark)
        newest = max(snapshots.indices(), default=0)
        if journal.last_index < newest:
            raise Damaged(
                snapshots.place(newest),
                0,
                f"it cannot be used, and the log ends at entry {journal.last_index}, before {newest}",
                f"What came after would be lost. {_REMEDY}",
            )
        return cls(
            path=path,
            identity=identity,
            journal=journal,
            snapshots=snapshots,
            machine=machine,
            mark=mark,
            hard_state=journal.hard_state,
            entries=entries,
            snapshot_bytes=snapshots.size(mark.index) if mark.index in snapshots.indices() else 0,
            log_bytes=sum(len(entry.data) for entry in entries),
            _lock=lock,
        )

    def begin_snapshot(self, mark: SnapshotMark) -> SnapshotWriter:
        """Starts a snapshot file: then come the machine's chunks, taken here or sent by another member.

        Raises: DiskFull, DiskFailed.
        """
        writer = self.snapshots.begin(mark.index)
        try:
            writer.write(encode_header(mark))
        except StorageError:
            writer.abort()
            raise
        return writer

    def keep(self, writer: SnapshotWriter, mark: SnapshotMark) -> int | None:
        """Puts a snapshot taken here in place and removes what is of no more use; how many log files were.

        None: one from another member has overtaken it. Raises: DiskFull, DiskFailed.
        """
        if mark.index <= self.mark.index:
            writer.abort()
            return None
        size = _committed(writer)
        self.mark, self.snapshot_bytes = mark, size
        return self.journal.drop_through(self.snapshots.prune())

    def snapshot_chunks(self, index: int) -> Generator[bytes]:
        """The machine's chunks in the snapshot at an index, to be sent. Close it if it is not read whole.

        Bound: one chunk in memory. Raises: Damaged, DiskFailed (when read).
        """
        chunks = self.snapshots.chunks(index)
        try:
            next(chunks, None)
            yield from chunks
        finally:
            chunks.close()

    def install(self, writer: SnapshotWriter, mark: SnapshotMark, hard_state: HardState | None) -> Machine:
        """Puts a snapshot that has come in whole in place of state and log; the machine it holds.

        In this order: the file is safe, it is read back and found to be good, it has its name, the journal
        says so. A stop in between leaves either what was before or all of it.
        Raises: Damaged when the snapshot does not hold what it says, and DiskFull: state and log are as
        before, and it may be sent again; DiskFailed.
        """
        try:
            writer.seal()
            found, machine = read_machine(writer.chunks(), self.snapshots.place(mark.index))
            if found != mark:
                raise Damaged(
                    self.snapshots.place(mark.index), 0, "it stands for another index", "Have it sent again."
                )
        except StorageError:
            writer.abort()
            raise
        size = _committed(writer)
        try:
            self.journal.installed(mark, hard_state)
        except DiskFull:
            self.snapshots.discard(mark.index)
            raise
        self.mark, self.snapshot_bytes = mark, size
        self.journal.drop_through(self.snapshots.prune())
        return machine

    def close(self) -> None:
        """Lets another process have it."""
        self.journal.close()
        self._lock.release()


def _committed(writer: SnapshotWriter) -> int:
    try:
        return writer.commit()
    except StorageError:
        writer.abort()
        raise


def _identity(disk: Disk, path: Path, name: str, segment_bytes: int, bootstrap: Bootstrap | None) -> Identity:
    identity = load_identity(disk, path)
    if identity is None:
        identity = _begun(disk, path, segment_bytes, bootstrap or alone(name))
    for left in {BEGINNING, RESTORING} & set(disk.names(path)):
        disk.remove(path / left)
    if identity.name != name:
        raise WrongIdentity(
            f"{path}: the data directory of member {identity.name!r}, not of {name!r}; "
            "start it under its own name, or choose another data directory"
        )
    return identity


def _begun(disk: Disk, path: Path, segment_bytes: int, bootstrap: Bootstrap) -> Identity:
    """Makes a directory that had no identity a member's."""
    names = disk.names(path)
    if RESTORING in names:
        raise StorageError(f"{path}: restoring a backup into it did not finish; remove it and restore again")
    for part in (WAL, SNAPSHOTS):
        if BEGINNING not in names and part in names and disk.names(path / part):
            raise Damaged(
                path / NAME,
                0,
                f"the file is missing, but there is a {part} directory with files in it",
                "Put it back from a backup, or move the data directory away to start this member empty.",
            )
    write_whole(disk, path / BEGINNING, b"")
    mark = SnapshotMark(0, 0, bootstrap.configuration)
    identity = identity_of(bootstrap, mark)
    journal = Journal(disk, path / WAL, identity, segment_bytes=segment_bytes)
    journal.create(mark)
    journal.close()
    save_identity(disk, path, identity)
    return identity


def identity_of(bootstrap: Bootstrap, mark: SnapshotMark) -> Identity:
    """The identity of a member whose log begins after `mark`."""
    return Identity(bootstrap.cluster_id, f"{bootstrap.member_id:016x}", bootstrap.name, encode_mark(mark))


def _restored(path: Path, identity: Identity, snapshots: Snapshots) -> tuple[SnapshotMark, Machine]:
    """The machine of the newest snapshot that can be used, or the one that the member began with."""
    loaded = snapshots.load(lambda chunks: read_machine(chunks, path / SNAPSHOTS))
    if loaded is not None:
        index, (mark, machine) = loaded
        if mark.index != index:
            raise StorageError(
                f"{snapshots.place(index)}: it is the snapshot at {mark.index}; rename it back"
            )
        return mark, machine
    try:
        beginning = decode_mark(identity.beginning)
    except DecodeError as error:
        raise Damaged(path / NAME, 0, f"not an identity ({error})", "Put it back from a backup.") from error
    if beginning.index:
        raise Damaged(
            snapshots.place(beginning.index), 0, "the member began with it, and no other can be used", _REMEDY
        )
    return beginning, Machine()


def read_machine(chunks: Iterator[bytes], place: Path, remedy: str = _REMEDY) -> tuple[SnapshotMark, Machine]:
    """What the chunks of a whole snapshot file hold. Raises: Damaged."""
    try:
        mark = decode_header(next(chunks, b""))
        machine = restore(chunks)
    except (ValueError, DecodeError) as error:
        raise Damaged(place, 0, f"it does not hold a store ({error})", remedy) from error
    if machine.applied_index != mark.index:
        raise Damaged(place, 0, f"it stands for {mark.index} and holds {machine.applied_index}", remedy)
    return mark, machine
