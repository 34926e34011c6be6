"""The JSON shape of a message, read once from its descriptor and the (k8s) options of its fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from orchestra.pb import meta, options_pb2


class Shape(Enum):
    """How one value stands in JSON."""

    STRING = "string"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    BYTES = "bytes"
    ENUM = "enum"
    TIME = "time"
    MICRO_TIME = "microtime"
    QUANTITY = "quantity"
    INT_OR_STRING = "int-or-string"
    RAW = "raw JSON"
    OBJECT = "object"


_SPECIAL: Mapping[str, Shape] = {
    meta.Time.DESCRIPTOR.full_name: Shape.TIME,
    meta.MicroTime.DESCRIPTOR.full_name: Shape.MICRO_TIME,
    meta.Quantity.DESCRIPTOR.full_name: Shape.QUANTITY,
    meta.IntOrString.DESCRIPTOR.full_name: Shape.INT_OR_STRING,
    meta.FieldsV1.DESCRIPTOR.full_name: Shape.RAW,
}
_SCALAR: Mapping[int, Shape] = {
    FieldDescriptor.CPPTYPE_STRING: Shape.STRING,
    FieldDescriptor.CPPTYPE_INT32: Shape.INT32,
    FieldDescriptor.CPPTYPE_INT64: Shape.INT64,
    FieldDescriptor.CPPTYPE_BOOL: Shape.BOOL,
    FieldDescriptor.CPPTYPE_ENUM: Shape.ENUM,
}


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field as it stands in the parent's JSON object.

    many: a list of `shape`; mapping: an object from strings to `shape`.
    via: the attributes to walk from the message to the one that has the field (inlined sub-messages).
    schema: of the sub-message, for Shape.OBJECT.
    The rest are the options of options.proto.
    """

    name: str
    number: int
    shape: Shape
    many: bool
    mapping: bool
    via: tuple[str, ...]
    schema: "Schema | None"
    enum: EnumDescriptor | None
    required: bool
    inline: bool
    merge_key: str
    merge_set: bool
    retain_keys: bool
    replace: bool
    map_keys: tuple[str, ...]
    list_set: bool

    def holder(self, message: Any) -> Any:
        """The (sub-)message whose attribute the field is."""
        for attribute in self.via:
            message = getattr(message, attribute)
        return message


class Schema:
    """One message type: its direct fields by number, and its JSON fields by name."""

    __slots__ = ("by_name", "direct", "message_type", "name", "required")

    def __init__(self, message_type: type[Message], name: str) -> None:
        self.message_type = message_type
        self.name = name
        # Inlined sub-messages included, as one field each.
        self.direct: dict[int, Field] = {}
        # Inlined sub-messages replaced by their fields.
        self.by_name: dict[str, Field] = {}
        self.required: tuple[Field, ...] = ()

    def __repr__(self) -> str:
        return f"Schema({self.name})"

    def __iter__(self) -> Iterator[Field]:
        return iter(self.by_name.values())


_schemas: dict[str, Schema] = {}


def schema_of(message_type: type[Message] | Descriptor) -> Schema:
    """The shape of a message type. Cached for the life of the process."""
    descriptor: Any = message_type if isinstance(message_type, Descriptor) else message_type.DESCRIPTOR
    found = _schemas.get(descriptor.full_name)
    return found if found is not None else _build(descriptor)


def _build(descriptor: Descriptor) -> Schema:
    schema = Schema(message_factory.GetMessageClass(descriptor), descriptor.name)
    # Known before it is complete, so that a message may contain itself.
    _schemas[descriptor.full_name] = schema
    required = []
    for field_descriptor in descriptor.fields:
        field = _field(field_descriptor)
        schema.direct[field.number] = field
        if field.required:
            required.append(field)
        if field.inline and field.schema is not None:
            for inner in field.schema:
                schema.by_name[inner.name] = _moved(inner, field.name)
        else:
            schema.by_name[field.name] = field
    schema.required = tuple(required)
    return schema


def _field(descriptor: Any) -> Field:
    behaviour = descriptor.GetOptions().Extensions[options_pb2.k8s]
    value = descriptor
    mapping = descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry
    if mapping:
        value = descriptor.message_type.fields_by_name["value"]
    shape = _shape(value)
    return Field(
        name=descriptor.name,
        number=descriptor.number,
        shape=shape,
        many=descriptor.is_repeated and not mapping,
        mapping=mapping,
        via=(),
        schema=schema_of(value.message_type) if shape is Shape.OBJECT else None,
        enum=value.enum_type,
        required=behaviour.required,
        inline=behaviour.inline,
        merge_key=behaviour.merge_key,
        merge_set=behaviour.merge_set,
        retain_keys=behaviour.retain_keys,
        replace=behaviour.replace,
        map_keys=tuple(behaviour.map_keys),
        list_set=behaviour.list_set,
    )


def _shape(descriptor: Any) -> Shape:
    if descriptor.message_type is not None:
        return _SPECIAL.get(descriptor.message_type.full_name, Shape.OBJECT)
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return Shape.BYTES
    return _SCALAR[descriptor.cpp_type]


def _moved(field: Field, into: str) -> Field:
    """A field of an inlined sub-message, as the parent's."""
    values = {name: getattr(field, name) for name in Field.__slots__}
    return Field(**{**values, "via": (into, *field.via)})
