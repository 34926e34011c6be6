"""What is written byte by byte is what protobuf would write."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestra.etcdapi.encoding import KeyValueEncoder, encoded_txn
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.responses import fill_range, fill_txn
from orchestra.mvcc.model import DeleteResult, KeyValue, PutResult, RangeResult, TxnResult
from orchestra.pb import etcd_rpc_pb2 as pb

BIG = KeyValue(b"big", b"x" * 70_000, 1, 1 << 40, 1, -1)
SMALL = KeyValue(b"small", b"", 5, 7, 2, 9)


@pytest.mark.parametrize(
    "result",
    [
        RangeResult(7, (), 0),
        RangeResult(7, (), 300),
        RangeResult(7, (SMALL,), 1),
        RangeResult(7, (BIG, SMALL), 1 << 33, True),
        RangeResult(7, (BIG,) * 20, 20),
        RangeResult(7, (SMALL,) * 2000, 2000, True),
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_a_range_is_encoded_as_the_message_would_be(result: RangeResult, keep: bool) -> None:
    response = pb.RangeResponse()
    fill_range(response, result)
    encoder = KeyValueEncoder()
    for _ in range(2):
        assert encoder.encoded_range(result, keep=keep) == response.SerializeToString()


def test_a_key_that_was_written_again_is_answered_as_it_is_now() -> None:
    encoder = KeyValueEncoder()
    # Objects that are forgotten at once, so that their identities are given again.
    for version in range(1, 5000):
        kv = KeyValue(b"key", b"%d" % version * 600, 2, version + 1, version)
        said = pb.RangeResponse.FromString(encoder.encoded_range(RangeResult(9, (kv,), 1), keep=True))
        assert (said.kvs[0].version, said.kvs[0].value) == (version, kv.value)


@pytest.mark.parametrize(
    "result",
    [
        TxnResult(7, True, ()),
        TxnResult(7, False, ()),
        TxnResult(7, True, [PutResult(7)] * 100),
        TxnResult(7, False, [PutResult(1 << 40)] * 2),
        TxnResult(7, True, [PutResult(7), PutResult(7, SMALL)]),
        TxnResult(7, True, [PutResult(7), DeleteResult(7, 1, (SMALL,)), RangeResult(7, (SMALL,), 1)]),
        TxnResult(7, True, [TxnResult(7, False, [PutResult(7)]), PutResult(7)]),
    ],
)
def test_a_transaction_is_encoded_as_the_message_would_be(result: TxnResult) -> None:
    response = pb.TxnResponse()
    fill_txn(response, result)
    assert encoded_txn(result) == response.SerializeToString()


@pytest.mark.parametrize("term", [0, 1, 1 << 40])
@pytest.mark.parametrize("revision", [0, 1, 1 << 40])
def test_a_header_is_encoded_as_the_message_would_be(term: int, revision: int) -> None:
    backend: Any = SimpleNamespace(
        status=lambda: SimpleNamespace(cluster=(1 << 64) - 1, id=5), term=term, store=None
    )
    headers = Headers(backend)
    for _ in range(2):
        said = pb.PutResponse(header=headers.at(revision))
        assert headers.encoded(revision) == said.SerializeToString()
