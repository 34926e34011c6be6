"""Lists, in pages that are all of one revision."""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.errors import BadRequest, Expired
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import KeyValue, Range, RangeResult
from orchestra.objects.kinds import ApiObject, Kind
from orchestra.objects.selectors import FieldSelector, Selector
from orchestra.store.access import Access
from orchestra.store.encoding import Decoder

# Keys decoded at most between two turns of the event loop.
CHUNK_KEYS = 500
READ_TRIES = 4
_TOKEN_VERSION = "orchestra/v1"


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or a piece of one. Items are shared: copy before changing.

    continue_: the token for the next page, "" when this is the last.
    remaining: how many follow; None when selectors make that unknown, or nothing follows.
    """

    items: list[ApiObject]
    revision: int
    continue_: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """A Page whose items are the messages' bytes, with their resourceVersion."""

    items: list[bytes]
    revision: int
    continue_: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """What of a kind is asked for."""

    kind: Kind
    namespace: str = ""
    labels: Selector | None = None
    fields: FieldSelector | None = None

    @property
    def everything(self) -> bool:
        """Whether no selector has to look into the objects."""
        return (self.labels is None or self.labels.everything) and (
            self.fields is None or self.fields.everything
        )

    def keys(self) -> tuple[bytes, bytes]:
        """The range of keys to look at: one key, where a field selector names the object."""
        kind, namespace, name = self.kind, self.namespace, None
        if self.fields is not None:
            name = self.fields.exact("metadata.name")
            namespace = namespace or self.fields.exact("metadata.namespace") or ""
        if name and (namespace or not kind.namespaced):
            return kind.key(namespace, name).encode(), b""
        prefix = f"{kind.prefix}{namespace}/" if kind.namespaced and namespace else kind.prefix
        return prefix.encode(), prefix_end(prefix.encode())

    def check(self) -> None:
        """Raises: BadRequest for a field selector that names what the kind does not have."""
        if self.fields is not None:
            self.fields.check(self.kind.message)

    def matches(self, obj: ApiObject) -> bool:
        """Whether both selectors hold for the object."""
        if self.labels is not None and not self.labels.matches(obj.metadata.labels):
            return False
        return self.fields is None or self.fields.matches(obj)


@dataclass(frozen=True, slots=True)
class Slice:
    """A page before decoding."""

    kvs: list[KeyValue]
    revision: int
    continue_: str
    remaining: int | None


class Lister:
    """Reads pages of one kind."""

    def __init__(self, access: Access, decoder: Decoder) -> None:
        self._access = access
        self._decoder = decoder

    async def page(
        self, wanted: Filter, limit: int = 0, continue_: str = "", after: bytes | None = None
    ) -> Slice:
        """At most `limit` objects (0: all): from the token on at its revision, or after a key as of now.

        Raises: BadRequest for a token that is not one of ours; Expired when its revision is compacted.
        """
        if limit < 0:
            raise BadRequest(f"limit must not be negative: {limit}")
        wanted.check()
        prefix, end = wanted.keys()
        start = prefix if after is None else after + b"\0"
        if not continue_:
            return await self._read_newest(wanted, prefix, start, end, limit)
        revision, start = read_token(continue_, prefix)
        try:
            return await self._read(wanted, prefix, start, end, revision, limit)
        except Expired as error:
            raise Expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            ) from error

    async def _read_newest(
        self, wanted: Filter, prefix: bytes, start: bytes, end: bytes, limit: int
    ) -> Slice:
        """At one revision, which a long list under many writes may lose to compaction: then a newer one."""
        for _ in range(READ_TRIES - 1):
            try:
                return await self._read(wanted, prefix, start, end, 0, limit)
            except Expired:
                continue
        return await self._read(wanted, prefix, start, end, 0, limit)

    async def _read(
        self, wanted: Filter, prefix: bytes, start: bytes, end: bytes, revision: int, limit: int
    ) -> Slice:
        """Whole lists are read at once (what is read are references, not copies) and then looked through
        in turns; pages only as far as needed.
        """
        taken: list[KeyValue] = []
        while True:
            asked = 0
            if limit:
                asked = min(CHUNK_KEYS, limit - len(taken)) if wanted.everything else CHUNK_KEYS
            result = await self._access.range(Range(start, end, limit=asked, revision=revision))
            revision = revision or result.revision
            if wanted.everything:
                taken.extend(result.kvs)
            else:
                await self._select(wanted, result.kvs, taken, limit)
            if limit and len(taken) >= limit:
                return self._cut(wanted, taken[:limit], result, revision, prefix)
            if len(result.kvs) == result.count:
                return Slice(taken, revision, "", None)
            start = result.kvs[-1].key + b"\0"

    async def _select(
        self, wanted: Filter, kvs: Sequence[KeyValue], taken: list[KeyValue], limit: int
    ) -> None:
        """Adds what matches, until there are `limit`."""
        decode = self._decoder.decode
        for position, kv in enumerate(kvs, 1):
            if wanted.matches(decode(wanted.kind, kv)):
                taken.append(kv)
                if len(taken) == limit:
                    return
            if position % CHUNK_KEYS == 0:
                await asyncio.sleep(0)

    @staticmethod
    def _cut(
        wanted: Filter, taken: list[KeyValue], result: RangeResult, revision: int, prefix: bytes
    ) -> Slice:
        """A full page: with a token, unless it ends where the range ends."""
        last = taken[-1].key
        if len(result.kvs) == result.count and result.kvs[-1].key == last:
            return Slice(taken, revision, "", None)
        remaining = result.count - len(result.kvs) if wanted.everything else None
        return Slice(taken, revision, make_token(revision, prefix, last + b"\0"), remaining)

    async def decoded(self, kind: Kind, kvs: Sequence[KeyValue]) -> list[ApiObject]:
        """The objects of a slice."""
        decode = self._decoder.decode
        objects: list[ApiObject] = []
        for first in range(0, len(kvs), CHUNK_KEYS):
            if first:
                await asyncio.sleep(0)
            objects.extend(decode(kind, kv) for kv in kvs[first : first + CHUNK_KEYS])
        return objects


def make_token(revision: int, prefix: bytes, start: bytes) -> str:
    """An opaque continue token: the revision and the key to go on with."""
    said = {
        "v": _TOKEN_VERSION,
        "rv": revision,
        "of": prefix.decode(),
        "start": start[len(prefix) :].decode(),
    }
    return base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")


def read_token(token: str, prefix: bytes) -> tuple[int, bytes]:
    """Revision and start key of a token made for the same list.

    Raises: BadRequest.
    """
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        said = json.loads(raw)
        revision, of, start = said["rv"], said["of"], said["start"].encode()
        sound = said["v"] == _TOKEN_VERSION and type(revision) is int and revision > 0 and start != b""
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest("continue key is not valid: use the token of the page before unchanged") from error
    if not sound:
        raise BadRequest("continue key is not valid: use the token of the page before unchanged")
    if of != prefix.decode():
        raise BadRequest("continue key is not valid: it belongs to a list of another kind or namespace")
    return revision, prefix + start
