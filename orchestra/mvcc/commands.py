"""Commands: what the log's entries say, and their encoding.

`encode` and `decode` are each other's inverse; the encoding is protos/orchestra/pb/store_v1.proto.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from google.protobuf.message import DecodeError

from orchestra.mvcc.model import (
    AlarmMember,
    AlarmType,
    Compare,
    DeleteRange,
    Op,
    Put,
    Range,
    Result,
    SortOrder,
    SortTarget,
    Target,
    Txn,
)
from orchestra.pb import store_v1_pb2 as pb


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A new lease; 0 lets the machine choose its id."""

    lease: int
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class LeaseRevoke:
    """Ends a lease and deletes its keys."""

    lease: int


@dataclass(frozen=True, slots=True)
class LeaseExpire:
    """The same for leases that are over by their owner's clock."""

    leases: Sequence[int]


@dataclass(frozen=True, slots=True)
class LeaseCheckpoint:
    """Pairs of lease and the seconds that were left of it by its owner's clock."""

    remaining: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Compact:
    """Forgets what was overwritten before `revision`."""

    revision: int


@dataclass(frozen=True, slots=True)
class AlarmActivate:
    """Raises an alarm; nothing new if it is raised already."""

    alarm: AlarmMember


@dataclass(frozen=True, slots=True)
class AlarmDeactivate:
    """Ends an alarm, if there is one."""

    alarm: AlarmMember


Command = (
    Txn | LeaseGrant | LeaseRevoke | LeaseExpire | LeaseCheckpoint | Compact | AlarmActivate | AlarmDeactivate
)

_TARGETS = tuple(Target)
_RESULTS = tuple(Result)
_SORT_ORDERS = tuple(SortOrder)
_SORT_TARGETS = tuple(SortTarget)
_ALARMS = tuple(AlarmType)


def encode(command: Command) -> bytes:
    """One command as an entry of the log."""
    message = pb.Command()
    match command:
        case Txn():
            _fill_txn(message.txn, command)
        case LeaseGrant():
            message.lease_grant.lease = command.lease
            message.lease_grant.ttl_seconds = command.ttl_seconds
        case LeaseRevoke():
            message.lease_revoke.lease = command.lease
        case LeaseExpire():
            message.lease_expire.SetInParent()
            message.lease_expire.leases.extend(command.leases)
        case LeaseCheckpoint():
            message.lease_checkpoint.SetInParent()
            for lease, seconds in command.remaining:
                message.lease_checkpoint.remaining.add(lease=lease, remaining_seconds=seconds)
        case Compact():
            message.compact.revision = command.revision
        case AlarmActivate():
            message.alarm_activate.member = command.alarm.member
            message.alarm_activate.alarm = command.alarm.alarm
        case AlarmDeactivate():
            message.alarm_deactivate.member = command.alarm.member
            message.alarm_deactivate.alarm = command.alarm.alarm
    return message.SerializeToString(deterministic=True)


def put_command(put: bytes) -> bytes:
    """The entry of one put, around the put as etcd's clients encode it: our fields are theirs."""
    op = b"\x12" + _length(len(put)) + put
    txn = b"\x12" + _length(len(op)) + op
    return b"\x0a" + _length(len(txn)) + txn


def _length(number: int) -> bytes:
    if number < 0x80:
        return number.to_bytes(1, "little")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def check_known(data: bytes) -> None:
    """Whether `decode` knows all of what an entry says, for a part of its work. Raises: ValueError."""
    try:
        message = pb.Command.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a command of the store: {error}") from error
    which = message.WhichOneof("command")
    if which is None:
        raise ValueError("a command of a kind that this version does not know")
    if which == "txn":
        _check_txn(message.txn)


def _check_txn(txn: pb.Txn) -> None:
    if txn.HasField("puts"):
        _puts(txn.puts)
    for ops in (txn.success, txn.failure):
        for op in ops:
            which = op.WhichOneof("op")
            if which is None:
                raise ValueError("an operation of a kind that this version does not know")
            if which == "txn":
                _check_txn(op.txn)


def decode(data: bytes) -> Command:
    """The command of an entry. Raises: ValueError for what `encode` did not make."""
    try:
        message = pb.Command.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a command of the store: {error}") from error
    which = message.WhichOneof("command")
    match which:
        case "txn":
            return _txn(message.txn)
        case "lease_grant":
            return LeaseGrant(message.lease_grant.lease, message.lease_grant.ttl_seconds)
        case "lease_revoke":
            return LeaseRevoke(message.lease_revoke.lease)
        case "lease_expire":
            return LeaseExpire(tuple(message.lease_expire.leases))
        case "lease_checkpoint":
            pairs = message.lease_checkpoint.remaining
            return LeaseCheckpoint(tuple((pair.lease, pair.remaining_seconds) for pair in pairs))
        case "compact":
            return Compact(message.compact.revision)
        case "alarm_activate":
            return AlarmActivate(decode_alarm(message.alarm_activate))
        case "alarm_deactivate":
            return AlarmDeactivate(decode_alarm(message.alarm_deactivate))
        case None:
            raise ValueError("a command of a kind that this version does not know")


