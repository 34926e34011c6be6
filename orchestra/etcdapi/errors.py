"""etcd's errors, word for word: clients tell them apart by their text.

Source: etcd's rpctypes (api/v3rpc/rpctypes/error.go).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import grpc

from orchestra.base.errors import OrchestraError
from orchestra.cluster import membership
from orchestra.mvcc import errors as mvcc
from orchestra.store.contract import NoSpace

_Code = grpc.StatusCode


class Said(NamedTuple):
    """What a client is told."""

    code: grpc.StatusCode
    text: str


class EtcdError(OrchestraError):
    """A request that is answered with one of etcd's errors."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said


EMPTY_KEY: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPS: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
INVALID_SORT_OPTION: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: invalid sort option")
REQUEST_TOO_LARGE: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: request is too large")
COMPACTED: Final = Said(_Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE_REVISION: Final = Said(_Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
NO_SPACE: Final = Said(_Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
LEASE_NOT_FOUND: Final = Said(_Code.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
LEASE_TTL_TOO_LARGE: Final = Said(_Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")

MEMBER_EXISTS: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: member ID already exist")
PEER_URL_EXISTS: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: Peer URLs already exists")
NOT_ENOUGH_STARTED: Final = Said(
    _Code.FAILED_PRECONDITION, "etcdserver: re-configuration failed due to not enough started members"
)
MEMBER_BAD_URLS: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
MEMBER_NOT_FOUND: Final = Said(_Code.NOT_FOUND, "etcdserver: member not found")
MEMBER_NOT_LEARNER: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: can only promote a learner member")
LEARNER_NOT_READY: Final = Said(
    _Code.FAILED_PRECONDITION,
    "etcdserver: can only promote a learner member which is in sync with leader",
)
TOO_MANY_LEARNERS: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: too many learner members in cluster")
BAD_TRANSFEREE: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: bad leader transferee")

ROOT_USER_NOT_EXIST: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: root user does not exist")
USER_EMPTY: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: user name is empty")
USER_NOT_FOUND: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: user name not found")
ROLE_EMPTY: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: role name is empty")
ROLE_NOT_FOUND: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: role name not found")
AUTH_NOT_ENABLED: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
PERMISSION_NOT_GIVEN: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: permission not given")
NOT_CAPABLE: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: not capable")

NO_LEADER: Final = Said(_Code.UNAVAILABLE, "etcdserver: no leader")
NOT_LEADER: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: not leader")
STOPPED: Final = Said(_Code.UNAVAILABLE, "etcdserver: server stopped")
TIMEOUT: Final = Said(_Code.UNAVAILABLE, "etcdserver: request timed out")
TOO_MANY_REQUESTS: Final = Said(_Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
NO_SUCH_ALARM: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: unknown alarm or action")
UNREADABLE: Final = Said(_Code.INTERNAL, "grpc: failed to unmarshal the received message")
UNHEALTHY: Final = Said(_Code.UNAVAILABLE, "etcdserver: unhealthy cluster")
CORRUPT: Final = Said(_Code.DATA_LOSS, "etcdserver: corrupt cluster")
WRONG_DOWNGRADE_VERSION: Final = Said(
    _Code.INVALID_ARGUMENT, "etcdserver: wrong downgrade target version format"
)
INVALID_DOWNGRADE_TARGET: Final = Said(_Code.INVALID_ARGUMENT, "etcdserver: invalid downgrade target version")
NO_DOWNGRADE: Final = Said(_Code.FAILED_PRECONDITION, "etcdserver: no inflight downgrade job")

# What etcd's election and lock services say of their own is no etcd error to gRPC.
SESSION_EXPIRED: Final = Said(_Code.UNKNOWN, "mutex: session is expired")
ELECTION_NO_LEADER: Final = Said(_Code.UNKNOWN, "election: no leader")
ELECTION_NOT_LEADER: Final = Said(_Code.UNKNOWN, "election: not leader")
MISSING_LEADER_KEY: Final = Said(_Code.UNKNOWN, '"leader" field must be provided')

# Reasons for which a watch is not opened; they go in the response, not in a status.
WATCH_RANGE_EMPTY: Final = "mvcc: watcher range is empty"
WATCH_DUPLICATE_ID: Final = "mvcc: duplicate watch ID provided on the WatchStream"

# The first row that fits. Whatever else a store that is away says depends on why it is (see calls.py).
REFUSALS: Final[Mapping[type[Exception], Said]] = {
    mvcc.Compacted: COMPACTED,
    mvcc.FutureRevision: FUTURE_REVISION,
    mvcc.LeaseNotFound: LEASE_NOT_FOUND,
    mvcc.LeaseExists: LEASE_EXISTS,
    mvcc.LeaseTtlTooLarge: LEASE_TTL_TOO_LARGE,
    mvcc.EmptyKey: EMPTY_KEY,
    mvcc.DuplicateKey: DUPLICATE_KEY,
    mvcc.TooManyOperations: TOO_MANY_OPS,
    mvcc.RequestTooLarge: REQUEST_TOO_LARGE,
    mvcc.KeyNotFound: KEY_NOT_FOUND,
    mvcc.ValueProvided: VALUE_PROVIDED,
    mvcc.LeaseProvided: LEASE_PROVIDED,
    mvcc.SpaceExceeded: NO_SPACE,
    mvcc.Corrupt: CORRUPT,
    NoSpace: NO_SPACE,
    membership.MemberNotFound: MEMBER_NOT_FOUND,
    membership.MemberExists: MEMBER_EXISTS,
    membership.PeerAddressExists: PEER_URL_EXISTS,
    membership.NotALearner: MEMBER_NOT_LEARNER,
    membership.LearnerNotReady: LEARNER_NOT_READY,
    membership.TooManyLearners: TOO_MANY_LEARNERS,
    membership.UnhealthyCluster: NOT_ENOUGH_STARTED,
    membership.ChangeUnderWay: UNHEALTHY,
    membership.InvalidMember: MEMBER_BAD_URLS,
    membership.CannotLead: BAD_TRANSFEREE,
}


def refusal_of(error: Exception) -> Said | None:
    """etcd's words for a refusal of the store; None if the error is none."""
    if isinstance(error, EtcdError):
        return error.said
    for cls in type(error).__mro__:
        said = REFUSALS.get(cls)
        if said is not None:
            return said
    if isinstance(error, mvcc.Refused):
        return Said(_Code.INVALID_ARGUMENT, f"etcdserver: {error}")
    return None
