"""A hash of what a machine holds, by which members find out that they do not hold the same.

Depends on the revision asked for, the compact revision and what lies between, and on nothing else: not on
when or in how many steps it was compacted, nor on restarts. Source: etcd's HashKV.
"""

from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

from orchestra.mvcc.errors import Compacted, FutureRevision
from orchestra.mvcc.machine import FIRST_REVISION, Machine
from orchestra.mvcc.model import KeyValue, Range

_HEAD = Struct("<QQQQqQ")


@dataclass(frozen=True, slots=True)
class KeyspaceHash:
    """hash: 32 bits. Two are comparable when hash_revision and compact_revision are the same."""

    hash: int
    hash_revision: int
    compact_revision: int


def hash_kv(machine: Machine, revision: int = 0) -> KeyspaceHash:
    """The keys as they stood at the compact revision and every change after it up to `revision` (0: all).

    Cost: a microsecond or so a key. Raises: Compacted (also at the compact revision itself, as in etcd),
    FutureRevision.
    """
    if 0 < revision <= machine.compact_revision:
        raise Compacted(machine.compact_revision)
    if revision > machine.revision:
        raise FutureRevision(revision, machine.revision)
    revision = revision or machine.revision
    digest = blake2b(digest_size=4)
    since = max(machine.compact_revision, FIRST_REVISION)
    for kv in machine.range(Range(b"\0", b"\0", revision=since)).kvs:
        digest.update(_encoded(kv))
    for event in machine.history.after(since):
        if event.kv.mod_revision > revision:
            break
        digest.update(_encoded(event.kv))
    return KeyspaceHash(int.from_bytes(digest.digest(), "little"), revision, machine.compact_revision)


def _encoded(kv: KeyValue) -> bytes:
    head = _HEAD.pack(len(kv.key), kv.create_revision, kv.mod_revision, kv.version, kv.lease, len(kv.value))
    return head + kv.key + kv.value
