"""Whether a namespace takes new objects, known well enough for one transaction to decide it.

A create compares the namespace's mod revision with one at which it was seen alive. Marking a namespace for
deletion changes that revision, so that nothing can be created in it from then on, whoever's cache is old.
"""

from orchestra.base.errors import Forbidden, not_found
from orchestra.mvcc.model import Compare, KeyValue, Result, Target
from orchestra.objects.kinds import NAMESPACE, Kind
from orchestra.store.access import Access
from orchestra.store.encoding import Decoder

CACHED_NAMESPACES = 4096

# There from the start, and never deleted.
KEPT = ("default", "kube-system")


class Namespaces:
    """The revisions at which namespaces were last seen alive. Bound: CACHED_NAMESPACES."""

    def __init__(self, access: Access, decoder: Decoder) -> None:
        self._access = access
        self._decoder = decoder
        self._alive: dict[str, int] = {}

    @staticmethod
    def key(namespace: str) -> bytes:
        """The store key of a namespace."""
        return NAMESPACE.key("", namespace).encode()

    async def alive(self, namespace: str, kind: Kind, name: str) -> Compare:
        """The condition under which an object may be created there.

        Raises: NotFound; Forbidden when the namespace is being deleted.
        """
        if namespace not in self._alive:
            self.saw(namespace, await self._access.get(self.key(namespace)), kind, name)
        return Compare(self.key(namespace), Target.MOD, Result.EQUAL, self._alive[namespace])

    def saw(self, namespace: str, kv: KeyValue | None, kind: Kind, name: str) -> bool:
        """Takes note of a namespace as it is now; whether that is news.

        Raises: NotFound; Forbidden when the namespace is being deleted.
        """
        if kv is None:
            self._alive.pop(namespace, None)
            raise not_found(NAMESPACE.resource, namespace)
        if self._decoder.decode(NAMESPACE, kv).metadata.HasField("deletionTimestamp"):
            self._alive.pop(namespace, None)
            raise Forbidden(
                f'{kind.resource} "{name}" is forbidden: unable to create new content in namespace '
                f"{namespace} because it is being terminated",
                kind=kind.resource,
                name=name,
            )
        news = self._alive.get(namespace) != kv.mod_revision
        while len(self._alive) >= CACHED_NAMESPACES and namespace not in self._alive:
            self._alive.pop(next(iter(self._alive)))
        self._alive[namespace] = kv.mod_revision
        return news
