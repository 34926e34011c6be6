"""The model's words as etcd's messages."""

import pytest

from orchestra.mvcc.model import (
    Compare,
    DeleteRange,
    DeleteResult,
    EventType,
    KeyValue,
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
from orchestra.pb import etcd_kv_pb2 as kv
from orchestra.pb import etcd_rpc_pb2 as rpc
from orchestra.store.etcd import words


def test_a_range_says_all_that_was_asked() -> None:
    asked = Range(b"k", b"l", 3, 7, True, True, True, SortOrder.DESCEND, SortTarget.VALUE, 1, 2, 3, 4)
    told = words.range_request(asked)
    assert (told.key, told.range_end, told.limit, told.revision) == (b"k", b"l", 3, 7)
    assert told.keys_only
    assert told.count_only
    assert told.serializable
    assert (told.sort_order, told.sort_target) == (rpc.RangeRequest.DESCEND, rpc.RangeRequest.VALUE)
    assert (told.min_mod_revision, told.max_mod_revision) == (1, 2)
    assert (told.min_create_revision, told.max_create_revision) == (3, 4)


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("result", list(Result))
def test_comparisons_say_even_nothing(target: Target, result: Result) -> None:
    value: int | bytes = b"" if target == Target.VALUE else 0
    (told,) = words.txn_request(Txn((Compare(b"k", target, result, value, b"l"),))).compare
    assert rpc.Compare.CompareTarget.Name(told.target) == target.name
    assert rpc.Compare.CompareResult.Name(told.result) == result.name
    assert told.WhichOneof("target_union") == {
        Target.CREATE: "create_revision",
        Target.MOD: "mod_revision",
    }.get(target, target.name.lower())
    assert (told.key, told.range_end) == (b"k", b"l")


def test_operations_in_order_and_nested() -> None:
    put = Put(b"p", b"v", 5, prev_kv=True, ignore_value=True, ignore_lease=True)
    told = words.txn_request(Txn((), (put, DeleteRange(b"d", b"e", True)), (Txn((), (Range(b"r"),)),)))
    assert [op.WhichOneof("request") for op in told.success] == ["request_put", "request_delete_range"]
    first = told.success[0].request_put
    assert (first.key, first.value, first.lease) == (b"p", b"v", 5)
    assert first.prev_kv
    assert first.ignore_value
    assert first.ignore_lease
    assert told.success[1].request_delete_range.prev_kv
    assert told.failure[0].request_txn.success[0].request_range.key == b"r"


def test_answers_come_back_as_results() -> None:
    one = kv.KeyValue(key=b"k", create_revision=1, mod_revision=2, version=3, value=b"v", lease=4)
    header = rpc.ResponseHeader(revision=9)
    answer = rpc.TxnResponse(
        header=header,
        succeeded=True,
        responses=[
            rpc.ResponseOp(response_put=rpc.PutResponse(header=header, prev_kv=one)),
            rpc.ResponseOp(response_range=rpc.RangeResponse(header=header, kvs=[one], more=True, count=5)),
            rpc.ResponseOp(
                response_delete_range=rpc.DeleteRangeResponse(header=header, deleted=1, prev_kvs=[one])
            ),
            # etcd leaves a nested transaction's own revision out.
            rpc.ResponseOp(response_txn=rpc.TxnResponse(succeeded=False)),
        ],
    )
    read = KeyValue(b"k", b"v", 1, 2, 3, 4)
    assert words.txn_result(answer) == TxnResult(
        9,
        True,
        [
            PutResult(9, read),
            RangeResult(9, [read], 5, True),
            DeleteResult(9, 1, [read]),
            TxnResult(9, False, []),
        ],
    )


def test_events() -> None:
    before = kv.KeyValue(key=b"k", create_revision=1, mod_revision=1, version=1, value=b"v")
    gone = words.event(
        kv.Event(type=kv.Event.DELETE, kv=kv.KeyValue(key=b"k", mod_revision=2), prev_kv=before)
    )
    assert (gone.type, gone.kv) == (EventType.DELETE, KeyValue(b"k", b"", 0, 2, 0))
    assert gone.prev_kv == KeyValue(b"k", b"v", 1, 1, 1)
    put = words.event(kv.Event(type=kv.Event.PUT, kv=before))
    assert (put.type, put.prev_kv) == (EventType.PUT, None)
