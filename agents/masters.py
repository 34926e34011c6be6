"""Which master to dial next, and how soon.

Only the leading master takes an agent in; every other one says where that is. The one that was lost is tried
once more at once (its process may only have restarted), then the others.
"""

import random
from collections.abc import Sequence
from typing import Final

from orchestra.aio.backoff import Backoff
from orchestra.aio.rpc.channel import check_address
from orchestra.base.errors import UsageError

# While nobody answers.
_SILENCE_MS_MIN: Final = 50
_SILENCE_MS_MAX: Final = 2000
# While masters answer, and none of them leads.
_ELECTION_MS_MIN: Final = 50
_ELECTION_MS_MAX: Final = 200
# Masters that send an agent to each other in turn do not agree yet.
_HOPS_MAX: Final = 3
# A master that has just been lost may be gone without a word: there are others to ask.
_DOUBTED_CONNECT_S: Final = 0.3
_CONNECT_S: Final = 3.0
_KNOWN_MAX: Final = 32


class Masters:
    """The masters' addresses: an agent's own, and those that it has been told of.

    lost: the address of the master that was lost last, "" once another has taken the agent in.
    Bound: 32 addresses.
    """

    def __init__(self, own: Sequence[str], rng: random.Random) -> None:
        self.lost = ""
        self._known = list(dict.fromkeys(own))
        self._own = len(self._known)
        self._at = 0
        self._next = ""
        # Of the one being dialled: not chosen by its turn; just lost.
        self._named = False
        self._doubted = False
        self._hops = 0
        self._failures = 0
        self._silence = Backoff(_SILENCE_MS_MIN, _SILENCE_MS_MAX, rng=rng)
        self._election = Backoff(_ELECTION_MS_MIN, _ELECTION_MS_MAX, rng=rng)

    def take(self) -> str:
        """The one to dial now."""
        self._named = bool(self._next)
        self._doubted = self._named and self._next == self.lost and self._hops == 0
        address, self._next = self._next, ""
        if address:
            return address
        address = self._known[self._at % len(self._known)]
        self._at += 1
        return address

    def connect_seconds(self) -> float | None:
        """How long connecting to it may take; None: as long as it takes, there is no other."""
        if len(self._known) == 1:
            return None
        return _DOUBTED_CONNECT_S if self._doubted else _CONNECT_S

    def welcomed(self, told: Sequence[str]) -> None:
        """A master has taken the agent in, and says where all of them are."""
        self.lost = ""
        self._hops = 0
        # What was told before may be gone from the cluster; what the agent was given by its user stays.
        told = [address for address in told if _is_address(address)]
        self._known = list(dict.fromkeys((*self._known[: self._own], *told)))[:_KNOWN_MAX]

    def synced(self) -> None:
        """It has said all that there is: a session that comes this far is a success."""
        self._failures = 0
        self._silence.reset()
        self._election.reset()

    def ended(self, address: str, *, synced: bool) -> int:
        """A session has ended. Milliseconds to wait."""
        self.lost = self._next = address
        return 0 if synced else self._silence.next_ms()

    def redirected(self, leader: str) -> int:
        """The master does not lead and says who does. Milliseconds to wait."""
        self._hops += 1
        if _is_address(leader):
            self._next = leader
        return 0 if self._hops <= _HOPS_MAX and self._next else self._election.next_ms()

    def refused(self, retry_after_ms: int) -> int:
        """The master takes nobody in, or not this agent. Milliseconds to wait."""
        return max(self._election.next_ms(), retry_after_ms if retry_after_ms > _ELECTION_MS_MAX else 0)

    def failed(self, address: str) -> int:
        """It was not reached. Milliseconds to wait."""
        if self._named and self._hops <= _HOPS_MAX and len(self._known) > 1:
            self.lost = address
            return 0
        self._failures += 1
        # Each of them once, then a rest.
        return 0 if self._failures % len(self._known) else self._silence.next_ms()


def _is_address(text: str) -> bool:
    try:
        return bool(check_address(text))
    except UsageError:
        return False
