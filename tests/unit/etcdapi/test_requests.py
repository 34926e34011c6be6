"""Requests as the store's words, and as the log has them."""

import pytest

from orchestra.etcdapi.errors import (
    EMPTY_KEY,
    INVALID_SORT_OPTION,
    KEY_NOT_FOUND,
    LEASE_PROVIDED,
    TOO_MANY_OPS,
    VALUE_PROVIDED,
    EtcdError,
    Said,
)
from orchestra.etcdapi.requests import put_of, range_of, txn_of
from orchestra.mvcc.commands import decode, put_command
from orchestra.mvcc.model import Compare, Put, Result, Target, Txn
from orchestra.pb import etcd_rpc_pb2 as pb


@pytest.mark.parametrize(
    "put",
    [
        Put(b"k", b""),
        Put(b"k", b"v" * 100),
        Put(b"k" * 300, b"v" * 70_000, 1 << 62, True),
        Put(b"k", b"", 5, True, True, False),
        Put(b"k", b"v", 0, False, False, True),
        Put(b"k", b"v", -5),
    ],
)
def test_a_put_in_the_log_is_the_put_that_came(put: Put) -> None:
    request = pb.PutRequest(
        key=put.key,
        value=put.value,
        lease=put.lease,
        prev_kv=put.prev_kv,
        ignore_value=put.ignore_value,
        ignore_lease=put.ignore_lease,
    )
    assert put_of(request) == put
    assert decode(put_command(request.SerializeToString())) == Txn((), (put,))


def test_a_comparison_is_with_what_its_target_says() -> None:
    request = pb.Compare(key=b"k", target=pb.Compare.MOD, result=pb.Compare.LESS, version=9)
    assert txn_of(pb.TxnRequest(compare=[request])).compare[0] == Compare(b"k", Target.MOD, Result.LESS, 0)
    request = pb.Compare(key=b"k", target=pb.Compare.VALUE, result=pb.Compare.NOT_EQUAL)
    expected = Compare(b"k", Target.VALUE, Result.NOT_EQUAL, b"")
    assert txn_of(pb.TxnRequest(compare=[request])).compare[0] == expected


def nested(levels: int) -> pb.TxnRequest:
    txn = pb.TxnRequest()
    for _ in range(levels):
        txn = pb.TxnRequest(success=[pb.RequestOp(request_txn=txn)])
    return txn


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pb.PutRequest(), EMPTY_KEY),
        (pb.PutRequest(key=b"k", value=b"v", ignore_value=True), VALUE_PROVIDED),
        (pb.PutRequest(key=b"k", lease=1, ignore_lease=True), LEASE_PROVIDED),
        (pb.RangeRequest(), EMPTY_KEY),
        (pb.RangeRequest(key=b"k", sort_order=3), INVALID_SORT_OPTION),
        (pb.RangeRequest(key=b"k", sort_target=-1), INVALID_SORT_OPTION),
        (pb.TxnRequest(success=[pb.RequestOp()]), KEY_NOT_FOUND),
        (pb.TxnRequest(compare=[pb.Compare()]), EMPTY_KEY),
        (pb.TxnRequest(compare=[pb.Compare(key=b"k")] * 129), TOO_MANY_OPS),
        (
            pb.TxnRequest(
                compare=[pb.Compare(key=b"k")] * 128,
                success=[pb.RequestOp(request_txn=pb.TxnRequest(compare=[pb.Compare(key=b"k")]))],
            ),
            TOO_MANY_OPS,
        ),
    ],
)
def test_what_is_refused_at_sight(
    request_: pb.PutRequest | pb.RangeRequest | pb.TxnRequest, said: Said
) -> None:
    with pytest.raises(EtcdError) as caught:
        read(request_)
    assert caught.value.said == said


def read(request: pb.PutRequest | pb.RangeRequest | pb.TxnRequest) -> object:
    if isinstance(request, pb.PutRequest):
        return put_of(request)
    return range_of(request) if isinstance(request, pb.RangeRequest) else txn_of(request)
