"""Which endpoint a connection goes to: the less busy of two, or the client's own with session affinity.

Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing".
"""

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Iterable

from agents.routes import Address, RoutePlan

_WAITING_MAX = 1024
_CLIENTS_REMEMBERED_MAX = 10_000


class Route:
    """One node port's endpoints and their load."""

    def __init__(self, plan: RoutePlan, rng: random.Random) -> None:
        self.plan = plan
        self._rng = rng
        self.active: dict[Address, int] = {}
        self._addresses = sorted(plan.addresses, key=lambda a: (a.host, a.port))
        # client address -> (endpoint, loop time at which it is forgotten), oldest first.
        self._remembered: OrderedDict[str, tuple[Address, float]] = OrderedDict()
        self._changed: asyncio.Future[None] | None = None
        self.waiting = 0
        # Connections of which the endpoint has not sent a byte yet: it may not even have accepted them.
        self._unanswered: Counter[Address] = Counter()
        self._answers: dict[Address, asyncio.Future[None]] = {}

    def change(self, plan: RoutePlan) -> None:
        """In force for every connection that is accepted, or still waits, from now on."""
        self.plan = plan
        self._addresses = sorted(plan.addresses, key=lambda a: (a.host, a.port))
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def choose(self, client: str, tried: set[Address], now: float) -> Address | None:
        """The endpoint for a client: its own with affinity, else the less busy of two; None: none is left."""
        free = [a for a in self._addresses if a not in tried] if tried else self._addresses
        if not free:
            return None
        if self.plan.affinity_seconds:
            known = self._remembered.get(client)
            if known is not None and known[1] > now and known[0] in free:
                chosen = known[0]
            else:
                chosen = self._less_busy(free)
            self._remember(client, chosen, now)
            return chosen
        return self._less_busy(free)

    def _less_busy(self, free: list[Address]) -> Address:
        if len(free) == 1:
            return free[0]
        one, other = self._rng.sample(free, 2)
        return one if self.active.get(one, 0) <= self.active.get(other, 0) else other

    def _remember(self, client: str, chosen: Address, now: float) -> None:
        self._remembered[client] = (chosen, now + self.plan.affinity_seconds)
        self._remembered.move_to_end(client)
        if len(self._remembered) > _CLIENTS_REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    async def wait_for_change(self, timeout_s: float) -> bool:
        """Until the endpoints change; False when it takes too long or too many wait already."""
        if self.waiting >= _WAITING_MAX or timeout_s <= 0:
            return False
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._changed)
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True

    def took(self, address: Address) -> None:
        """A connection to the endpoint is being opened."""
        self.active[address] = self.active.get(address, 0) + 1
        self._unanswered[address] += 1

    def answered(self, address: Address) -> None:
        """The endpoint has sent the first byte of a connection, or the connection has ended without one."""
        self._unanswered[address] -= 1
        if self._unanswered[address] <= 0:
            del self._unanswered[address]
            waiting = self._answers.pop(address, None)
            if waiting is not None:
                waiting.set_result(None)

    def all_answered(self, addresses: Iterable[Address]) -> list[asyncio.Future[None]]:
        """For each endpoint with unanswered connections a future that is done when there is none any more.

        They belong to the route: wait for them without cancelling them.
        """
        loop = asyncio.get_running_loop()
        return [self._answers.setdefault(a, loop.create_future()) for a in addresses if self._unanswered[a]]

    def gave_back(self, address: Address) -> None:
        """A connection to the endpoint has ended."""
        left = self.active.get(address, 1) - 1
        if left > 0:
            self.active[address] = left
        else:
            self.active.pop(address, None)
