"""One try to write one object: defaults, lifecycle, validation, then one transaction that compares.

Who wins a race is decided by the store alone; a try that lost says what is there now, and the caller decides
whether to try again.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.clock import Clock
from orchestra.base.errors import AlreadyExists, Conflict, Unavailable, Violation, invalid
from orchestra.mvcc.model import Compare, DeleteRange, KeyValue, Op, Put, Result, Target
from orchestra.objects import lifecycle
from orchestra.objects.defaults import set_defaults
from orchestra.objects.kinds import EVENT, SERVICE, ApiObject, Kind, kind_of
from orchestra.objects.validation import validate_create, validate_status_update, validate_update
from orchestra.pb import core
from orchestra.store.access import Access, Commit
from orchestra.store.allocation import NO_CHANGE, NodePorts, PortChange, release
from orchestra.store.encoding import Decoder, stored
from orchestra.store.expiry import SharedLease
from orchestra.store.namespaces import Namespaces

CREATE_TRIES = 16
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Changed:
    """Another writer was first; this is what is there now (None: nothing)."""

    kv: KeyValue | None


@dataclass(frozen=True, slots=True)
class Written:
    """The object as it is now. removed: it is gone, and this was its last state."""

    obj: ApiObject
    removed: bool = False


class Writer:
    """Writes typed objects."""

    def __init__(self, access: Access, decoder: Decoder, clock: Clock, rng: random.Random) -> None:
        self._access = access
        self._decoder = decoder
        self._clock = clock
        self._rng = rng
        self._namespaces = Namespaces(access, decoder)
        self._ports = NodePorts(access, rng)
        self._event_lease = SharedLease(access, clock)

    def new_uid(self) -> str:
        """A random UUID."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _suffix(self) -> str:
        return "".join(self._rng.choices(_SUFFIX_ALPHABET, k=lifecycle.GENERATED_SUFFIX_LENGTH))

    async def create(self, obj: ApiObject, *, dry_run: bool) -> ApiObject:
        """Creates the object.

        Bound: tries again at most CREATE_TRIES times, when a generated name or port is taken or the namespace
        has changed meanwhile.
        Raises: AlreadyExists, Invalid, NotFound and Forbidden of the namespace, Unavailable, Conflict.
        """
        kind = kind_of(obj)
        wanted = lifecycle.copy_of(obj)
        set_defaults(wanted)
        generated = not wanted.metadata.name and bool(wanted.metadata.generateName)
        new = None
        for _ in range(CREATE_TRIES):
            if new is None:
                new = self._prepared(kind, wanted)
            key = kind.key(new.metadata.namespace, new.metadata.name).encode()
            written = await self._create_once(kind, key, new, dry_run)
            if isinstance(written, Written):
                return written.obj
            if written.kv is not None:
                if not generated:
                    raise _exists(kind, new.metadata.name)
                new = None
        if new is None:
            raise _exists(
                kind,
                wanted.metadata.generateName,
                ", the server was not able to generate a unique name for the object",
            )
        raise modified(kind, new.metadata.name)

    def _prepared(self, kind: Kind, wanted: ApiObject) -> ApiObject:
        new = lifecycle.prepare_create(
            wanted, now_ns=self._clock.wall_ns(), uid=self.new_uid(), name_suffix=self._suffix()
        )
        _demand(kind, new, validate_create(new))
        return new

    async def _create_once(self, kind: Kind, key: bytes, new: ApiObject, dry_run: bool) -> Written | Changed:
        name, namespace = new.metadata.name, new.metadata.namespace
        compare = [Compare(key, Target.VERSION, Result.EQUAL, 0)]
        look = [key]
        if kind.namespaced:
            compare.append(await self._namespaces.alive(namespace, kind, name))
            look.append(Namespaces.key(namespace))
        ports = await self._ports.plan(new, None) if kind is SERVICE else NO_CHANGE
        look.extend(ports.look)
        data = stored(new)
        if dry_run:
            seen = [await self._access.get(looked) for looked in look]
        else:
            put = Put(key, data, lease=await self._event_lease.current() if kind is EVENT else 0)
            commit = await self._commit([*compare, *ports.compare], [put, *ports.ops], look)
            if commit.succeeded:
                return Written(self._decoder.remember(new, key, len(data), commit.revision))
            seen = list(commit.seen)
        if kind.namespaced:
            self._namespaces.saw(namespace, seen[1], kind, name)
        if seen[0] is not None:
            return Changed(seen[0])
        lost = self._ports.check(new, ports, seen[len(look) - len(ports.look) :])
        return Written(new) if dry_run and not lost else Changed(None)

    async def _commit(self, compare: Sequence[Compare], ops: Sequence[Op], look: Sequence[bytes]) -> Commit:
        """A commit that may put Events."""
        try:
            return await self._access.commit(compare, ops, look)
        except Unavailable as error:
            self._event_lease.failed(error)
            raise

    async def replace(
        self, kind: Kind, kv: KeyValue, new: ApiObject, *, subresource: str, dry_run: bool
    ) -> Written | Changed:
        """Puts `new` in the place of what `kv` holds. Nothing is written when nothing changes.

        An object that is being deleted and whose last finalizer this takes away is removed.
        Raises: Conflict (another resourceVersion or uid than `kv`'s), Invalid, NotFound (the subresource).
        """
        old = self._decoder.decode(kind, kv)
        wanted = new
        if not subresource:
            wanted = lifecycle.copy_of(new)
            set_defaults(wanted)
        updated = lifecycle.prepare_update(wanted, old, subresource=subresource, now_ns=self._clock.wall_ns())
        if updated == old:
            return Written(old)
        if subresource == "status":
            _demand(kind, old, validate_status_update(updated, old))
        else:
            _demand(kind, old, validate_update(updated, old))
        ports = NO_CHANGE
        if kind is SERVICE and not subresource:
            ports = await self._ports.plan(updated, old)
        if dry_run:
            updated.metadata.resourceVersion = old.metadata.resourceVersion
            return Written(updated)
        if lifecycle.finalizers_done(updated):
            return await self.remove(kind, kv, updated)
        return await self.put(kind, kv, updated, ports)

    async def put(
        self, kind: Kind, kv: KeyValue, updated: ApiObject, ports: PortChange = NO_CHANGE
    ) -> Written | Changed:
        """Stores `updated` (a private copy) unchecked, if the key is still as in `kv`."""
        data = stored(updated)
        if data == kv.value:
            return Written(self._decoder.decode(kind, kv))
        compare = [Compare(kv.key, Target.MOD, Result.EQUAL, kv.mod_revision), *ports.compare]
        ops: list[Op] = [Put(kv.key, data, lease=kv.lease), *ports.ops]
        commit = await self._access.commit(compare, ops, look=[kv.key, *ports.look])
        if commit.succeeded:
            return Written(self._decoder.remember(updated, kv.key, len(data), commit.revision))
        now = commit.seen[0]
        if now is not None and now.mod_revision == kv.mod_revision:
            self._ports.check(updated, ports, commit.seen[1:])
        return Changed(now)

    async def remove(self, kind: Kind, kv: KeyValue, last: ApiObject) -> Written | Changed:
        """Deletes the key if it is still as in `kv`, with what the object had claimed."""
        ops: list[Op] = [DeleteRange(kv.key)]
        if kind is SERVICE:
            ops.extend(release(self._decoder.decode(kind, kv)))
        commit = await self._access.commit(
            [Compare(kv.key, Target.MOD, Result.EQUAL, kv.mod_revision)], ops, look=[kv.key]
        )
        if not commit.succeeded:
            return Changed(commit.seen[0])
        gone = lifecycle.copy_of(last)
        gone.metadata.resourceVersion = str(commit.revision)
        return Written(gone, removed=True)

    async def put_events(self, namespace: str, events: Sequence[core.Event]) -> int:
        """Writes Events of one namespace in one transaction, whatever is there, unchecked; the revision.

        They come from the house itself, where a check each would cost more than the write.
        Raises: NotFound and Forbidden of the namespace, Unavailable, Conflict.
        """
        lease = await self._event_lease.current()
        ops = [
            Put(
                EVENT.key(namespace, event.metadata.name).encode(),
                stored(lifecycle.copy_of(event)),
                lease=lease,
            )
            for event in events
        ]
        name = events[0].metadata.name
        for _ in range(CREATE_TRIES):
            alive = await self._namespaces.alive(namespace, EVENT, name)
            commit = await self._commit([alive], ops, [Namespaces.key(namespace)])
            if commit.succeeded:
                return commit.revision
            self._namespaces.saw(namespace, commit.seen[0], EVENT, name)
        raise modified(EVENT, name)


def _demand(kind: Kind, obj: ApiObject, violations: list[Violation]) -> None:
    if violations:
        name = obj.metadata.name or obj.metadata.generateName
        raise invalid(kind.kind, name, violations)


def _exists(kind: Kind, name: str, more: str = "") -> AlreadyExists:
    return AlreadyExists(f'{kind.resource} "{name}" already exists{more}', kind=kind.resource, name=name)


def modified(kind: Kind, name: str) -> Conflict:
    """The error of a writer that lost too often."""
    return Conflict(
        f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again",
        kind=kind.resource,
        name=name,
    )
