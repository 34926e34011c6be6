"""The machine beside a real etcd: whatever is asked of both, in whatever order, both answer the same.

Left out, where the machine is stricter on purpose: a put beside a delete of everything from a key on, which
etcd fails to see as writing one key twice, and a nested put under a NOSPACE alarm, which etcd lets through.
"""

import random
from collections.abc import Callable

import grpc
import pytest

from orchestra.mvcc import errors
from orchestra.mvcc.alarms import AlarmResult
from orchestra.mvcc.checks import check_txn
from orchestra.mvcc.commands import (
    AlarmActivate,
    AlarmDeactivate,
    Command,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    encode,
)
from orchestra.mvcc.leases import Lease
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import (
    AlarmMember,
    AlarmType,
    Compare,
    DeleteRange,
    DeleteResult,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
)
from orchestra.pb import etcd_cluster_pb2 as cluster
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc
from orchestra.pb import etcd_rpc_pb2 as rpc
from orchestra.pb import etcd_rpc_pb2_grpc as rpc_grpc
from orchestra.store.etcd import words
from tests.integration.etcd_server import EtcdServer

STEPS = 600
CALL_SECONDS = 10
MEMBER = 77
KEYS = (b"a", b"a/1", b"a/2", b"b", b"b\xff", b"c")
ENDS = (b"", b"", b"", b"\0", b"b", b"c", b"a0", b"a")
LEASES = (5, 6)

# What etcd says where the machine refuses.
SAID: dict[type[errors.Refused], str] = {
    errors.EmptyKey: "key is not provided",
    errors.DuplicateKey: "duplicate key given in txn request",
    errors.TooManyOperations: "too many operations in txn request",
    errors.KeyNotFound: "key not found",
    errors.ValueProvided: "value is provided",
    errors.LeaseProvided: "lease is provided",
    errors.LeaseNotFound: "requested lease not found",
    errors.LeaseExists: "lease already exists",
    errors.Compacted: "mvcc: required revision has been compacted",
    errors.FutureRevision: "mvcc: required revision is a future revision",
    errors.SpaceExceeded: "mvcc: database space exceeded",
}


class Pair:
    """Both, beginning empty at the same revision."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.kv = rpc_grpc.KVStub(channel)
        self.leases = rpc_grpc.LeaseStub(channel)
        self.maintenance = cluster_grpc.MaintenanceStub(channel)
        self.kv.DeleteRange(rpc.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
        for lease in self.leases.LeaseLeases(rpc.LeaseLeasesRequest()).leases:
            self.leases.LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease.ID))
        # Both have something, and know nothing older.
        revision = self.kv.Put(rpc.PutRequest(key=b"a")).header.revision
        self.kv.DeleteRange(rpc.DeleteRangeRequest(key=b"a"))
        self.kv.Compact(rpc.CompactionRequest(revision=revision + 1))
        self.machine = Machine()
        self.machine.revision = self.machine.compact_revision = revision + 1

    def apply(self, command: Command) -> object:
        return self.machine.apply(self.machine.applied_index + 1, encode(command))

    def same(self, what: object, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        """Both answer the same, or refuse for the same reason."""
        assert our_answer(ours) == their_answer(theirs), what

    def transact(self, txn: Txn) -> None:
        def ours() -> object:
            check_txn(txn)
            result = self.apply(txn)
            assert isinstance(result, TxnResult)
            return plain(result), result.revision

        def theirs() -> object:
            result = words.txn_result(self.kv.Txn(words.txn_request(txn), timeout=CALL_SECONDS))
            return plain(result), result.revision

        self.same(txn, ours, theirs)

    def range(self, request: Range) -> None:
        self.same(
            request,
            lambda: plain(self.machine.range(request)),
            lambda: plain(words.range_result(self.kv.Range(words.range_request(request)))),
        )

    def grant(self, lease: int) -> None:
        def ours() -> int:
            granted = self.apply(LeaseGrant(lease, 1000))
            assert isinstance(granted, Lease)
            return granted.ttl_seconds

        request = rpc.LeaseGrantRequest(ID=lease, TTL=1000)
        self.same(lease, ours, lambda: self.leases.LeaseGrant(request).TTL)

    def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease)
        self.same(
            lease,
            lambda: self.apply(LeaseRevoke(lease)),
            lambda: self.leases.LeaseRevoke(request).header.revision,
        )

    def held(self, lease: int) -> None:
        answer = self.leases.LeaseTimeToLive(rpc.LeaseTimeToLiveRequest(ID=lease, keys=True))
        if lease in self.machine.leases:
            assert self.machine.lease_keys(lease) == sorted(answer.keys)
        else:
            assert answer.TTL == -1

    def compact(self, revision: int) -> None:
        request = rpc.CompactionRequest(revision=revision, physical=True)
        self.same(
            revision,
            lambda: self.apply(Compact(revision)),
            lambda: self.kv.Compact(request).header.revision,
        )

    def alarm(self, end: bool) -> None:
        alarm = AlarmMember(MEMBER, AlarmType.NOSPACE)
        result = self.apply(AlarmDeactivate(alarm) if end else AlarmActivate(alarm))
        request = cluster.AlarmRequest(memberID=MEMBER, alarm=cluster.NOSPACE)
        request.action = cluster.AlarmRequest.DEACTIVATE if end else cluster.AlarmRequest.ACTIVATE
        answer = self.maintenance.Alarm(request)
        assert isinstance(result, AlarmResult)
        assert [each.member for each in result.alarms] == [each.memberID for each in answer.alarms]


def plain(result: OpResult) -> object:
    """A result without the revisions of what is within a transaction: etcd tells not all of them."""
    match result:
        case RangeResult():
            return list(result.kvs), result.count, result.more
        case PutResult():
            return result.prev_kv
        case DeleteResult():
            return result.deleted, list(result.prev_kvs)
        case TxnResult():
            return result.succeeded, [plain(each) for each in result.responses]


def our_answer(ask: Callable[[], object]) -> object:
    """What the machine says, a refusal in etcd's words."""
    try:
        return ask()
    except errors.Refused as refused:
        return f"etcdserver: {SAID[type(refused)]}"


