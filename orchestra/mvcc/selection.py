"""What of the keys in a range is answered: filters, then order, then the limit; the count is of all.

Source: etcd's Range of its v3 applier (server/etcdserver/txn/range.go).
"""

from collections.abc import Iterable
from itertools import islice
from operator import attrgetter

from orchestra.mvcc.model import KeyValue, Range, RangeResult, SortOrder, SortTarget

_SORT_KEYS = tuple(map(attrgetter, ("key", "version", "create_revision", "mod_revision", "value")))


def answer(request: Range, kvs: Iterable[KeyValue], count: int, revision: int) -> RangeResult:
    """The answer to a request whose range holds `kvs`, `count` in number, ascending by key.

    Keys that the order does not tell apart stay ascending. Cost: without filters and order, only as many
    keys are looked at as are answered.
    """
    if request.count_only:
        return RangeResult(revision, (), count)
    limit = request.limit if request.limit > 0 else count
    if _has_filters(request):
        kvs = _filtered(request, kvs)
    elif not _is_sorted(request):
        taken = list(kvs if limit >= count else islice(kvs, limit))
        return RangeResult(revision, _shown(request, taken), count, limit < count)
    elif request.sort_order == SortOrder.NONE:
        # Without an order, etcd puts only as many keys in order as it answers, and one more.
        kvs = islice(kvs, limit + 1)
    taken = list(kvs)
    if _is_sorted(request):
        descending = request.sort_order == SortOrder.DESCEND
        taken.sort(key=_SORT_KEYS[request.sort_target], reverse=descending)
    more = limit < len(taken)
    if more:
        del taken[limit:]
    return RangeResult(revision, _shown(request, taken), count, more)


def _has_filters(request: Range) -> bool:
    return bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _is_sorted(request: Range) -> bool:
    """Whether another order is asked for than the natural one."""
    return request.sort_target != SortTarget.KEY or request.sort_order == SortOrder.DESCEND


def _filtered(request: Range, kvs: Iterable[KeyValue]) -> Iterable[KeyValue]:
    min_mod, max_mod = request.min_mod_revision, request.max_mod_revision
    min_create, max_create = request.min_create_revision, request.max_create_revision
    return [
        kv
        for kv in kvs
        if (not min_mod or kv.mod_revision >= min_mod)
        and (not max_mod or kv.mod_revision <= max_mod)
        and (not min_create or kv.create_revision >= min_create)
        and (not max_create or kv.create_revision <= max_create)
    ]


def _shown(request: Range, kvs: list[KeyValue]) -> list[KeyValue]:
    if not request.keys_only:
        return kvs
    return [KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in kvs]
