"""Whose data directory it is. Written once, checked at every start and in every file."""

import json
from dataclasses import dataclass
from pathlib import Path

from orchestra.storage.disk import Disk, write_whole
from orchestra.storage.errors import Damaged, WrongIdentity
from orchestra.storage.records import FORMAT, FileHeader

_NAME = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of a cluster. cluster_id: 16 bytes, member_id: 8 bytes, both in hexadecimal digits."""

    cluster_id: str
    member_id: str
    name: str

    def header(self, magic: bytes, first_index: int) -> FileHeader:
        """The header of a file of this member."""
        return FileHeader(magic, bytes.fromhex(self.cluster_id), bytes.fromhex(self.member_id), first_index)

    def check(self, path: Path, header: FileHeader, magic: bytes) -> None:
        """Raises: WrongIdentity unless a file's header says that it is this member's."""
        if header.magic != magic:
            raise WrongIdentity(f"{path}: not a file of this kind; remove it from the data directory")
        if header.format != FORMAT:
            raise WrongIdentity(
                f"{path}: written in format {header.format}, this version reads format {FORMAT}; "
                "start the version that wrote it"
            )
        if header != self.header(magic, header.first_index):
            raise WrongIdentity(
                f"{path}: belongs to member {header.member_id.hex()} of cluster {header.cluster_id.hex()}, "
                f"not to {self.member_id} of {self.cluster_id}; put back this member's own files"
            )


def load_identity(disk: Disk, directory: Path) -> Identity | None:
    """The identity of a data directory; None when it has none yet. Raises: Damaged."""
    path = directory / _NAME
    if _NAME not in disk.names(directory):
        return None
    try:
        said = json.loads(disk.read(path))
        identity = Identity(said["cluster_id"], said["member_id"], said["name"])
        if len(bytes.fromhex(identity.cluster_id)) != 16 or len(bytes.fromhex(identity.member_id)) != 8:
            raise ValueError("identifiers of the wrong length")
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(path, 0, f"not an identity ({error})", "Put back this file from a backup.") from error
    return identity


def save_identity(disk: Disk, directory: Path, identity: Identity) -> None:
    """Writes the identity of a new data directory."""
    said = {
        "cluster_id": identity.cluster_id,
        "member_id": identity.member_id,
        "name": identity.name,
    }
    write_whole(disk, directory / _NAME, json.dumps(said, indent=2).encode() + b"\n")
