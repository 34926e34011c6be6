"""Who leads: at most one master at a time runs the scheduler and the controllers.

A mandate is proved by a key: the store refuses every write that carries the guards of a mandate that is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestra.mvcc.model import Compare

# Outside /registry/, so that no list of objects sees it.
LEADER_KEY = b"/orchestra/leader"


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as every master can know. address: where its API is reached."""

    name: str
    address: str


class Mandate(Protocol):
    """One time of leading, from its beginning to its end."""

    @property
    def guards(self) -> Sequence[Compare]:
        """What every write in its name has to carry: they hold as long as the mandate does."""
        ...

    async def over(self) -> None:
        """Returns when the mandate may have ended; its holder has to stop then."""
        ...


class Leadership(Protocol):
    """The contest of the masters, as one of them sees it."""

    @property
    def leader(self) -> Leader | None:
        """Who leads now as far as this master knows; itself included."""
        ...

    async def won(self) -> Mandate:
        """Waits until this master leads. Raises: StoreUnavailable when the store has ended."""
        ...

    async def changed(self) -> None:
        """Waits until `leader` is another than at the call."""
        ...
