"""Objects as the store holds them, and one decoded copy of each for the whole process.

What is stored is the message without metadata.resourceVersion, which is the key's mod revision. To send an
object, the revision is appended as one more `metadata` field: protobuf merges a message field that occurs
twice, so that the bytes decode to the whole object, and nothing is decoded to be sent.
"""

from collections import OrderedDict

from google.protobuf.message import DecodeError

from orchestra.base.errors import InternalError
from orchestra.mvcc.model import KeyValue
from orchestra.objects.kinds import ApiObject, Kind

# Encoded; decoded it is some seven times as much.
CACHE_BYTES = 2 << 20
# Dict entry, key tuple and message overhead beside the encoded size.
_ENTRY_BYTES = 400

# `metadata` is field 1 of every kind and `resourceVersion` field 6 of it, both length-delimited.
_METADATA_TAG = 0x0A
_RESOURCE_VERSION_TAG = 0x32


def revision_suffix(revision: int) -> bytes:
    """`metadata {resourceVersion: "<revision>"}`, to be appended to a stored object."""
    digits = b"%d" % revision
    return bytes((_METADATA_TAG, len(digits) + 2, _RESOURCE_VERSION_TAG, len(digits))) + digits


def encoded(kv: KeyValue) -> bytes:
    """The object as it is sent: with its resourceVersion."""
    return kv.value + revision_suffix(kv.mod_revision)


def stored(obj: ApiObject) -> bytes:
    """The object as it is stored; takes the resourceVersion out of `obj`.

    Equal objects have equal bytes (maps are sorted), so that a write that changes nothing is seen.
    """
    obj.metadata.ClearField("resourceVersion")
    data: bytes = obj.SerializeToString(deterministic=True)
    return data


class Decoder:
    """Decodes stored objects, each (key, revision) once while it is in the cache.

    What it hands out is shared by everyone and therefore immutable: copy before changing.
    Bound: CACHE_BYTES of encoded size, the least recently used go first.
    """

    def __init__(self, bound_bytes: int = CACHE_BYTES) -> None:
        self._objects: OrderedDict[tuple[bytes, int], tuple[ApiObject, int]] = OrderedDict()
        self._bound_bytes = bound_bytes
        self._bytes = 0
        self.decoded = 0

    def decode(self, kind: Kind, kv: KeyValue) -> ApiObject:
        """The object of a key, with its resourceVersion."""
        return self.at(kind, kv.key, kv.value, kv.mod_revision)

    def at(self, kind: Kind, key: bytes, value: bytes, revision: int) -> ApiObject:
        """The object in `value` as it was at a revision (of a deletion: the last state).

        Raises: InternalError for bytes that are none.
        """
        found = self._objects.get((key, revision))
        if found is not None:
            self._objects.move_to_end((key, revision))
            return found[0]
        try:
            obj = kind.message.FromString(value + revision_suffix(revision))
        except DecodeError as error:
            raise InternalError(
                f"what the store holds at {key.decode(errors='replace')} is no {kind.kind}: delete that key, "
                "it was not written by Orchestra"
            ) from error
        self.decoded += 1
        self._keep((key, revision), obj, len(value))
        return obj

    def remember(self, obj: ApiObject, key: bytes, size: int, revision: int) -> ApiObject:
        """Takes an object that was just written, so that no watcher has to decode it."""
        obj.metadata.resourceVersion = str(revision)
        self._keep((key, revision), obj, size)
        return obj

    def _keep(self, at: tuple[bytes, int], obj: ApiObject, size: int) -> None:
        if at in self._objects:
            return
        self._objects[at] = (obj, size)
        self._bytes += size + _ENTRY_BYTES
        while self._bytes > self._bound_bytes and len(self._objects) > 1:
            _, (_, dropped) = self._objects.popitem(last=False)
            self._bytes -= dropped + _ENTRY_BYTES