def decode_alarm(message: pb.Alarm) -> AlarmMember:
    """An alarm of a command or of a snapshot."""
    return AlarmMember(message.member, _ALARMS[message.alarm])


def _fill_txn(message: pb.Txn, txn: Txn) -> None:
    # Without this, a transaction with nothing in it would not be written down as one.
    message.SetInParent()
    for compare in txn.compare:
        said = message.compare.add(
            result=compare.result, target=compare.target, key=compare.key, range_end=compare.range_end
        )
        if isinstance(compare.value, int):
            said.number = compare.value
        else:
            said.value = compare.value
    if len(txn.success) > 1 and all(map(_is_plain_put, txn.success)):
        _fill_puts(message.puts, cast(Sequence[Put], txn.success))
    else:
        for op in txn.success:
            _fill_op(message.success.add(), op)
    for op in txn.failure:
        _fill_op(message.failure.add(), op)


def _is_plain_put(op: Op) -> bool:
    return type(op) is Put and not (op.prev_kv or op.ignore_value or op.ignore_lease)


def _fill_puts(message: pb.Puts, puts: Sequence[Put]) -> None:
    message.keys.extend([put.key for put in puts])
    message.values.extend([put.value for put in puts])
    leases = [put.lease for put in puts]
    if any(leases):
        message.leases.extend(leases)


def _fill_op(message: pb.Op, op: Op) -> None:
    if type(op) is Put:
        put = message.put
        put.key = op.key
        put.value = op.value
        if op.lease:
            put.lease = op.lease
        if op.prev_kv:
            put.prev_kv = True
        if op.ignore_value:
            put.ignore_value = True
        if op.ignore_lease:
            put.ignore_lease = True
    elif isinstance(op, Range):
        message.range.CopyFrom(
            pb.Range(
                key=op.key,
                range_end=op.range_end,
                limit=op.limit,
                revision=op.revision,
                sort_order=op.sort_order,
                sort_target=op.sort_target,
                keys_only=op.keys_only,
                count_only=op.count_only,
                min_mod_revision=op.min_mod_revision,
                max_mod_revision=op.max_mod_revision,
                min_create_revision=op.min_create_revision,
                max_create_revision=op.max_create_revision,
            )
        )
    elif isinstance(op, DeleteRange):
        message.delete_range.key = op.key
        message.delete_range.range_end = op.range_end
        message.delete_range.prev_kv = op.prev_kv
    elif isinstance(op, Txn):
        _fill_txn(message.txn, op)


def _txn(message: pb.Txn) -> Txn:
    return Txn(
        tuple([_compare(compare) for compare in message.compare]) if message.compare else (),
        _puts(message.puts) if message.HasField("puts") else tuple([_op(op) for op in message.success]),
        tuple([_op(op) for op in message.failure]) if message.failure else (),
    )


def _puts(message: pb.Puts) -> Sequence[Put]:
    keys, values, leases = message.keys, message.values, message.leases
    if len(keys) != len(values) or len(leases) not in (0, len(keys)):
        raise ValueError("puts whose columns are not of one length")
    return tuple(map(Put, keys, values, leases)) if leases else tuple(map(Put, keys, values))


def _compare(message: pb.Compare) -> Compare:
    value = message.value if message.HasField("value") else message.number
    return Compare(message.key, _TARGETS[message.target], _RESULTS[message.result], value, message.range_end)


def _range(message: pb.Range) -> Range:
    return Range(
        message.key,
        message.range_end,
        message.limit,
        message.revision,
        message.keys_only,
        message.count_only,
        sort_order=_SORT_ORDERS[message.sort_order],
        sort_target=_SORT_TARGETS[message.sort_target],
        min_mod_revision=message.min_mod_revision,
        max_mod_revision=message.max_mod_revision,
        min_create_revision=message.min_create_revision,
        max_create_revision=message.max_create_revision,
    )


def _op(message: pb.Op) -> Op:
    which = message.WhichOneof("op")
    if which == "put":
        put = message.put
        return Put(put.key, put.value, put.lease, put.prev_kv, put.ignore_value, put.ignore_lease)
    if which == "range":
        return _range(message.range)
    if which == "delete_range":
        delete = message.delete_range
        return DeleteRange(delete.key, delete.range_end, delete.prev_kv)
    if which == "txn":
        return _txn(message.txn)
    raise ValueError("an operation of a kind that this version does not know")
