"""What a person probably meant by a field that does not exist."""

from difflib import get_close_matches

from orchestra.objects.codec.schema import Field, Schema

DEPTH_MAX = 3


def unknown_field(schema: Schema, key: str) -> str:
    """The sentence for an unknown field: a misspelling of one here, or one that belongs further down."""
    meant = nearest(key, list(schema.by_name))
    if meant is not None:
        return f'unknown field, did you mean "{meant}"?'
    place = _further_down(schema, key)
    if place is not None:
        return f'unknown field here, did you mean "{place}"?'
    return "unknown field"


def nearest(word: str, known: list[str]) -> str | None:
    """The known word most like the given one: case aside first, then by likeness."""
    lowered = {name.lower(): name for name in known}
    word = word[:64].lower()
    if word in lowered:
        return lowered[word]
    close = get_close_matches(word, lowered, n=1, cutoff=0.7)
    return lowered[close[0]] if close else None


def _further_down(schema: Schema, key: str) -> str | None:
    """Where the key is a field below this object, if there is one nearest such place."""
    level: list[tuple[str, Schema]] = [("", schema)]
    for _ in range(DEPTH_MAX):
        level = [
            (f"{prefix}{_step(field)}.", field.schema)
            for prefix, parent in level
            for field in parent
            if field.schema is not None and field.name != "status"
        ]
        found = [prefix + key for prefix, inner in level if key in inner.by_name]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _step(field: Field) -> str:
    return f"{field.name}[]" if field.many or field.mapping else field.name