def their_answer(ask: Callable[[], object]) -> object:
    """What etcd says."""
    try:
        return ask()
    except grpc.RpcError as refused:
        return refused.details()  # type: ignore[attr-defined]


class Chance:
    """What is asked, by a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def revision(self, now: int) -> int:
        back = self.rng.choice((0, 1, 3, 7, 20, -2))
        return max(now - back, 0)

    def range(self, now: int) -> Range:
        choice = self.rng.choice
        bounds = [choice((0, 0, 0, 0, max(now - 3, 0), max(now - 8, 0))) for _ in range(4)]
        return Range(
            choice(KEYS),
            choice(ENDS),
            choice((0, 0, 1, 2, 3, -1)),
            choice((0, 0, self.revision(now))),
            self.rng.random() < 0.3,
            self.rng.random() < 0.1,
            False,
            choice(list(SortOrder)),
            choice(list(SortTarget)),
            *bounds,
        )

    def put(self) -> Put:
        keep_value, keep_lease = self.rng.random() < 0.15, self.rng.random() < 0.15
        value = b"" if keep_value and self.rng.random() < 0.9 else self.rng.choice((b"", b"1", b"22", b"3"))
        lease = 0 if keep_lease and self.rng.random() < 0.9 else self.rng.choice((0, 0, 0, *LEASES))
        return Put(self.rng.choice(KEYS), value, lease, self.rng.random() < 0.3, keep_value, keep_lease)

    def compare(self, now: int) -> Compare:
        target = self.rng.choice(list(Target))
        number = self.rng.choice((0, 1, 2, *LEASES, now, max(now - 4, 0)))
        value = self.rng.choice((b"", b"1", b"22")) if target == Target.VALUE else number
        return Compare(
            self.rng.choice(KEYS), target, self.rng.choice(list(Result)), value, self.rng.choice(ENDS)
        )

    def op(self, now: int, depth: int, ends: tuple[bytes, ...]) -> Op:
        kind = self.rng.random()
        if kind < 0.45:
            return self.put()
        if kind < 0.6:
            return DeleteRange(self.rng.choice(KEYS), self.rng.choice(ends), self.rng.random() < 0.5)
        if kind < 0.85 or depth == 0:
            return self.range(now)
        return self.txn(now, depth - 1)

    def txn(self, now: int, depth: int) -> Txn:
        ends = tuple(end for end in ENDS if end != b"\0")
        compare = tuple(self.compare(now) for _ in range(self.rng.choice((0, 0, 1, 2))))
        success = tuple(self.op(now, depth, ends) for _ in range(self.rng.choice((1, 1, 2, 3, 4))))
        return Txn(
            compare, success, tuple(self.op(now, depth, ends) for _ in range(self.rng.choice((0, 1, 2))))
        )


@pytest.mark.parametrize("seed", range(3))
def test_both_answer_the_same(etcd: EtcdServer, seed: int) -> None:
    with grpc.insecure_channel(etcd.address) as channel:
        pair, chance = Pair(channel), Chance(seed)
        for _ in range(STEPS):
            now, kind, lease = pair.machine.revision, chance.rng.random(), chance.rng.choice(LEASES)
            if kind < 0.6:
                pair.transact(chance.txn(now, 0 if pair.machine.alarms else 3))
            elif kind < 0.8:
                pair.range(chance.range(now))
            elif kind < 0.85:
                pair.grant(lease)
            elif kind < 0.88:
                pair.revoke(lease)
            elif kind < 0.92:
                pair.held(lease)
            elif kind < 0.95:
                pair.compact(max(chance.revision(now), 1))
            else:
                pair.alarm(end=chance.rng.random() < 0.6)
        pair.alarm(end=True)
