"""Messages ⇄ Kubernetes' JSON, driven by the protobuf descriptors and their (k8s) options.

The JSON is what Kubernetes' own servers write: embedded structs flattened, times in RFC 3339, quantities as
canonical strings, int-or-string bare, int64 as numbers. Input is strict, and every mistake is collected with
its place, so that a person mends a manifest in one go. Knows nothing of any one kind's rules: those are
validation's.
"""

from orchestra.objects.codec.decode import Decoded, decode, from_json
from orchestra.objects.codec.encode import to_json
from orchestra.objects.codec.manifest import decode_manifest, from_manifest, to_manifest, type_meta
from orchestra.objects.codec.problems import FieldProblem, MapKey, Path, render_path
from orchestra.objects.codec.schema import Field, Schema, Shape, schema_of

__all__ = [
    "Decoded",
    "Field",
    "FieldProblem",
    "MapKey",
    "Path",
    "Schema",
    "Shape",
    "decode",
    "decode_manifest",
    "from_json",
    "from_manifest",
    "render_path",
    "schema_of",
    "to_json",
    "to_manifest",
    "type_meta",
]
