"""The data directory of a member: locked, known by its identity, its log and snapshots opened in order.

    lock  identity.json  wal/<first index>.wal …  snapshots/<index>.snapshot …

Everything here blocks: it runs on an I/O thread.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestra.mvcc.errors import Refused
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.snapshot import restore
from orchestra.storage.disk import Disk, Lock
from orchestra.storage.errors import Damaged, DirectoryInUse, DiskFailed, StorageError, WrongIdentity
from orchestra.storage.identity import Identity, load_identity, save_identity
from orchestra.storage.records import Record
from orchestra.storage.snapshots import Snapshots
from orchestra.storage.wal import ENTRY, Wal

_WAL = "wal"
_SNAPSHOTS = "snapshots"


@dataclass(slots=True)
class DataDirectory:
    """An open data directory, and the machine as the directory has it."""

    path: Path
    identity: Identity
    wal: Wal
    snapshots: Snapshots
    machine: Machine
    snapshot_index: int
    snapshot_bytes: int
    replayed_entries: int
    replayed_bytes: int
    _lock: Lock

    @classmethod
    def open(cls, disk: Disk, path: Path, name: str, segment_bytes: int) -> Self:
        """Opens or makes a data directory and brings its machine up to its last record.

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
                return cls._opened(disk, path, name, segment_bytes, lock)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise DiskFailed(
                f"{error.filename or path}: cannot be used as data directory ({error.strerror or error})"
            ) from error

    @classmethod
    def _opened(cls, disk: Disk, path: Path, name: str, segment_bytes: int, lock: Lock) -> Self:
        identity = _identity(disk, path, name)
        snapshots = Snapshots(disk, path / _SNAPSHOTS, identity)
        snapshots.open()
        loaded = snapshots.load(restore)
        snapshot_index, machine = loaded if loaded else (0, Machine())
        if machine.applied_index != snapshot_index:
            raise StorageError(f"{path}: the snapshot named {snapshot_index} holds {machine.applied_index}")
        wal = Wal(disk, path / _WAL, identity, segment_bytes=segment_bytes)
        newest = max(snapshots.indices(), default=0)
        entries, size = _replay(machine, wal.replay(snapshot_index), path / _WAL)
        if machine.applied_index < newest:
            raise Damaged(
                path / _SNAPSHOTS / f"{newest:016x}.snapshot",
                0,
                f"it cannot be used, and the log ends at entry {machine.applied_index}, before {newest}",
                "What came after would be lost: restore the data directory from a backup, or move it away to "
                "start this member empty.",
            )
        return cls(
            path=path,
            identity=identity,
            wal=wal,
            snapshots=snapshots,
            machine=machine,
            snapshot_index=snapshot_index,
            snapshot_bytes=snapshots.size(snapshot_index) if loaded else 0,
            replayed_entries=entries,
            replayed_bytes=size,
            _lock=lock,
        )

    def close(self) -> None:
        """Lets another process have it."""
        self.wal.close()
        self._lock.release()


def _identity(disk: Disk, path: Path, name: str) -> Identity:
    identity = load_identity(disk, path)
    if identity is None:
        for part in (_WAL, _SNAPSHOTS):
            if part in disk.names(path) and disk.names(path / part):
                raise Damaged(
                    path / "identity.json",
                    0,
                    f"the file is missing, but there is a {part} directory with files in it",
                    "Put it back from a backup, or move the data directory away to start this member empty.",
                )
        identity = Identity(secrets.token_hex(16), secrets.token_hex(8), name)
        save_identity(disk, path, identity)
    if identity.name != name:
        raise WrongIdentity(
            f"{path}: the data directory of member {identity.name!r}, not of {name!r}; "
            "start it under its own name, or choose another data directory"
        )
    return identity


def _replay(machine: Machine, records: Iterator[Record], path: Path) -> tuple[int, int]:
    replayed = size = 0
    for record in records:
        if record.type != ENTRY:
            raise WrongIdentity(
                f"{path}: record {record.index} is of type {record.type}, which this version does not know; "
                "start the version that wrote it"
            )
        try:
            machine.apply(record.index, record.payload)
        except Refused:
            # As it was the first time; the one who asked was told then.
            pass
        except ValueError as error:
            raise WrongIdentity(
                f"{path}: record {record.index} is {error}; start the version that wrote it"
            ) from error
        replayed += 1
        size += len(record.payload)
    return replayed, size
