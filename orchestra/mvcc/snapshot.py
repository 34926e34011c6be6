"""A machine as a stream of bounded chunks, and back.

Taking one copies references only: what they refer to never changes, so the machine goes on while the chunks
are encoded one by one.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from orchestra.mvcc.commands import decode_alarm
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import KeyValue
from orchestra.pb import store_v1_pb2 as pb

CHUNK_BYTES = 256 * 1024
_LEASES_PER_CHUNK = 4096


def snapshot(machine: Machine) -> Iterator[bytes]:
    """The machine as it is at the call, whatever happens to it before the chunks are asked for.

    Bound: a chunk holds CHUNK_BYTES and one value more at most.
    """
    head = pb.SnapshotHead(
        applied_index=machine.applied_index,
        revision=machine.revision,
        compact_revision=machine.compact_revision,
        alarms=[pb.Alarm(member=each.member, alarm=each.alarm) for each in machine.alarms.raised()],
    )
    leases = [
        (each.lease, each.ttl_seconds, each.remaining_seconds)
        for each in sorted(machine.leases.values(), key=lambda lease: lease.lease)
    ]
    base = machine.base()
    history = machine.history.copy()
    return _chunks(head, leases, base, (event.kv for event in history))


def _chunks(
    head: pb.SnapshotHead,
    leases: list[tuple[int, int, int]],
    base: Iterable[KeyValue],
    history: Iterable[KeyValue],
) -> Iterator[bytes]:
    yield pb.SnapshotChunk(head=head).SerializeToString(deterministic=True)
    for at in range(0, len(leases), _LEASES_PER_CHUNK):
        chunk = pb.SnapshotChunk()
        for lease, ttl_seconds, remaining_seconds in leases[at : at + _LEASES_PER_CHUNK]:
            chunk.leases.add(lease=lease, ttl_seconds=ttl_seconds, remaining_seconds=remaining_seconds)
        yield chunk.SerializeToString(deterministic=True)
    for kvs in _bounded(base):
        chunk = pb.SnapshotChunk()
        for kv in kvs:
            _fill(chunk.base.add(), kv)
        yield chunk.SerializeToString(deterministic=True)
    for kvs in _bounded(history):
        chunk = pb.SnapshotChunk()
        for kv in kvs:
            _fill(chunk.history.add(), kv)
        yield chunk.SerializeToString(deterministic=True)


def _bounded(kvs: Iterable[KeyValue]) -> Iterator[list[KeyValue]]:
    gathered: list[KeyValue] = []
    size = 0
    for kv in kvs:
        gathered.append(kv)
        size += len(kv.key) + len(kv.value) + 32
        if size >= CHUNK_BYTES:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def _fill(message: pb.KeyValue, kv: KeyValue) -> None:
    # Field by field and in place: half as dear as a message of keywords that is copied then.
    message.key = kv.key
    message.create_revision = kv.create_revision
    message.mod_revision = kv.mod_revision
    message.version = kv.version
    message.value = kv.value
    if kv.lease:
        message.lease = kv.lease


def restore(chunks: Iterable[bytes]) -> Machine:
    """The machine whose snapshot it was. Raises: ValueError when the head is missing."""
    head: pb.SnapshotHead | None = None
    leases: list[Lease] = []
    base: list[KeyValue] = []
    history: list[KeyValue] = []
    for data in chunks:
        chunk = pb.SnapshotChunk.FromString(data)
        if chunk.HasField("head"):
            head = chunk.head
        leases += [Lease(each.lease, each.ttl_seconds, each.remaining_seconds) for each in chunk.leases]
        base += map(_decoded, chunk.base)
        history += map(_decoded, chunk.history)
    if head is None:
        raise ValueError("the snapshot has no head")
    return Machine.rebuilt(
        applied_index=head.applied_index,
        revision=head.revision,
        compact_revision=head.compact_revision,
        leases=leases,
        alarms=map(decode_alarm, head.alarms),
        base=base,
        history=history,
    )


def _decoded(kv: pb.KeyValue) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def state_hash(machine: Machine) -> str:
    """The same for two machines if and only if they are in the same state."""
    digest = blake2b(digest_size=16)
    for chunk in snapshot(machine):
        digest.update(chunk)
    return digest.hexdigest()
