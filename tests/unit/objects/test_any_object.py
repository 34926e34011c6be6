"""Whatever a client sends: defaults, lifecycle and validation answer, and never raise anything of their own."""

import random

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from orchestra.objects.defaults import set_defaults
from orchestra.objects.kinds import KINDS, Kind
from orchestra.objects.lifecycle import copy_of, plan_delete, prepare_create, prepare_update
from orchestra.objects.validation import validate_create, validate_status_update, validate_update

WORDS = ["", "a", "web", "A b", "-", "a/b", "x" * 300, "é", "a[0]", "1", "-1", "1Gi", "25%", "True", "None", "Always",
         "10.0.0.1", "::1", "10.0.0.0/8", "NodePort", "In", "Exists", "NoExecute", "ClientIP", "..", "\n"]  # fmt: skip
NUMBERS = [0, 1, -1, 80, 30_000, 65_536, 2**31 - 1, -(2**31)]
ROUNDS = 60


def fill(message: Message, rng: random.Random, depth: int = 0) -> None:
    """Puts values into about a third of the fields."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() > (0.8 if depth < 2 else 0.3) or depth > 7:
            continue
        place = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value_field = field.message_type.fields_by_name["value"]
            key = rng.choice(WORDS)
            if value_field.message_type is not None:
                fill(place[key], rng, depth + 1)
            else:
                place[key] = rng.choice(WORDS)
        elif field.message_type is not None and field.is_repeated:
            for _ in range(rng.randrange(3)):
                fill(place.add(), rng, depth + 1)
        elif field.message_type is not None:
            place.SetInParent()
            fill(place, rng, depth + 1)
        elif field.is_repeated:
            place.extend(scalar(field, rng) for _ in range(rng.randrange(3)))
        else:
            setattr(message, field.name, scalar(field, rng))


def scalar(field: FieldDescriptor, rng: random.Random) -> object:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        word = rng.choice(WORDS)
        return word.encode() if field.type == FieldDescriptor.TYPE_BYTES else word
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    return rng.choice(NUMBERS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_any_object_is_answered(kind: Kind):
    rng = random.Random(kind.number)
    for _ in range(ROUNDS):
        first, second = kind.new(), kind.new()
        for obj in (first, second):
            fill(obj, rng)
            if not kind.namespaced:
                obj.metadata.ClearField("namespace")
            set_defaults(obj)
            once = copy_of(obj)
            set_defaults(obj)
            assert obj == once
        stored = prepare_create(first, now_ns=10**18, uid="u", name_suffix="abcde")
        second.metadata.ClearField("uid")
        second.metadata.ClearField("resourceVersion")
        for violation in validate_create(stored):
            assert len(violation.message) < 1000
        updated = prepare_update(second, stored, subresource="", now_ns=10**18)
        validate_update(updated, stored)
        assert updated.metadata.uid == "u"
        if kind.has_status:
            reported = prepare_update(second, stored, subresource="status", now_ns=10**18)
            validate_status_update(reported, stored)
            assert reported.metadata == stored.metadata
        plan = plan_delete(stored, None, 10**18)
        assert plan.remove or plan.updated.metadata.HasField("deletionTimestamp")
