"""etcd's Maintenance service."""

from hashlib import sha256
from typing import Final, Protocol

from orchestra.aio.rpc.server import Context
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.errors import (
    INVALID_DOWNGRADE_TARGET,
    NO_DOWNGRADE,
    NO_SUCH_ALARM,
    NOT_LEADER,
    WRONG_DOWNGRADE_VERSION,
    EtcdError,
)
from orchestra.etcdapi.header import Headers
from orchestra.mvcc.commands import AlarmActivate, AlarmDeactivate
from orchestra.mvcc.hashing import hash_kv
from orchestra.mvcc.model import AlarmMember, AlarmType
from orchestra.pb import etcd_cluster_pb2 as pb

# The etcd whose API this is.
VERSION: Final = "3.4.23"

_ALARM_ACTIONS: Final = frozenset(pb.AlarmRequest.AlarmAction.values())

# etcd's clients know a whole snapshot by its length: so many bytes' multiple, and a SHA-256.
_PAGE_BYTES: Final = 512
_BLOB_BYTES: Final = 64 * 1024


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class MaintenanceService:
    """Each method answers one request. Raises: EtcdError, MembershipRefused and what the store raises."""

    def __init__(self, backend: Backend, headers: Headers) -> None:
        self._backend = backend
        self._store = backend.store
        self._headers = headers

    async def alarm(self, request: pb.AlarmRequest) -> pb.AlarmResponse:
        """Without a header, as etcd answers."""
        if request.alarm not in pb.AlarmType.values() or request.action not in _ALARM_ACTIONS:
            raise EtcdError(NO_SUCH_ALARM)
        alarm = AlarmMember(request.memberID, AlarmType(request.alarm))
        response = pb.AlarmResponse()
        if request.action == pb.AlarmRequest.GET:
            await self._store.read_barrier()
            alarms = self._store.machine.alarms.raised(alarm.alarm)
        elif request.action == pb.AlarmRequest.ACTIVATE:
            alarms = list((await self._store.alarm(AlarmActivate(alarm))).alarms)
        else:
            alarms = list((await self._store.alarm(AlarmDeactivate(alarm))).alarms)
        for each in alarms:
            response.alarms.add(memberID=each.member, alarm=each.alarm.name)
        return response

    async def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        status = self._backend.status()
        response = pb.StatusResponse(
            header=self._headers.now(),
            version=VERSION,
            dbSize=status.state_bytes,
            dbSizeInUse=status.state_bytes,
            leader=status.leader,
            raftIndex=status.raft_index,
            raftTerm=status.term,
            raftAppliedIndex=status.applied_index,
            isLearner=status.is_learner,
            errors=status.errors,
        )
        for each in self._store.machine.alarms.raised():
            response.errors.append(f"memberID:{each.member} alarm:{each.alarm.name} ")
        return response

    async def defragment(self, request: pb.DefragmentRequest) -> pb.DefragmentResponse:
        """There is nothing to do: what is forgotten takes no room. Without a header, as etcd answers."""
        return pb.DefragmentResponse()

    async def hash(self, request: pb.HashRequest) -> pb.HashResponse:
        hashed = hash_kv(self._store.machine)
        return pb.HashResponse(header=self._headers.at(hashed.hash_revision), hash=hashed.hash)

    async def hash_kv(self, request: pb.HashKVRequest) -> pb.HashKVResponse:
        hashed = hash_kv(self._store.machine, request.revision)
        return pb.HashKVResponse(
            header=self._headers.now(),
            hash=hashed.hash,
            compact_revision=hashed.compact_revision,
            hash_revision=hashed.hash_revision,
        )

    async def snapshot(self, request: pb.SnapshotRequest, context: Context) -> None:
        """Streams a backup, padded to whole pages, and then its SHA-256. Without headers, as etcd answers.

        remaining_bytes stays 0: how long the encoded state is shows when it is encoded.
        """
        digest = sha256()
        blob = bytearray()
        size = 0
        async for part in self._backend.snapshot_chunks():
            blob += part
            while len(blob) >= _BLOB_BYTES:
                size += await self._write(context, bytes(blob[:_BLOB_BYTES]), digest)
                del blob[:_BLOB_BYTES]
        blob += bytes(-(size + len(blob)) % _PAGE_BYTES)
        await self._write(context, bytes(blob), digest)
        await context.write(pb.SnapshotResponse(blob=digest.digest()))

    async def _write(self, context: Context, blob: bytes, digest: _Digest) -> int:
        digest.update(blob)
        await context.write(pb.SnapshotResponse(blob=blob))
        return len(blob)

    async def move_leader(self, request: pb.MoveLeaderRequest) -> pb.MoveLeaderResponse:
        """Without a header, as etcd answers."""
        status = self._backend.status()
        if status.leader != status.id:
            raise EtcdError(NOT_LEADER)
        await self._backend.move_leader(request.targetID)
        return pb.MoveLeaderResponse()

    async def downgrade(self, request: pb.DowngradeRequest) -> pb.DowngradeResponse:
        """There is no older version to go back to."""
        if request.action == pb.DowngradeRequest.CANCEL:
            raise EtcdError(NO_DOWNGRADE)
        numbers = request.version.split(".")
        if len(numbers) not in (2, 3) or not all(map(str.isdecimal, numbers)):
            raise EtcdError(WRONG_DOWNGRADE_VERSION)
        raise EtcdError(INVALID_DOWNGRADE_TARGET)
