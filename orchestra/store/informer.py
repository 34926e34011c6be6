"""Informers: what the cluster looks like, kept in memory and kept current.

One per kind in the process, shared by everyone who only reads. A change reaches the cache first and then the
subscribers, in the store's order.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestra.aio.backoff import Backoff
from orchestra.aio.supervisor import ActorStatus, Supervisor
from orchestra.base.errors import DeadlineExceeded, Expired, Unavailable
from orchestra.base.log import get_logger
from orchestra.objects.kinds import ApiObject, Kind, name_of
from orchestra.store.objects import ObjectStore
from orchestra.store.watching import ObjectBatch

log = get_logger("store.informer")

Handler = Callable[[ApiObject | None, ApiObject | None], None]
IndexBy = Callable[[ApiObject], Iterable[str]]
Key = tuple[str, str]
Objects = list[ApiObject]

RETRY_INITIAL_MS = 50
RETRY_LIMIT_MS = 5_000
WAIT_REVISION_SECONDS = 5.0

# Indexes that every informer has.
BY_OWNER = "owner"
BY_CONTROLLER = "controller"
BY_NODE = "node"


def owners(obj: ApiObject) -> Iterable[str]:
    """The uids of an object's owners."""
    return [owner.uid for owner in obj.metadata.ownerReferences]


def controller(obj: ApiObject) -> Iterable[str]:
    """The uid of the owner that controls an object."""
    return [owner.uid for owner in obj.metadata.ownerReferences if owner.controller]


def node_name(obj: ApiObject) -> Iterable[str]:
    """The node that a pod is bound to, "" for one that waits."""
    return [obj.spec.nodeName]


class _Index:
    """Objects by the values that a function says of each; one that fails says nothing of the object."""

    __slots__ = ("by", "errors", "name", "objects")

    def __init__(self, name: str, by: IndexBy) -> None:
        self.name = name
        self.by = by
        self.errors = 0
        self.objects: dict[str, dict[Key, ApiObject]] = {}

    def _values(self, obj: ApiObject | None) -> tuple[str, ...]:
        if obj is None:
            return ()
        try:
            return tuple(self.by(obj))
        except Exception as error:  # noqa: BLE001 - an index's defect must not stop the cache
            self.errors += 1
            log.error("an index has failed", error, index=self.name, object=name_of(obj))
            return ()

    def change(self, key: Key, old: ApiObject | None, new: ApiObject | None) -> None:
        before, after = self._values(old), self._values(new)
        if before != after:
            for value in set(before).difference(after):
                held = self.objects.get(value, {})
                held.pop(key, None)
                if not held:
                    self.objects.pop(value, None)
        for value in after:
            self.objects.setdefault(value, {})[key] = new


@dataclass(frozen=True, slots=True)
class InformerStatus:
    """How an informer fares. errors: calls of handlers and indexes that raised."""

    objects: int
    revision: int
    lists: int
    handler_errors: int
    index_errors: int = 0


