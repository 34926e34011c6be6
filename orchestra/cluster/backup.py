"""A store in one file: what `orchestra snapshot save` writes, and new members begin from.

The file is that of a snapshot in a data directory: who wrote it, the mark it stands for, the machine's
chunks, and a digest of all of it. A member that is restored from it belongs to a new cluster, with a
membership of its own; keys, revisions, history and leases are as they were. Every member of the new cluster
is restored from the same file, so that all begin after the same entry.

What `etcdctl snapshot save` writes is taken, too: the same, padded to whole pages, and the SHA-256 of that.

Everything here but `backup_parts` blocks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path

from orchestra.base.log import get_logger
from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.datadir import RESTORING, SNAPSHOTS, WAL, identity_of, read_machine
from orchestra.cluster.journal import Journal
from orchestra.cluster.journal_records import encode_header
from orchestra.mvcc.machine import Machine
from orchestra.raft.model import SnapshotMark
from orchestra.storage.disk import Disk, SystemDisk, write_whole
from orchestra.storage.errors import DiskFailed, StorageError, WrongIdentity
from orchestra.storage.identity import Identity, check_format, save_identity
from orchestra.storage.records import FileHeader
from orchestra.storage.snapshots import (
    MAGIC,
    SnapshotEncoder,
    Snapshots,
    disk_failure,
    read_chunks,
    read_header,
)

_REMEDY = "Save another one, or use an older one."
# What `etcdctl snapshot save` makes of a backup: padded with zeros to whole pages, and the SHA-256 of that.
_PAGE_BYTES = 512
_SHA256_BYTES = 32
_READ_BYTES = 1024 * 1024

log = get_logger("cluster.backup")


@dataclass(frozen=True, slots=True)
class BackupInfo:
    """What a backup holds. bytes: of the file. hash: of the store's content, the same for the same state.

    cluster_id, member_id: who saved it.
    """

    revision: int
    keys: int
    bytes: int
    index: int
    term: int
    hash: str
    cluster_id: str
    member_id: str


def backup_parts(identity: Identity, mark: SnapshotMark, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a backup, part by part; chunks: the machine's at `mark` (orchestra.mvcc.snapshot)."""
    encoder = SnapshotEncoder(identity, mark.index)
    yield encoder.begin() + encoder.chunk(encode_header(mark))
    for chunk in chunks:
        yield encoder.chunk(chunk)
    yield encoder.end()


