"""What a master stands on: a store, who leads, and what comes with them."""

from typing import Protocol

from orchestra.aio.supervisor import Supervisor
from orchestra.apiserver.members import Masters
from orchestra.store.contract import Store
from orchestra.store.leadership import Leadership


class Backing(Protocol):
    """An open store of one sort or another."""

    @property
    def store(self) -> Store: ...

    @property
    def leadership(self) -> Leadership: ...

    @property
    def members(self) -> Masters | None:
        """The masters, where the store is their own."""
        ...

    @property
    def disk_bytes_written(self) -> int: ...

    def addresses(self) -> tuple[str, ...]:
        """Where every master's API is reached, as far as that is known here."""
        ...

    async def start(self, supervisor: Supervisor, api_address: str) -> None:
        """Begins what goes on beside the store. api_address: where this master's API is reached."""
        ...

    def lead(self, supervisor: Supervisor) -> None:
        """Starts what only the leading master does for the store; it ends with the mandate."""
        ...

    async def failed(self) -> None:
        """Waits until the store cannot go on, and raises why."""
        ...

    async def hand_over(self) -> None:
        """Before an orderly end: lets another master lead, if there is one, within a second."""
        ...

    async def close(self) -> None:
        """Ends it. Safe to call twice."""
        ...
