"""What every controller runs on: a queue of names, workers, and one place that answers every outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from orchestra.aio.mailbox import MailboxClosed
from orchestra.aio.workqueue import WorkQueue
from orchestra.base.clock import NS_PER_SECOND
from orchestra.base.errors import ApiError, Conflict, Forbidden, NotFound, PreconditionFailed
from orchestra.base.log import get_logger
from orchestra.objects.kinds import ApiObject, Kind, kind_of
from orchestra.store.informer import Informer
from orchestra.store.objects import ObjectStore

log = get_logger("controllers")

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)
T = TypeVar("T")

# The name of an object: namespace ("" for kinds without one) and name.
Key = tuple[str, str]

WRITES_AT_ONCE = 16
# Lost races in a row for one key before it is said aloud.
OUT_OF_DATE_MAX = 10
REST_COUNT_MIN = 50
REST_NS_EACH = 50_000
REST_NS_MAX = 200_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reconcile ended.

    requeue_after_ns: look again after that long; None: when something changes.
    rest_ns: leave the key alone for that long, so that many small changes of a large thing are looked at
    together and not one by one.
    """

    requeue_after_ns: int | None = None
    rest_ns: int = 0


DONE = Outcome()


def until(at_ns: int | None, now_ns: int, *, rest_ns: int = 0) -> Outcome:
    """DONE, or with a time: look again then. Both readings of one clock."""
    return Outcome(None if at_ns is None else max(0, at_ns - now_ns), rest_ns)


def rest_for(count: int) -> int:
    """How long to leave alone what is `count` objects large: nothing for a few, 50 ms for a thousand.

    Units: nanoseconds.
    """
    return 0 if count < REST_COUNT_MIN else min(count * REST_NS_EACH, REST_NS_MAX)


def is_ending(error: ApiError) -> bool:
    """Whether something could not be made because its namespace is being deleted: no reason to try again."""
    return isinstance(error, Forbidden) and "being terminated" in error.message


class Reconciler(Protocol[K_contra]):
    """The acting half of a controller. Level-based: it gets a name, never an event."""

    async def reconcile(self, key: K_contra) -> Outcome:
        """Brings what the key names nearer to what was asked for. What it raises is retried with back-off."""
        ...


class Controller(Generic[K]):
    """Ties a queue of keys to workers.

    The queue outlives a crash of the workers; on each start every key that `all_keys` names is looked at.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler[K],
        queue: WorkQueue[K],
        *,
        workers: int = 2,
        all_keys: Callable[[], Iterable[K]] = tuple,
        synced: Sequence[Informer] = (),
    ) -> None:
        self.name = name
        self.queue = queue
        self.errors = 0
        self._reconciler = reconciler
        self._workers = workers
        self._all_keys = all_keys
        self._synced = synced

    async def run(self) -> None:
        """Works until cancelled, once the caches it reads are whole."""
        for informer in self._synced:
            await informer.synced.wait()
        for key in self._all_keys():
            self.queue.add(key)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except MailboxClosed:
                return
            rest_ns = 0
            try:
                rest_ns = await self._one(key)
            finally:
                if rest_ns:
                    asyncio.get_running_loop().call_later(rest_ns / NS_PER_SECOND, self.queue.done, key)
                else:
                    self.queue.done(key)
            # Work that makes work without ever waiting must not keep the loop from everybody else.
            await asyncio.sleep(0)

    async def _one(self, key: K) -> int:
        """Reconciles one key and answers however that ends; how long the key is to rest."""
        try:
            outcome = await self._reconciler.reconcile(key)
        except (Conflict, PreconditionFailed, NotFound) as error:
            # Somebody was first: what was decided is out of date, and the cache will soon say so.
            wait = self.queue.retry(key)
            say = log.warning if self.queue.retries(key) == OUT_OF_DATE_MAX else log.debug
            say("out of date, looking again", controller=self.name, key=key, why=error, wait=wait)
            return 0
        except Exception as error:  # noqa: BLE001 - one key's defect must not stop the work on the others
            if isinstance(error, ApiError) and is_ending(error):
                self.queue.forget(key)
            else:
                self._failed(key, error)
            return 0
        self.queue.forget(key)
        if outcome.requeue_after_ns is not None:
            self.queue.add_after(key, outcome.requeue_after_ns / NS_PER_SECOND)
        return outcome.rest_ns

    def _failed(self, key: K, error: Exception) -> None:
        """Retries with back-off. The first of a row of failures is said aloud, a defect with its cause."""
        self.errors += 1
        first = self.queue.retries(key) == 0
        wait = self.queue.retry(key)
        if not first:
            log.debug("reconcile failed again", controller=self.name, key=key, why=error, wait=wait)
        elif isinstance(error, ApiError):
            log.warning("reconcile failed", controller=self.name, key=key, why=error, wait=wait)
        else:
            log.error("reconcile failed", error, controller=self.name, key=key, wait=wait)


class OwnWrites(Generic[K]):
    """Remembers how far a cache must have come before a key is looked at again.

    So that a reconcile always sees what the one before it wrote, and never makes or deletes twice.
    """

    def __init__(self) -> None:
        self._newest: dict[K, dict[Kind, int]] = {}

    def wrote(self, key: K, kind: Kind, obj: ApiObject) -> None:
        """Notes a write for a key; obj is what the store answered."""
        newest = self._newest.setdefault(key, {})
        newest[kind] = max(newest.get(kind, 0), int(obj.metadata.resourceVersion or 0))

    async def seen(self, key: K, *informers: Informer) -> None:
        """Returns once the caches show everything that was written for the key.

        Raises: DeadlineExceeded; the key is then retried, never worked on with a stale cache.
        """
        newest = self._newest.get(key)
        if not newest:
            return
        for informer in informers:
            await informer.wait_revision(newest.get(informer.kind, 0))
        self._newest.pop(key, None)


async def all_of(acts: Iterable[Callable[[], Awaitable[T]]], limit: int = WRITES_AT_ONCE) -> list[T]:
    """Does everything, `limit` at a time; after the first failure no further ones are begun.

    Raises: the first failure, once what was begun has ended.
    """
    waiting = list(acts)
    done: list[T] = []
    for start in range(0, len(waiting), limit):
        ended = await asyncio.gather(
            *(act() for act in waiting[start : start + limit]), return_exceptions=True
        )
        for result in ended:
            if isinstance(result, BaseException):
                raise result
            done.append(result)
    return done


async def unless_gone(act: Awaitable[T]) -> T | None:
    """The result, None when the object is no longer there or is another one by now."""
    try:
        return await act
    except (NotFound, PreconditionFailed):
        return None


async def write_status(objects: ObjectStore, seen: ApiObject, status: ApiObject) -> ApiObject | None:
    """Puts a status in the place of the one that was seen; None when the object is gone.

    A change of the rest of the object meanwhile does no harm: the status says which generation it is of.
    Raises: Conflict when the status is no longer the one that was seen.
    """
    kind = kind_of(seen)

    def change(live: ApiObject) -> bool:
        if live.status != seen.status:
            raise Conflict(f'the status of {kind.resource} "{seen.metadata.name}" has changed meanwhile')
        live.status.CopyFrom(status)
        return True

    try:
        return await objects.mutate(
            kind,
            seen.metadata.namespace,
            seen.metadata.name,
            change,
            subresource="status",
            uid=seen.metadata.uid,
        )
    except NotFound:
        return None
