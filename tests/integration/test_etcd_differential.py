"""Random requests to a real etcd and to a member, over the wire: every response is the same, field by field.

What they may differ in is taken out first: who answered, in which term, and the ids that servers choose.
"""

import random
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.message import Message

from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc
from orchestra.pb import etcd_election_pb2 as election_pb
from orchestra.pb import etcd_election_pb2_grpc as election_grpc
from orchestra.pb import etcd_lock_pb2 as lock_pb
from orchestra.pb import etcd_lock_pb2_grpc as lock_grpc
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.pb import etcd_rpc_pb2_grpc as rpc
from tests.integration.real_etcd import serving_pair

pytestmark = pytest.mark.timeout(90)

# Of the whole run of random requests.
FUZZ_SECONDS = 12.0
FUZZ_REQUESTS = 4000
CALL_SECONDS = 10.0

KEYS = [b"a", b"b", b"c", b"ca", b"cab", b"d", b"d\xff", b"\xff", b"e/1", b"e/2"]
ENDS = [b"", b"\0", b"b", b"c", b"cb", b"e", b"e0", b"\xff\xff", b"a"]
VALUES = [b"", b"1", b"2", b"22", b"\0\xff"]
LEASES = [11, 12, 13]


class Sides:
    """The same call to both; what each answered, made comparable."""

    def __init__(self, addresses: tuple[str, str]) -> None:
        self.channels = [grpc.insecure_channel(address) for address in addresses]
        self.asked = 0

    def close(self) -> None:
        for channel in self.channels:
            channel.close()

    def ask(self, stub: Callable[[grpc.Channel], object], method: str, request: Message) -> list[object]:
        """Etcd's answer and ours, normalised: a message as text, or a status."""
        return [
            _answer(getattr(stub(channel), method).future(request, timeout=CALL_SECONDS))
            for channel in self.channels
        ]

    def same(self, stub: Callable[[grpc.Channel], object], method: str, request: Message) -> object:
        """Requires both to answer the same; the answer."""
        theirs, ours = self.ask(stub, method, request)
        self.asked += 1
        assert ours == theirs, f"{method} {request}\netcd: {theirs}\nours: {ours}"
        return ours


def _answer(call: grpc.Future) -> object:
    try:
        return _normal(call.result())
    except grpc.RpcError as error:
        return error.code().name, error.details()


def _normal(message: Message) -> str:
    for name in ("cluster_id", "member_id", "raft_term"):
        if message.DESCRIPTOR.fields_by_name.get("header"):
            message.header.ClearField(name)
    return str(message)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with serving_pair(tmp_path_factory.mktemp("pair")) as pair:
        both = Sides((pair.etcd.address, pair.ours.address))
        yield both
        both.close()


