"""A user's client: calls one of the masters, and moves on as orchestra.client does."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from orchestra.aio.backoff import Backoff
from orchestra.base.errors import DeadlineExceeded, Unavailable
from orchestra.client.connection import BACKOFF_MS_MAX, BACKOFF_MS_MIN, ELECTION_SECONDS
from orchestra.objects.kinds import Kind, kind_of
from orchestra.pb import meta
from orchestra.store.objects import ObjectStore
from tests.simulation.cluster.state import Violation, is_deleting, title
from tests.simulation.cluster.wire import SILENCE_SECONDS

if TYPE_CHECKING:
    from tests.simulation.cluster.masters import Master
    from tests.simulation.cluster.world import World

T = TypeVar("T")
Asked = Callable[[ObjectStore], Awaitable[T]]

CALL_SECONDS = 10.0
# How often somebody who waits for an answer looks whether the other side is still there.
LOOK_SECONDS = 0.05


class _Unreached(Unavailable):
    """Nobody has seen the request."""


class User:
    """Speaks for one person. What is answered is held against the record at once."""

    def __init__(self, world: "World", rng: random.Random) -> None:
        self.acknowledged = 0
        self._world = world
        self._rng = rng
        self._at = 0

    async def create(self, obj: Any) -> Any:
        """Raises: ApiError, as all of these."""
        return self._told(await self._call(lambda objects: objects.create(obj), write=True))

    async def mutate(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Any], Any], *, uid: str = ""
    ) -> Any:
        """Reads, changes and writes an object."""

        def quiet(live: Any) -> bool | None:
            answer = change(live)
            return answer if isinstance(answer, bool) else None

        return self._told(
            await self._call(
                lambda objects: objects.mutate(kind, namespace, name, quiet, uid=uid), write=True
            )
        )

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: meta.DeleteOptions | None = None
    ) -> None:
        """Deletes an object, or marks it for that."""
        obj, removed = await self._call(
            lambda objects: objects.delete(kind, namespace, name, options), write=True
        )
        self.acknowledged += 1
        if removed and self._world.state.by_uid(obj.metadata.uid) is not None:
            raise Violation(f"{title(obj)} was said to be deleted, and is there")

    async def list(self, kind: Kind) -> list[Any]:
        """All objects of a kind, no older than anything that was answered before."""
        newest = self._world.newest_answered
        # Somebody else, who knows another master.
        self._at = self._rng.randrange(len(self._world.masters.nodes))
        page = await self._call(lambda objects: objects.list(kind), write=False)
        if page.revision < newest:
            raise Violation(f"a list of {kind.plural} is of revision {page.revision}; {newest} was answered")
        return list(page.items)

    async def compact(self, revision: int) -> None:
        """Has history forgotten."""
        await self._call(lambda objects: objects.store.compact(revision), write=True)

    def _told(self, obj: Any) -> Any:
        self.acknowledged += 1
        record = self._world.record
        if not is_deleting(obj) and not record.has(kind_of(obj), obj):
            raise Violation(f"{title(obj)} was acknowledged, and nothing of it was committed")
        revision = int(obj.metadata.resourceVersion)
        self._world.newest_answered = max(self._world.newest_answered, revision)
        return obj

    async def _call(self, ask: Asked[T], *, write: bool) -> T:
        masters = list(self._world.masters.nodes.values())
        give_up = self._world.now() + ELECTION_SECONDS
        backoff = Backoff(BACKOFF_MS_MIN, BACKOFF_MS_MAX, rng=self._rng)
        tried = 0
        while True:
            try:
                return await self._ask(masters[self._at % len(masters)], ask)
            except Unavailable as error:
                # Whether it broke or was refused: the next call is another master's.
                self._at += 1
                if write and not (isinstance(error, _Unreached) or error.not_done):
                    raise
                meant = error
            tried += 1
            wait = 0.0 if tried % len(masters) else backoff.next_ms() / 1000
            if self._world.now() + wait >= give_up:
                raise meant
            await asyncio.sleep(wait)

    def _delay(self) -> float:
        return 0.0002 + self._rng.random() ** 3 * 0.005

    async def _ask(self, master: "Master", ask: Asked[T]) -> T:
        """One call, carried out in the master's process."""
        process, loop = master.process, asyncio.get_running_loop()
        await asyncio.sleep(self._delay())
        if process is None or not process.alive or master.objects is None:
            raise _Unreached(f"nobody listens at {master.address}")
        answer: asyncio.Future[T] = loop.create_future()

        async def serve() -> None:
            objects = master.objects
            try:
                if objects is None:
                    raise Unavailable("the master is stopping", not_done=True)
                async with asyncio.timeout(CALL_SECONDS):
                    result = await ask(objects)
            except TimeoutError:
                self._reply(answer, None, DeadlineExceeded("the call took too long"))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller hears of it
                self._reply(answer, None, error)
            else:
                self._reply(answer, result, None)

        process.start(serve(), "user's call")
        return await self._answered(process, answer)

    def _reply(self, answer: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        """Carries what came of it back to the caller's process."""

        def arrive() -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        self._world.driver.loop.call_at_moment(self._world.now() + self._delay(), arrive)

    async def _answered(self, process: Any, answer: "asyncio.Future[T]") -> T:
        loop = asyncio.get_running_loop()
        silent_since: float | None = None
        deadline = loop.time() + CALL_SECONDS + 1.0
        while True:
            await asyncio.wait((answer,), timeout=LOOK_SECONDS)
            if answer.done():
                return answer.result()
            now = loop.time()
            silent_since = (silent_since or now) if process.stopped else None
            silent = silent_since is not None and now - silent_since >= SILENCE_SECONDS
            if not process.alive or silent or now > deadline:
                answer.cancel()
                raise Unavailable("the connection broke: whether the call was carried out is not known")
