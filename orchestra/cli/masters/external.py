"""An etcd cluster as the store: the masters keep nothing themselves, and contest the lead through it."""

import asyncio
from contextlib import AsyncExitStack

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.members import Masters
from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger
from orchestra.cli.masters.settings import MasterSettings
from orchestra.store.contract import Store, StoreUnavailable
from orchestra.store.etcd import EtcdCompactor, EtcdLeadership, EtcdStore
from orchestra.store.leadership import Leadership

log = get_logger("master")


class External:
    """A Backing."""

    members: Masters | None = None
    # It is etcd's disk.
    disk_bytes_written = 0

    def __init__(self, store: EtcdStore, leadership: EtcdLeadership, stack: AsyncExitStack) -> None:
        self._store = store
        self._leadership = leadership
        self._stack = stack

    @property
    def store(self) -> Store:
        """On etcd."""
        return self._store

    @property
    def leadership(self) -> Leadership:
        """By a key of etcd's."""
        return self._leadership

    def addresses(self) -> tuple[str, ...]:
        """Of the leader only: the masters do not know each other."""
        leader = self._leadership.leader
        return () if leader is None or not leader.address else (leader.address,)

    async def start(self, supervisor: Supervisor, api_address: str) -> None:
        """Stands for the lead."""
        await self._stack.enter_async_context(self._leadership)

    def lead(self, supervisor: Supervisor) -> None:
        """Has etcd forget what nobody needs: it does not do that by itself."""
        supervisor.start("compactor", EtcdCompactor(self._store).run)

    async def failed(self) -> None:
        """An etcd cluster that does not answer may do so again: there is no end to it."""
        await asyncio.get_running_loop().create_future()

    async def hand_over(self) -> None:
        """The lead is given back when the backing closes."""

    async def close(self) -> None:
        """See Backing."""
        await self._stack.aclose()


async def open_external(settings: MasterSettings) -> External:
    """Raises: OrchestraError when no member of the etcd cluster answers."""
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(await EtcdStore.open(settings.etcd))
        except StoreUnavailable as error:
            raise OrchestraError(
                f"--store=etcd://{','.join(settings.etcd)}: {error}; see that etcd runs, and that these are "
                "its client addresses"
            ) from error
        port = int(settings.listen.rpartition(":")[2])
        leadership = EtcdLeadership(store, settings.name, settings.api_address(port))
        log.info("opened the store", etcd=",".join(settings.etcd), revision=store.revision)
        return External(store, leadership, stack.pop_all())
    raise AssertionError("unreachable")
