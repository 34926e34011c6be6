"""The words that name resources: `pods`, `pod/web`, `deploy web api`, `po,svc`, `all`."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.errors import UsageError
from orchestra.objects.kinds import KINDS, Kind, kind_named


@dataclass(frozen=True, slots=True)
class Selection:
    """What the words name. Without targets: every object of the kinds.

    several: more than one kind may be in the answer, so that names are printed with their kinds.
    """

    kinds: tuple[Kind, ...] = ()
    targets: tuple[tuple[Kind, str], ...] = ()
    several: bool = False


def kind_word(word: str) -> Kind:
    """The kind that one word names.

    Raises: UsageError, with the nearest word there is.
    """
    kind = kind_named(word)
    if kind is None:
        known = [name for kind in KINDS for name in (kind.plural, kind.singular, *kind.short_names)]
        near = difflib.get_close_matches(word.lower(), known, 1, 0.6)
        hint = f', did you mean "{near[0]}"?' if near else " (see orchestra api-resources)"
        raise UsageError(f'the server doesn\'t have a resource type "{word}"{hint}')
    return kind


def _kinds(word: str) -> tuple[Kind, ...]:
    found: dict[str, Kind] = {}
    for part in word.split(","):
        if not part:
            raise UsageError(f'arguments in resource form may not have empty parts: "{word}"')
        if part == "all":
            found.update({kind.kind: kind for kind in all_kinds()})
        else:
            kind = kind_word(part)
            found[kind.kind] = kind
    return tuple(found.values())


def all_kinds() -> tuple[Kind, ...]:
    """The kinds that `all` means, in the order kubectl prints them."""
    return tuple(kind for kind in KINDS if "all" in kind.categories and not kind.group) + tuple(
        sorted(
            (kind for kind in KINDS if "all" in kind.categories and kind.group), key=lambda kind: kind.plural
        )
    )


def select(words: Sequence[str]) -> Selection:
    """What the words name.

    Raises: UsageError.
    """
    if not words:
        return Selection()
    slashed = [word for word in words if "/" in word]
    if slashed and len(slashed) < len(words):
        raise UsageError(
            "there is no need to specify a resource type as a separate argument when passing arguments in "
            "resource/name form (e.g. 'orchestra get resource/<resource_name>' instead of 'orchestra get "
            "resource resource/<resource_name>')"
        )
    if slashed:
        return _slashed(words)
    kinds = _kinds(words[0])
    several = len(kinds) > 1 or "all" in words[0].split(",")
    names = words[1:]
    if any(not name for name in names):
        raise UsageError("resource name may not be empty")
    return Selection(kinds, tuple((kind, name) for name in names for kind in kinds), several)


def _slashed(words: Sequence[str]) -> Selection:
    targets: list[tuple[Kind, str]] = []
    for word in words:
        kind, _, name = word.partition("/")
        if not kind or not name or "/" in name:
            raise UsageError(
                f'arguments in resource/name form must have a single resource and name: "{word}"'
            )
        targets.extend((found, name) for found in _kinds(kind))
    kinds = tuple({kind.kind: kind for kind, _ in targets}.values())
    return Selection(kinds, tuple(targets), len(kinds) > 1)
