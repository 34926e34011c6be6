"""The server of etcd's API: the services, composed."""

import asyncio
import random
from collections.abc import Mapping

from orchestra.aio.rpc.limits import CLIENT_KEEPALIVE, Keepalive
from orchestra.aio.rpc.server import Handler, RpcServer
from orchestra.etcdapi.auth import AuthService
from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.calls import Calls, Unary
from orchestra.etcdapi.cluster import ClusterService
from orchestra.etcdapi.election import ElectionService
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.kv import KvService
from orchestra.etcdapi.lease import LeaseService
from orchestra.etcdapi.lock import LockService
from orchestra.etcdapi.maintenance import MaintenanceService
from orchestra.etcdapi.watch import PROGRESS_SECONDS, WatchService
from orchestra.pb import etcd_auth_pb2 as auth_pb
from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_election_pb2 as election_pb
from orchestra.pb import etcd_lock_pb2 as lock_pb
from orchestra.pb import etcd_rpc_pb2 as pb


class EtcdServer:
    """Serves KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election and health on one port."""

    def __init__(
        self,
        backend: Backend,
        *,
        keepalive: Keepalive = CLIENT_KEEPALIVE,
        progress_seconds: float = PROGRESS_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()
        headers = Headers(backend)
        self._calls = calls = Calls(backend)
        self._watching_leader: asyncio.Task[None] | None = None
        # A request's bound is etcd's own (etcdserver: request is too large); a response has none.
        self._server = RpcServer(keepalive=keepalive, response_bytes_max=-1, own_errors=True)
        add = self._server.add_handlers
        add("etcdserverpb.KV", _kv(calls, KvService(backend, headers)))
        watch = WatchService(backend, headers, progress_seconds=progress_seconds, rng=rng)
        add("etcdserverpb.Watch", {"Watch": calls.talk(watch.watch, pb.WatchRequest)})
        add("etcdserverpb.Lease", _lease(calls, LeaseService(backend, headers, rng)))
        add("etcdserverpb.Cluster", _cluster(calls, ClusterService(backend, headers)))
        add("etcdserverpb.Maintenance", _maintenance(calls, MaintenanceService(backend, headers)))
        add("etcdserverpb.Auth", _auth(calls, AuthService(headers)))
        add("v3lockpb.Lock", _lock(calls, LockService(backend, headers, rng)))
        add("v3electionpb.Election", _election(calls, ElectionService(backend, headers, rng)))

    async def start(self, listen: str) -> int:
        """Serves on HOST:PORT (port 0: a free one). The port. Raises: ListenError, UsageError."""
        port = await self._server.start(listen)
        self._watching_leader = asyncio.create_task(self._calls.watch_leader())
        return port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Ends watches and other streams at once, gives the other calls the grace. Safe to call twice."""
        self._calls.end_streams()
        await self._server.stop(grace_seconds)
        if self._watching_leader is not None:
            self._watching_leader.cancel()
            await asyncio.wait((self._watching_leader,))


Handlers = Mapping[str, Handler]


def _kv(calls: Calls, kv: KvService) -> Handlers:
    return {
        "Put": calls.unary(kv.put, bytes, bytes),
        "Range": calls.unary(kv.range, pb.RangeRequest, bytes),
        "Txn": calls.unary(kv.txn, bytes, bytes),
        "DeleteRange": calls.unary(kv.delete_range, pb.DeleteRangeRequest, pb.DeleteRangeResponse),
        "Compact": calls.unary(kv.compact, pb.CompactionRequest, pb.CompactionResponse),
    }


def _lease(calls: Calls, lease: LeaseService) -> Handlers:
    return {
        "LeaseGrant": calls.unary(lease.grant, pb.LeaseGrantRequest, pb.LeaseGrantResponse),
        "LeaseRevoke": calls.unary(lease.revoke, pb.LeaseRevokeRequest, pb.LeaseRevokeResponse),
        "LeaseKeepAlive": calls.talk(lease.keep_alive, pb.LeaseKeepAliveRequest),
        "LeaseTimeToLive": calls.unary(
            lease.time_to_live, pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse
        ),
        "LeaseLeases": calls.unary(lease.leases, pb.LeaseLeasesRequest, pb.LeaseLeasesResponse),
    }


def _cluster(calls: Calls, cluster: ClusterService) -> Handlers:
    unary, at = calls.unary, cluster_pb
    return {
        "MemberAdd": unary(cluster.add, at.MemberAddRequest, at.MemberAddResponse),
        "MemberRemove": unary(cluster.remove, at.MemberRemoveRequest, at.MemberRemoveResponse),
        "MemberUpdate": unary(cluster.update, at.MemberUpdateRequest, at.MemberUpdateResponse),
        "MemberList": unary(cluster.list, at.MemberListRequest, at.MemberListResponse),
        "MemberPromote": unary(cluster.promote, at.MemberPromoteRequest, at.MemberPromoteResponse),
    }


def _maintenance(calls: Calls, maintenance: MaintenanceService) -> Handlers:
    unary, at = calls.unary, cluster_pb
    return {
        "Alarm": unary(maintenance.alarm, at.AlarmRequest, at.AlarmResponse),
        "Status": unary(maintenance.status, at.StatusRequest, at.StatusResponse),
        "Defragment": unary(maintenance.defragment, at.DefragmentRequest, at.DefragmentResponse),
        "Hash": unary(maintenance.hash, at.HashRequest, at.HashResponse),
        "HashKV": unary(maintenance.hash_kv, at.HashKVRequest, at.HashKVResponse),
        "Snapshot": calls.stream(maintenance.snapshot, at.SnapshotRequest, at.SnapshotResponse),
        "MoveLeader": unary(maintenance.move_leader, at.MoveLeaderRequest, at.MoveLeaderResponse),
        "Downgrade": unary(maintenance.downgrade, at.DowngradeRequest, at.DowngradeResponse),
    }


def _auth(calls: Calls, auth: AuthService) -> Handlers:
    behaviours: dict[str, Unary] = {
        "AuthEnable": auth.enable,
        "AuthDisable": auth.disable,
        "AuthStatus": auth.status,
        "Authenticate": auth.authenticate,
        "UserAdd": auth.user_add,
        "UserGet": auth.unknown_user,
        "UserList": auth.user_list,
        "UserDelete": auth.unknown_user,
        "UserChangePassword": auth.unknown_user,
        "UserGrantRole": auth.unknown_user,
        "UserRevokeRole": auth.unknown_user,
        "RoleAdd": auth.role_add,
        "RoleGet": auth.unknown_role,
        "RoleList": auth.role_list,
        "RoleDelete": auth.unknown_role,
        "RoleGrantPermission": auth.role_grant,
        "RoleRevokePermission": auth.unknown_role,
    }
    handlers = {}
    for name, behave in behaviours.items():
        message = name if name.startswith("Auth") else f"Auth{name}"
        handlers[name] = calls.unary(
            behave, getattr(auth_pb, f"{message}Request"), getattr(auth_pb, f"{message}Response")
        )
    return handlers


def _lock(calls: Calls, lock: LockService) -> Handlers:
    return {
        "Lock": calls.unary(lock.lock, lock_pb.LockRequest, lock_pb.LockResponse),
        "Unlock": calls.unary(lock.unlock, lock_pb.UnlockRequest, lock_pb.UnlockResponse),
    }


def _election(calls: Calls, election: ElectionService) -> Handlers:
    unary, at = calls.unary, election_pb
    return {
        "Campaign": unary(election.campaign, at.CampaignRequest, at.CampaignResponse),
        "Proclaim": unary(election.proclaim, at.ProclaimRequest, at.ProclaimResponse),
        "Leader": unary(election.leader, at.LeaderRequest, at.LeaderResponse),
        "Observe": calls.stream(election.observe, at.LeaderRequest, at.LeaderResponse),
        "Resign": unary(election.resign, at.ResignRequest, at.ResignResponse),
    }
