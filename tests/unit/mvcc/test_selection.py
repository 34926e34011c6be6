"""Which keys of a range are answered, and in what order. The tables are what etcd answers."""

import pytest

from orchestra.mvcc.commands import Compact
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import DeleteRange, Put, Range, SortOrder, SortTarget, Txn

ASCEND, DESCEND = SortOrder.ASCEND, SortOrder.DESCEND


def commit(machine: Machine, *ops: Put | DeleteRange) -> None:
    machine.apply(machine.applied_index + 1, Txn((), ops))


@pytest.fixture
def machine() -> Machine:
    """key: created, changed, version, value — a: 2 6 2 3, b: 3 3 1 1, c: 4 7 3 2, d: 5 5 1 4."""
    made = Machine()
    for key, value in ((b"a", b"9"), (b"b", b"1"), (b"c", b"9"), (b"d", b"4"), (b"a", b"3")):
        commit(made, Put(key, value))
    commit(made, Put(b"c", b"8"))
    commit(made, Put(b"c", b"2"))
    return made


ALL = {"key": b"\0", "range_end": b"\0"}
CASES: tuple[tuple[dict[str, object], bytes, bool], ...] = (
    ({}, b"abcd", False),
    ({"sort_order": ASCEND}, b"abcd", False),
    ({"sort_order": DESCEND}, b"dcba", False),
    ({"sort_order": DESCEND, "limit": 2}, b"dc", True),
    ({"sort_order": ASCEND, "limit": 4}, b"abcd", False),
    ({"limit": -1}, b"abcd", False),
    ({"sort_target": SortTarget.VERSION, "sort_order": ASCEND}, b"bdac", False),
    # Keys that the order does not tell apart stay ascending.
    ({"sort_target": SortTarget.VERSION, "sort_order": DESCEND}, b"cabd", False),
    ({"sort_target": SortTarget.CREATE, "sort_order": DESCEND}, b"dcba", False),
    ({"sort_target": SortTarget.MOD, "sort_order": ASCEND}, b"bdac", False),
    ({"sort_target": SortTarget.MOD, "sort_order": DESCEND, "limit": 1}, b"c", True),
    ({"sort_target": SortTarget.VALUE, "sort_order": ASCEND}, b"bcad", False),
    ({"sort_target": SortTarget.VALUE, "sort_order": ASCEND, "limit": 2}, b"bc", True),
    # Without an order only the first limit + 1 keys are put in one.
    ({"sort_target": SortTarget.VALUE}, b"bcad", False),
    ({"sort_target": SortTarget.VALUE, "limit": 1}, b"b", True),
    ({"sort_target": SortTarget.MOD, "limit": 1}, b"b", True),
    ({"sort_target": SortTarget.CREATE, "limit": 2}, b"ab", True),
    ({"min_mod_revision": 5}, b"acd", False),
    ({"max_mod_revision": 5}, b"bd", False),
    ({"min_create_revision": 3, "max_create_revision": 4}, b"bc", False),
    ({"min_mod_revision": 5, "limit": 2}, b"ac", True),
    ({"min_mod_revision": 5, "limit": 3}, b"acd", False),
    ({"min_mod_revision": 9}, b"", False),
    ({"min_mod_revision": 5, "sort_order": DESCEND, "limit": 2}, b"dc", True),
)


@pytest.mark.parametrize(("asked", "keys", "more"), CASES)
@pytest.mark.parametrize("revision", [0, 8, 9])
def test_answers(machine: Machine, asked: dict[str, object], keys: bytes, more: bool, revision: int) -> None:
    """Now, and when the same is read at an older revision."""
    if revision:
        commit(machine, Put(b"e", b"0"))
        commit(machine, DeleteRange(b"b"), Put(b"a", b"0"))
        asked = {**asked, "revision": 8}
    if revision == 9:
        machine.apply(machine.applied_index + 1, Compact(8))
    result = machine.range(Range(**ALL, **asked))  # type: ignore[arg-type]
    assert b"".join(kv.key for kv in result.kvs) == keys
    assert (result.count, result.more) == (4, more)
    only = machine.range(Range(**ALL, **asked, keys_only=True))  # type: ignore[arg-type]
    assert [kv.key for kv in only.kvs] == [kv.key for kv in result.kvs]
    assert not any(kv.value for kv in only.kvs)
    counted = machine.range(Range(**ALL, **asked, count_only=True))  # type: ignore[arg-type]
    assert (list(counted.kvs), counted.count, counted.more) == ([], 4, False)
