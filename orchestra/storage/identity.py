"""Whose data directory it is. Written once, checked at every start and in every file."""

import json
from dataclasses import dataclass
from pathlib import Path

from orchestra.storage.disk import Disk, write_whole
from orchestra.storage.errors import Damaged, WrongIdentity
from orchestra.storage.records import FORMAT, FileHeader

NAME = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of a cluster. cluster_id: 16 bytes, member_id: 8 bytes, both in hexadecimal digits.

    beginning: what the member's log began after, in the owner's words.
    """

    cluster_id: str
    member_id: str
    name: str
    beginning: bytes = b""

    def header(self, magic: bytes, first_index: int) -> FileHeader:
        """The header of a file of this member."""
        return FileHeader(magic, bytes.fromhex(self.cluster_id), bytes.fromhex(self.member_id), first_index)

    def check(self, path: Path, header: FileHeader, magic: bytes) -> None:
        """Raises: WrongIdentity unless a file's header says that it is this member's."""
        if header.magic != magic:
            raise WrongIdentity(f"{path}: not a file of this kind; remove it from the data directory")
        check_format(path, header.format)
        if header != self.header(magic, header.first_index):
            raise WrongIdentity(
                f"{path}: belongs to member {header.member_id.hex()} of cluster {header.cluster_id.hex()}, "
                f"not to {self.member_id} of {self.cluster_id}; put back this member's own files"
            )


def check_format(path: Path, written: int) -> None:
    """Raises: WrongIdentity unless this version reads the format a file was written in."""
    if written != FORMAT:
        raise WrongIdentity(
            f"{path}: written in format {written}, this version reads format {FORMAT}; "
            "start the version that wrote it"
        )


def load_identity(disk: Disk, directory: Path) -> Identity | None:
    """The identity of a data directory; None when it has none yet. Raises: Damaged, WrongIdentity."""
    path = directory / NAME
    if NAME not in disk.names(directory):
        return None
    try:
        said = json.loads(disk.read(path))
        # The first version did not say which it was.
        written = int(said.get("format", 1))
        identity = Identity(
            said["cluster_id"], said["member_id"], said["name"], bytes.fromhex(said.get("beginning", ""))
        )
        if len(bytes.fromhex(identity.cluster_id)) != 16 or len(bytes.fromhex(identity.member_id)) != 8:
            raise ValueError("identifiers of the wrong length")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(path, 0, f"not an identity ({error})", "Put back this file from a backup.") from error
    check_format(path, written)
    return identity


def save_identity(disk: Disk, directory: Path, identity: Identity) -> None:
    """Writes the identity of a new data directory; with it the directory is one."""
    said = {
        "format": FORMAT,
        "cluster_id": identity.cluster_id,
        "member_id": identity.member_id,
        "name": identity.name,
        "beginning": identity.beginning.hex(),
    }
    write_whole(disk, directory / NAME, json.dumps(said, indent=2).encode() + b"\n")