class BackupWriter:
    """A backup being written to a file, under another name until it is whole. `commit` or `abort` ends it."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self._disk = disk or SystemDisk()
        self._path = path
        self._unfinished = path.with_name(path.name + ".part")
        self._closed = False
        try:
            self._file = self._disk.create(self._unfinished)
        except OSError as error:
            raise disk_failure(path, error) from error

    def write(self, part: bytes) -> None:
        """The next bytes. Raises: DiskFull, DiskFailed."""
        try:
            self._file.write(part)
        except OSError as error:
            raise disk_failure(self._path, error) from error

    def commit(self) -> BackupInfo:
        """Reads it back and puts it in place.

        Raises: Damaged, WrongIdentity when what came is not a backup; DiskFull, DiskFailed.
        """
        try:
            self._file.sync()
            info = check_backup(self._unfinished, self._disk)
            self._close()
            self._disk.rename(self._unfinished, self._path)
            self._disk.sync_directory(self._path.parent)
        except OSError as error:
            raise disk_failure(self._path, error) from error
        return info

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._file.close()

    def abort(self) -> None:
        """Leaves no trace of it."""
        try:
            self._close()
            self._disk.remove(self._unfinished)
        except OSError as error:
            log.warning("left an unfinished backup behind", file=self._unfinished, error=error)


def write_backup(parts: Iterable[bytes], path: Path, disk: Disk | None = None) -> BackupInfo:
    """Writes a backup's bytes to a file, which is there wholly or not at all.

    Raises: Damaged, DiskFull, DiskFailed.
    """
    writer = BackupWriter(path, disk)
    try:
        for part in parts:
            writer.write(part)
        return writer.commit()
    except BaseException:
        writer.abort()
        raise


def check_backup(path: Path, disk: Disk | None = None) -> BackupInfo:
    """What a backup holds, having read all of it and found it good. Raises: StorageError."""
    disk = disk or SystemDisk()
    header = _header(disk, path)
    mark, machine, hash_ = _read(disk, path)
    return BackupInfo(
        revision=machine.revision,
        keys=len(machine),
        bytes=disk.size(path),
        index=mark.index,
        term=mark.term,
        hash=hash_,
        cluster_id=header.cluster_id.hex(),
        member_id=header.member_id.hex(),
    )


def restore_backup(disk: Disk, file: Path, data_dir: Path, bootstrap: Bootstrap) -> BackupInfo:
    """Makes a data directory of a new member that holds what a backup does. Its identity is written last.

    Raises: StorageError (the file is not good, the directory is not empty or cannot be written).
    """
    info = check_backup(file, disk)
    if bootstrap.cluster_id == info.cluster_id:
        raise WrongIdentity(
            f"{file}: from cluster {info.cluster_id}, which a restored member must not belong to: "
            "give the new cluster another token"
        )
    try:
        disk.make_directory(data_dir)
        if disk.names(data_dir):
            raise StorageError(f"{data_dir}: not empty; restore into a new directory, or move this one away")
        return _restored(disk, file, data_dir, bootstrap, info)
    except OSError as error:
        raise disk_failure(data_dir, error) from error


def _restored(disk: Disk, file: Path, data_dir: Path, bootstrap: Bootstrap, info: BackupInfo) -> BackupInfo:
    write_whole(disk, data_dir / RESTORING, b"")
    mark = SnapshotMark(info.index, info.term, bootstrap.configuration)
    identity = identity_of(bootstrap, mark)
    snapshots = Snapshots(disk, data_dir / SNAPSHOTS, identity)
    snapshots.open()
    writer = snapshots.begin(mark.index)
    try:
        writer.write(encode_header(mark))
        chunks = read_chunks(disk, file, None, _REMEDY, _end(disk, file))
        # Its mark is of the old cluster.
        next(chunks)
        for chunk in chunks:
            writer.write(chunk)
        writer.commit()
    except StorageError:
        writer.abort()
        raise
    journal = Journal(disk, data_dir / WAL, identity)
    journal.create(mark)
    journal.close()
    save_identity(disk, data_dir, identity)
    disk.remove(data_dir / RESTORING)
    return replace(info, cluster_id=identity.cluster_id, member_id=identity.member_id)


def _header(disk: Disk, path: Path) -> FileHeader:
    try:
        is_backup = disk.read(path, 0, len(MAGIC)) == MAGIC
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be read ({error.strerror or error})") from error
    if not is_backup:
        raise WrongIdentity(f"{path}: not a backup; name a file that `orchestra snapshot save` wrote")
    header = read_header(disk, path, _REMEDY)
    check_format(path, header.format)
    return header


def _end(disk: Disk, path: Path) -> int | None:
    """Where etcdctl's trailer begins. None: the file has none, it ends where the backup does.

    A trailer that does not fit what is before it is none: then it is something that follows the end.
    """
    size = disk.size(path)
    if size % _PAGE_BYTES != _SHA256_BYTES or _sha256(disk, path, size - _SHA256_BYTES) != disk.read(
        path, size - _SHA256_BYTES
    ):
        return None
    return size - _SHA256_BYTES


def _sha256(disk: Disk, path: Path, length: int) -> bytes:
    digest = sha256()
    for offset in range(0, length, _READ_BYTES):
        digest.update(disk.read(path, offset, min(_READ_BYTES, length - offset)))
    return digest.digest()


def _read(disk: Disk, path: Path) -> tuple[SnapshotMark, Machine, str]:
    digest = blake2b(digest_size=16)

    def digested() -> Iterator[bytes]:
        chunks = read_chunks(disk, path, None, _REMEDY, _end(disk, path))
        # The mark differs between members of a restored cluster and the old one; the state does not.
        yield from islice(chunks, 1)
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    mark, machine = read_machine(digested(), path, _REMEDY)
    return mark, machine, digest.hexdigest()