class Requests:
    """Draws requests; `revision` is about the newest there is."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.revision = 1

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def key(self) -> bytes:
        return b"" if self.chance(1) else self.rng.choice(KEYS)

    def some_revision(self) -> int:
        return max(1, self.revision + self.rng.randrange(-12, 2))

    def range(self) -> pb.RangeRequest:
        request = pb.RangeRequest(key=self.key(), range_end=self.rng.choice(ENDS))
        if self.chance(30):
            request.limit = self.rng.randrange(-1, 4)
        if self.chance(25):
            request.revision = self.some_revision()
        if self.chance(30):
            request.sort_order = self.rng.randrange(3)
            request.sort_target = self.rng.randrange(5)
        for flag in ("serializable", "keys_only", "count_only"):
            setattr(request, flag, self.chance(15))
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if self.chance(8):
                setattr(request, bound, self.some_revision())
        return request

    def put(self) -> pb.PutRequest:
        request = pb.PutRequest(key=self.key(), value=self.rng.choice(VALUES), prev_kv=self.chance(40))
        if self.chance(25):
            request.lease = self.rng.choice([*LEASES, 99])
        if self.chance(10):
            request.ignore_value = True
            if self.chance(80):
                request.value = b""
        if self.chance(10):
            request.ignore_lease = True
            if self.chance(80):
                request.lease = 0
        return request

    def delete(self) -> pb.DeleteRangeRequest:
        end = self.rng.choice(ENDS) if self.chance(30) else b""
        return pb.DeleteRangeRequest(key=self.key(), range_end=end, prev_kv=self.chance(50))

    def delete_within(self) -> pb.DeleteRangeRequest:
        """Of a transaction. Not from a key on: etcd lets a put into such a range pass, where we refuse it as it
        refuses it for every other range."""
        request = self.delete()
        if request.range_end == b"\0":
            request.range_end = b"\xff"
        return request

    def compare(self) -> pb.Compare:
        compare = pb.Compare(
            key=self.key(),
            result=self.rng.randrange(4),
            target=self.rng.randrange(5),
            range_end=self.rng.choice(ENDS) if self.chance(25) else b"",
        )
        # Mostly what the target is compared with; now and then something else, or nothing.
        what = compare.target if self.chance(90) else self.rng.randrange(6)
        if what == 0:
            compare.version = self.rng.randrange(4)
        elif what == 1:
            compare.create_revision = self.some_revision() if self.chance(60) else 0
        elif what == 2:
            compare.mod_revision = self.some_revision() if self.chance(60) else 0
        elif what == 3:
            compare.value = self.rng.choice(VALUES)
        elif what == 4:
            compare.lease = self.rng.choice([0, *LEASES])
        return compare

    def op(self, depth: int) -> pb.RequestOp:
        drawn = self.rng.randrange(100)
        if drawn < 40:
            return pb.RequestOp(request_put=self.put())
        if drawn < 70:
            return pb.RequestOp(request_range=self.range())
        if drawn < 85:
            return pb.RequestOp(request_delete_range=self.delete_within())
        if drawn < 99 and depth < 3:
            return pb.RequestOp(request_txn=self.txn(depth + 1))
        return pb.RequestOp()

    def txn(self, depth: int = 0) -> pb.TxnRequest:
        return pb.TxnRequest(
            compare=[self.compare() for _ in range(self.rng.choice((0, 0, 1, 1, 2)))],
            success=[self.op(depth) for _ in range(self.rng.randrange(4))],
            failure=[self.op(depth) for _ in range(self.rng.randrange(4))],
        )

    def draw(self) -> tuple[Callable[[grpc.Channel], object], str, Message]:
        drawn = self.rng.randrange(100)
        if drawn < 25:
            return rpc.KVStub, "Put", self.put()
        if drawn < 50:
            return rpc.KVStub, "Range", self.range()
        if drawn < 60:
            return rpc.KVStub, "DeleteRange", self.delete()
        if drawn < 88:
            return rpc.KVStub, "Txn", self.txn()
        if drawn < 91:
            revision = self.some_revision()
            return rpc.KVStub, "Compact", pb.CompactionRequest(revision=revision, physical=self.chance(50))
        if drawn < 95:
            ttl = self.rng.choice([60, 1000, 9_000_000_001])
            return rpc.LeaseStub, "LeaseGrant", pb.LeaseGrantRequest(ID=self.rng.choice(LEASES), TTL=ttl)
        if drawn < 97:
            return rpc.LeaseStub, "LeaseRevoke", pb.LeaseRevokeRequest(ID=self.rng.choice([*LEASES, 99]))
        return rpc.LeaseStub, "LeaseLeases", pb.LeaseLeasesRequest()


def leases_sorted(text: object) -> object:
    """Neither side promises an order of leases."""
    return "".join(sorted(str(text).splitlines(keepends=True)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_requests_are_answered_the_same(sides: Sides, seed: int) -> None:
    requests = Requests(random.Random(seed))
    deadline = time.monotonic() + FUZZ_SECONDS / 3
    for _ in range(FUZZ_REQUESTS // 3):
        if time.monotonic() > deadline:
            break
        stub, method, request = requests.draw()
        theirs, ours = sides.ask(stub, method, request)
        if method == "LeaseLeases":
            theirs, ours = leases_sorted(theirs), leases_sorted(ours)
        assert ours == theirs, f"{method} {request}\netcd: {theirs}\nours: {ours}"
        now = sides.same(rpc.KVStub, "Range", pb.RangeRequest(key=b"?", serializable=True))
        requests.revision = int(str(now).split("revision: ")[1].split()[0])


def test_large_requests(sides: Sides) -> None:
    sides.same(rpc.KVStub, "Put", pb.PutRequest(key=b"large", value=bytes(1_500_000)))
    sides.same(rpc.KVStub, "Put", pb.PutRequest(key=b"large", value=bytes(1_600_000)))
    many = [pb.RequestOp(request_put=pb.PutRequest(key=b"m%d" % at, value=b"1")) for at in range(129)]
    sides.same(rpc.KVStub, "Txn", pb.TxnRequest(success=many[:128]))
    sides.same(rpc.KVStub, "Txn", pb.TxnRequest(success=many))
    halves = pb.TxnRequest(success=many[:100], failure=many[:100])
    sides.same(rpc.KVStub, "Txn", pb.TxnRequest(success=[pb.RequestOp(request_txn=halves)] * 30))
    sides.same(rpc.KVStub, "DeleteRange", pb.DeleteRangeRequest(key=b"l", range_end=b"n"))


def test_lock_and_election_over_the_wire(sides: Sides) -> None:
    sides.same(rpc.LeaseStub, "LeaseGrant", pb.LeaseGrantRequest(ID=77, TTL=60))
    sides.same(rpc.LeaseStub, "LeaseGrant", pb.LeaseGrantRequest(ID=78, TTL=60))
    sides.same(lock_grpc.LockStub, "Lock", lock_pb.LockRequest(name=b"lock", lease=77))
    sides.same(lock_grpc.LockStub, "Lock", lock_pb.LockRequest(name=b"lock", lease=77))
    sides.same(lock_grpc.LockStub, "Unlock", lock_pb.UnlockRequest(key=b"lock/4d"))
    sides.same(lock_grpc.LockStub, "Lock", lock_pb.LockRequest(name=b"lock", lease=78))
    sides.same(lock_grpc.LockStub, "Lock", lock_pb.LockRequest(name=b"lock", lease=4711))
    stub = election_grpc.ElectionStub
    sides.same(stub, "Leader", election_pb.LeaderRequest(name=b"vote"))
    sides.same(stub, "Campaign", election_pb.CampaignRequest(name=b"vote", lease=77, value=b"one"))
    sides.same(stub, "Campaign", election_pb.CampaignRequest(name=b"vote", lease=77, value=b"two"))
    sides.same(stub, "Leader", election_pb.LeaderRequest(name=b"vote"))
    sides.same(stub, "Proclaim", election_pb.ProclaimRequest(value=b"x"))
    sides.same(stub, "Resign", election_pb.ResignRequest())
    gone = election_pb.LeaderKey(name=b"vote", key=b"vote/4d", rev=1, lease=77)
    sides.same(stub, "Proclaim", election_pb.ProclaimRequest(leader=gone, value=b"x"))
    sides.same(stub, "Resign", election_pb.ResignRequest(leader=gone))
    sides.same(rpc.LeaseStub, "LeaseRevoke", pb.LeaseRevokeRequest(ID=77))
    sides.same(stub, "Leader", election_pb.LeaderRequest(name=b"vote"))
    sides.same(rpc.LeaseStub, "LeaseRevoke", pb.LeaseRevokeRequest(ID=78))


def test_operators_calls_over_the_wire(sides: Sides) -> None:
    stub = cluster_grpc.MaintenanceStub
    for alarm in (cluster_pb.NOSPACE, cluster_pb.CORRUPT):
        raised = cluster_pb.AlarmRequest(action=cluster_pb.AlarmRequest.ACTIVATE, memberID=5, alarm=alarm)
        sides.same(stub, "Alarm", raised)
        sides.same(stub, "Alarm", cluster_pb.AlarmRequest(action=cluster_pb.AlarmRequest.GET))
        sides.same(rpc.KVStub, "Put", pb.PutRequest(key=b"alarmed", value=b"1"))
        sides.same(rpc.KVStub, "DeleteRange", pb.DeleteRangeRequest(key=b"alarmed"))
        sides.same(rpc.LeaseStub, "LeaseGrant", pb.LeaseGrantRequest(ID=79, TTL=60))
        raised.action = cluster_pb.AlarmRequest.DEACTIVATE
        sides.same(stub, "Alarm", raised)
        sides.same(stub, "Alarm", raised)
    sides.same(stub, "Defragment", cluster_pb.DefragmentRequest())
    sides.same(stub, "HashKV", cluster_pb.HashKVRequest(revision=1_000_000))


def watched(channel: grpc.Channel, said: list[pb.WatchRequest], count: int) -> list[str]:
    """The first responses of a stream on which so much is said."""
    stream = rpc.WatchStub(channel).Watch(iter(said), timeout=CALL_SECONDS)
    found = []
    for response in stream:
        found.append(_normal(response))
        if len(found) == count:
            break
    stream.cancel()
    return found


def create(**fields: object) -> pb.WatchRequest:
    return pb.WatchRequest(create_request=pb.WatchCreateRequest(**fields))  # type: ignore[arg-type]


def test_watches_over_the_wire(sides: Sides) -> None:
    answer = sides.same(rpc.KVStub, "Put", pb.PutRequest(key=b"w/1", value=b"1"))
    revision = int(str(answer).split("revision: ")[1].split()[0])
    sides.same(rpc.KVStub, "Put", pb.PutRequest(key=b"w/1", value=b"2"))
    sides.same(rpc.KVStub, "DeleteRange", pb.DeleteRangeRequest(key=b"w/1"))
    noput, nodelete = pb.WatchCreateRequest.NOPUT, pb.WatchCreateRequest.NODELETE
    talks = [
        ([create(key=b"w/", range_end=b"w0", start_revision=revision)], 2),
        ([create(key=b"w/", range_end=b"w0", start_revision=revision, prev_kv=True, watch_id=9)], 2),
        ([create(key=b"w/", range_end=b"w0", start_revision=revision, filters=[noput])], 2),
        ([create(key=b"w/", range_end=b"w0", start_revision=revision, filters=[nodelete])], 2),
        ([create(key=b"w/1", watch_id=4), create(key=b"w/2", watch_id=4)], 2),
        ([create(key=b"w/1"), create(key=b"w/2"), create(key=b"w/3", watch_id=7), create(key=b"w/4")], 4),
        ([create(key=b"w/2", range_end=b"w/1")], 1),
        ([create(key=b"w/1", range_end=b"w/1")], 1),
        ([create(), create(range_end=b"\0")], 2),
        ([create(key=b"w/1"), pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=0))], 2),
        ([create(key=b"w/1"), pb.WatchRequest(progress_request=pb.WatchProgressRequest())], 2),
        ([create(key=b"w/1", start_revision=revision + 100)], 1),
    ]
    for said, count in talks:
        theirs, ours = (watched(channel, said, count) for channel in sides.channels)
        assert ours == theirs, said
    sides.same(rpc.KVStub, "Compact", pb.CompactionRequest(revision=revision + 1))
    said = [create(key=b"w/1", start_revision=revision)]
    theirs, ours = (watched(channel, said, 2) for channel in sides.channels)
    assert ours == theirs