class Informer:
    """The objects of one kind, in memory, as of `revision`.

    What it hands out are the very objects of the cache: immutable by contract, copy before changing. Lists
    are new lists. `synced` is set once the cache is whole, and stays set.
    """

    def __init__(self, objects: ObjectStore, kind: Kind, *, rng: random.Random | None = None) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self._objects = objects
        self._rng = rng
        self._cache: dict[Key, ApiObject] = {}
        self._namespaces: dict[str, dict[Key, ApiObject]] = {}
        self._indexes: dict[str, _Index] = {}
        self._handlers: list[Handler] = []
        self._revision = 0
        self._resume = False
        self._lists = 0
        self._handler_errors = 0
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._request_progress: Callable[[], None] | None = None
        self.add_index(BY_OWNER, owners)
        self.add_index(BY_CONTROLLER, controller)
        if "spec" in kind.message.DESCRIPTOR.fields_by_name and hasattr(kind.new().spec, "nodeName"):
            self.add_index(BY_NODE, node_name)

    @property
    def revision(self) -> int:
        """Every change of the kind up to this revision is in the cache."""
        return self._revision

    def __len__(self) -> int:
        return len(self._cache)

    def status(self) -> InformerStatus:
        """Figures for whoever watches over it."""
        failed = sum(index.errors for index in self._indexes.values())
        return InformerStatus(len(self._cache), self._revision, self._lists, self._handler_errors, failed)

    def get(self, namespace: str, name: str) -> ApiObject | None:
        """One object; for kinds without namespaces, namespace is ""."""
        return self._cache.get((namespace if self.kind.namespaced else "", name))

    def list(self, namespace: str | None = None) -> Objects:
        """The objects of a namespace; None: of all."""
        if namespace is None:
            return list(self._cache.values())
        return list(self._namespaces.get(namespace, {}).values())

    def by_index(self, index: str, value: str) -> Objects:
        """The objects that an index (BY_OWNER, BY_CONTROLLER, BY_NODE, or one added) has under a value."""
        return list(self._indexes[index].objects.get(value, {}).values())

    def add_index(self, name: str, by: IndexBy) -> None:
        """Keeps the objects also under the values that `by` says of each (a pure function of the object)."""
        index = _Index(name, by)
        for key, obj in self._cache.items():
            index.change(key, None, obj)
        self._indexes[name] = index

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        """Calls `handler(old, new)` for each change from now on, and at once for what is there already.

        old is None for a new object, new is None for one that is gone (old is then its last state). The
        handler must not block; what it raises is logged and counted. Returns what ends the subscription.
        """
        self._handlers.append(handler)
        for obj in list(self._cache.values()):
            self._call(handler, None, obj)

        def unsubscribe() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return unsubscribe

    async def wait_revision(self, revision: int, timeout_seconds: float = WAIT_REVISION_SECONDS) -> None:
        """Returns once the cache has seen everything of its kind up to a revision: to read one's own writes.

        Raises: DeadlineExceeded.
        """
        if self._revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = revision
        if self._request_progress is not None:
            self._request_progress()
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the cache of {self.kind.plural} is at revision {self._revision} and has not come to "
                f"{revision} within {timeout_seconds:g} s"
            ) from error
        finally:
            self._waiters.pop(waiter, None)

    async def run(self) -> None:
        """Lists, then watches, for ever; lists again when what it missed has been compacted.

        A store that cannot answer is asked again with back-off; anything else is raised for the supervisor,
        and the next run goes on with the cache as it is.
        """
        backoff = Backoff(RETRY_INITIAL_MS, RETRY_LIMIT_MS, rng=self._rng)
        while True:
            try:
                await self._follow(backoff)
            except Expired as error:
                log.info("too far behind, listing again", kind=self.kind.plural, why=error)
                self._resume = False
                await asyncio.sleep(0)
            except (Unavailable, DeadlineExceeded) as error:
                wait_ms = backoff.next_ms()
                log.warning("cannot watch", kind=self.kind.plural, why=error, wait_ms=wait_ms)
                await asyncio.sleep(wait_ms / 1000)
            except Exception:
                # Part of a batch may be in the cache: a new list puts the rest right.
                self._resume = False
                raise

    async def _follow(self, backoff: Backoff) -> None:
        """Watches from where it stands, or from a new list."""
        fresh: dict[Key, ApiObject] | None = None if self._resume else {}
        start = self._revision if self._resume else 0
        with self._objects.watch(self.kind, revision=start) as watch:
            self._request_progress = watch.request_progress
            try:
                async for batch in watch:
                    backoff.reset()
                    if fresh is not None:
                        for event in batch.events:
                            fresh[self._key(event.obj)] = event.obj
                        if batch.initial_end:
                            self._replace(fresh, batch.revision)
                            fresh = None
                    else:
                        self._apply(batch)
            finally:
                self._request_progress = None
                if fresh is not None:
                    self._resume = False
        raise Unavailable(f"the watch of {self.kind.plural} has ended")

    def _key(self, obj: ApiObject) -> Key:
        return obj.metadata.namespace, obj.metadata.name

    def _replace(self, fresh: dict[Key, ApiObject], revision: int) -> None:
        """Makes the cache what a list said, telling the subscribers of the differences only."""
        self._lists += 1
        for key in [key for key in self._cache if key not in fresh]:
            self._change(key, None)
        for key, obj in fresh.items():
            self._change(key, obj)
        self._resume = True
        self._advance(revision)
        self.synced.set()

    def _apply(self, batch: ObjectBatch) -> None:
        for event in batch.events:
            obj = event.obj
            self._change(self._key(obj), None if event.type == "DELETED" else obj)
        self._advance(batch.revision)

    def _change(self, key: Key, new: ApiObject | None) -> None:
        old = self._cache.get(key)
        if old is None and new is None:
            return
        if old is not None and new is not None:
            if old.metadata.resourceVersion == new.metadata.resourceVersion:
                return
            if old.metadata.uid != new.metadata.uid:
                # Deleted and made anew between two looks: two changes, not one.
                self._change(key, None)
                old = None
        if new is None:
            self._cache.pop(key, None)
        else:
            self._cache[key] = new
        namespace = self._namespaces.setdefault(key[0], {})
        if new is not None:
            namespace[key] = new
        else:
            namespace.pop(key, None)
            if not namespace:
                del self._namespaces[key[0]]
        for index in self._indexes.values():
            index.change(key, old, new)
        for handler in tuple(self._handlers):
            self._call(handler, old, new)

    def _call(self, handler: Handler, old: ApiObject | None, new: ApiObject | None) -> None:
        try:
            handler(old, new)
        except Exception as error:  # noqa: BLE001 - a subscriber's defect must not stop the others
            self._handler_errors += 1
            subject = new if new is not None else old
            name = "/".join(self._key(subject)) if subject is not None else ""
            log.error("a subscriber has failed", error, kind=self.kind.plural, object=name)

    def _advance(self, revision: int) -> None:
        self._revision = revision
        for waiter, wanted in list(self._waiters.items()):
            if wanted <= revision and not waiter.done():
                waiter.set_result(None)


class Informers:
    """One shared Informer for each kind that somebody asks for."""

    def __init__(self, objects: ObjectStore, *, rng: random.Random | None = None) -> None:
        self._objects = objects
        self._rng = rng or objects.rng
        self._informers: dict[Kind, Informer] = {}
        self._supervisor: Supervisor | None = None

    def of(self, kind: Kind) -> Informer:
        """The informer of a kind; started at once when run() is under way."""
        informer = self._informers.get(kind)
        if informer is None:
            informer = self._informers[kind] = Informer(self._objects, kind, rng=self._rng)
            self._start(informer)
        return informer

    def _start(self, informer: Informer) -> None:
        if self._supervisor is not None:
            self._supervisor.start(f"informer/{informer.kind.plural}", informer.run)

    async def run(self) -> None:
        """Runs every informer until cancelled; one that crashes is restarted by itself."""
        async with Supervisor("informers", rng=self._rng) as supervisor:
            self._supervisor = supervisor
            try:
                for informer in list(self._informers.values()):
                    self._start(informer)
                await supervisor.failed()
            finally:
                self._supervisor = None

    def status(self) -> list[ActorStatus]:
        """How the informers' tasks fare."""
        return self._supervisor.status() if self._supervisor is not None else []

    async def wait_synced(self) -> None:
        """Returns once every informer asked for so far has its first whole picture."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()
