"""The Store contract on real etcd, and what a store on a cluster of other processes has to survive."""

from collections.abc import AsyncIterator

import pytest

from orchestra.mvcc.model import DeleteRange, Txn
from orchestra.store.contract import Store
from orchestra.store.etcd import EtcdStore
from tests.integration.etcd_server import EtcdServer

pytest.register_assert_rewrite("tests.contract.store_contract")

from tests.contract.store_contract import StoreContract  # noqa: E402 - its asserts are to be explained


@pytest.fixture
async def empty(etcd: EtcdServer) -> AsyncIterator[Store]:
    async with await EtcdStore.open([etcd.address]) as store:
        await store.txn(Txn(success=(DeleteRange(b"\0", b"\0"),)))
        yield store


class TestStore(StoreContract):
    """The suite, on etcd with its own default limits."""
