"""Reading what every answered write has come to: at an index that the leader, confirmed as such, names.

All that wait when the question is put share it; who comes later waits for the next one. A question that
nobody answered is put again under another id, so that a late answer to the first one does no harm.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from orchestra.cluster.proposals import MAX_WAITING
from orchestra.raft.model import ReadState
from orchestra.store.contract import StoreUnavailable


class _Core(Protocol):
    def read(self, id: int) -> None: ...


class _Reader:
    __slots__ = ("answer", "deadline")

    def __init__(self, answer: asyncio.Future[None], deadline: float) -> None:
        self.answer = answer
        self.deadline = deadline

    def done(self) -> None:
        if not self.answer.done():
            self.answer.set_result(None)

    def failed(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(StoreUnavailable(reason))


class Reads:
    """Who waits to read. Bound: MAX_WAITING. Times are the event loop's, in seconds."""

    def __init__(self, first_id: int, timeout_seconds: float, ask_again_seconds: float) -> None:
        self._next_id = first_id
        self._timeout_seconds = timeout_seconds
        self._ask_again_seconds = ask_again_seconds
        self._loop = asyncio.get_running_loop()
        # Not asked for; asked for, as `_asked`; told an index, and waiting for it to be applied.
        self._new: list[_Reader] = []
        self._asked: list[_Reader] = []
        self._asked_id = 0
        self._asked_at = 0.0
        self._again = False
        self._told: deque[tuple[int, list[_Reader]]] = deque()

    def __len__(self) -> int:
        return len(self._new) + len(self._asked) + sum(len(readers) for _, readers in self._told)

    @property
    def next_deadline(self) -> float | None:
        """When the first has waited too long."""
        groups = (self._new, self._asked, *(readers for _, readers in self._told))
        return min((readers[0].deadline for readers in groups if readers), default=None)

    def add(self) -> asyncio.Future[None]:
        """Done when this member has applied all that was answered before. Raises: StoreUnavailable."""
        if len(self._new) + len(self._asked) >= MAX_WAITING:
            raise StoreUnavailable("too many requests wait to be read: retry in a moment")
        answer: asyncio.Future[None] = self._loop.create_future()
        self._new.append(_Reader(answer, self._loop.time() + self._timeout_seconds))
        return answer

    @property
    def to_ask(self) -> bool:
        """Whether a question is due."""
        return bool(self._new) and not self._asked

    def ask(self, core: _Core) -> None:
        """Puts the question for all that have come since the last one."""
        self._asked, self._new = self._new, []
        self._put(core)

    def _put(self, core: _Core) -> None:
        self._next_id += 1
        self._asked_id = self._next_id
        self._asked_at = self._loop.time()
        self._again = False
        core.read(self._asked_id)

    def ask_again(self, core: _Core) -> None:
        """Called at every tick: a question that came to nothing, or is without an answer for long."""
        if self._asked and (self._again or self._loop.time() - self._asked_at >= self._ask_again_seconds):
            self._asked += self._new
            self._new = []
            self._put(core)

    def answered(self, states: Sequence[ReadState], applied: int) -> None:
        """What the core has found out."""
        for state in states:
            if state.id != self._asked_id or not self._asked:
                continue
            if state.index is None:
                self._again = True
                continue
            readers, self._asked = self._asked, []
            if state.index <= applied:
                for reader in readers:
                    reader.done()
            else:
                self._told.append((state.index, readers))

    def applied(self, index: int) -> None:
        """The machine has come this far."""
        while self._told and self._told[0][0] <= index:
            for reader in self._told.popleft()[1]:
                reader.done()

    def expire(self, now: float) -> None:
        """Ends the waiting of those that have waited too long."""
        reason = (
            "no leader has confirmed in time that the read is not stale: see that most of the members run"
        )
        for readers in (self._new, self._asked, *(readers for _, readers in self._told)):
            while readers and readers[0].deadline <= now:
                readers.pop(0).failed(reason)
        while self._told and not self._told[0][1]:
            self._told.popleft()

    def fail(self, reason: str) -> None:
        """Answers all that wait."""
        for readers in (self._new, self._asked, *(readers for _, readers in self._told)):
            for reader in readers:
                reader.failed(reason)
            readers.clear()
        self._told.clear()
