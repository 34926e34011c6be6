"""What an entry of the log may say."""

import pytest

from orchestra.mvcc.commands import Compact, LeaseGrant, check_known, encode, put_command
from orchestra.mvcc.model import Compare, Put, Range, Result, Target, Txn
from orchestra.pb import etcd_rpc_pb2 as etcd


def test_what_is_made_here_is_known() -> None:
    inner = Txn((Compare(b"k", Target.MOD, Result.EQUAL, 1),), (Put(b"a", b"1"),), (Range(b"b"),))
    commands = (inner, Txn((), (Put(b"a", b"1"), Put(b"b", b"2"))), Txn((), (inner,)), LeaseGrant(1, 2))
    for command in (*map(encode, (*commands, Compact(3))), put_command(b""), encode(Txn())):
        check_known(command)
    check_known(put_command(etcd.PutRequest(key=b"k", value=b"v").SerializeToString()))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="no message"),
        pytest.param(b"\x7a\x00", id="another kind of command"),
        pytest.param(b"\x0a\x04\x12\x02\x7a\x00", id="another kind of operation"),
        pytest.param(b"\x0a\x08\x12\x06\x22\x04\x1a\x02\x7a\x00", id="deep within"),
    ],
)
def test_what_another_version_made_is_not(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"command|operation"):
        check_known(data)
