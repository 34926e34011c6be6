"""What the client answers with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestra.base.errors import NotFound
from orchestra.objects.kinds import ApiObject, Kind, kind_named

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
PatchType = Literal["strategic", "merge", "json"]
Outcome = Literal["created", "configured", "unchanged"]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """Objects of one kind as they were at one revision.

    revision: watch from here to miss nothing.
    continue_: with a limit, the token for the next page; "" when there is none.
    remaining: how many are on later pages, None if the server does not know.
    """

    items: list[ApiObject]
    revision: int
    continue_: str = ""
    remaining: int | None = None

    def __iter__(self) -> Iterator[ApiObject]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. Of DELETED, obj is the last state; of BOOKMARK there is none.

    revision: resume from here (0 while the initial state is still being sent).
    """

    type: EventType
    obj: ApiObject
    revision: int


def kind_meant(kind: Kind | str) -> Kind:
    """The kind a caller names.

    Raises: NotFound for a word that names none.
    """
    if isinstance(kind, Kind):
        return kind
    found = kind_named(kind)
    if found is None:
        raise NotFound(f'the server doesn\'t have a resource type "{kind}"', kind=kind)
    return found
