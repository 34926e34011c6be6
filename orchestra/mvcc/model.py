"""The words of the key-value machine: etcd's, so that etcd's API is an adapter and not a translation.

Everything here is plain data. Keys and values are bytes; ranges are [key, range_end) with etcd's two
conventions: an empty range_end means the one key, b"\\0" means everything from key on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def record(cls: type[_T]) -> type[_T]:
    """A frozen dataclass whose freezing is the type checker's affair.

    Several are made for every key written, and `frozen=True` makes that five times as dear.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@record
class KeyValue:
    """One key at one revision.

    version: how often the key was written since it was created; 0 in a tombstone.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Target(IntEnum):
    """What a comparison looks at."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Result(IntEnum):
    """How it has to stand to the value given."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


@record
class Compare:
    """One condition of a transaction. A key that does not exist has version, create and mod revision 0."""

    key: bytes
    target: Target
    result: Result
    value: int | bytes
    range_end: bytes = b""


class SortTarget(IntEnum):
    """What a range is sorted by."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class SortOrder(IntEnum):
    """NONE: as the keys stand; by anything but the key the first limit + 1 of them, ascending."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


@record
class Range:
    """Reads keys in ascending order, unless sorted otherwise. revision 0: the newest. limit 0: all.

    serializable: what this member has applied will do; alone, not within a transaction. The revision filters
    (0: none) leave keys out of the answer, not out of its count.
    """

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False
    serializable: bool = False
    sort_order: SortOrder = SortOrder.NONE
    sort_target: SortTarget = SortTarget.KEY
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


@record
class Put:
    """Writes one key. ignore_value, ignore_lease: keeps what the key has; refused when there is no key."""

    key: bytes
    value: bytes
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


@record
class DeleteRange:
    """Deletes the keys of a range."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


@record
class Txn:
    """If every comparison holds `success` is done, else `failure`: all of it at one revision."""

    compare: Sequence[Compare] = ()
    success: Sequence["Op"] = ()
    failure: Sequence["Op"] = ()


Op = Range | Put | DeleteRange | Txn


@record
class RangeResult:
    """revision: the store's when the range was read. count: keys in the range, before the limit."""

    revision: int
    kvs: Sequence[KeyValue]
    count: int
    more: bool = False


@record
class PutResult:
    """revision: of this write."""

    revision: int
    prev_kv: KeyValue | None = None


@record
class DeleteResult:
    """revision: of this write, or the store's when nothing was there to delete."""

    revision: int
    deleted: int
    prev_kvs: Sequence[KeyValue] = ()


@record
class TxnResult:
    """succeeded: whether the comparisons held. responses: one for each operation done."""

    revision: int
    succeeded: bool
    responses: Sequence["OpResult"]


OpResult = RangeResult | PutResult | DeleteResult | TxnResult


class EventType(IntEnum):
    """What happened to a key."""

    PUT = 0
    DELETE = 1


@record
class Event:
    """One change. For DELETE, kv holds the key and the deletion's mod_revision only."""

    type: EventType
    kv: KeyValue
    prev_kv: KeyValue | None = None


class AlarmType(IntEnum):
    """What an alarm says of a member. NONE: any, when alarms are listed."""

    NONE = 0
    NOSPACE = 1
    CORRUPT = 2


@record
class AlarmMember:
    """An alarm that is raised, and the member that it was raised for."""

    member: int
    alarm: AlarmType
