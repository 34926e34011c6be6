"""The Store contract on the stores in this process.

A store joins by a line in STORES: an async context manager that gives an empty store.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from orchestra.cluster.member import Member
from orchestra.store.contract import Store
from orchestra.store.memory import MemoryStore
from tests.unit.cluster.group import QUICK, Group

pytest.register_assert_rewrite("tests.contract.store_contract")

from tests.contract.store_contract import StoreContract  # noqa: E402 - its asserts are to be explained


@asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[Store]:
    store = MemoryStore()
    yield store
    await store.close()


@asynccontextmanager
async def on_a_log(path: Path) -> AsyncIterator[Store]:
    async with await Member.open(path / "data") as member:
        yield member.store


@asynccontextmanager
async def in_a_group(path: Path) -> AsyncIterator[Store]:
    """At a member that does not lead: everything goes over the links."""
    async with Group(path, settings=QUICK) as group:
        yield (await group.followers())[0].store


STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {
    "memory": in_memory,
    "member": on_a_log,
    "group": in_a_group,
}


@pytest.fixture(params=STORES)
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with STORES[request.param](tmp_path) as store:
        yield store


class TestStore(StoreContract):
    """The suite, on each of them."""
