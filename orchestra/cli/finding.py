"""From words and flags to objects: what most verbs begin with."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestra.base.errors import ApiError, NotFound, UsageError
from orchestra.cli.arguments import Selection, select
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.session import Session
from orchestra.objects.kinds import ApiObject, Kind, kind_of

# Gets under way at once for a long list of names.
_AT_ONCE = 16


@dataclass(slots=True)
class Found:
    """The objects found, and the requests that failed on the way.

    as_list: more than one was asked for, even if one was found.
    """

    objects: list[ApiObject] = field(default_factory=list)
    failures: list[ApiError] = field(default_factory=list)
    as_list: bool = False

    def raise_failures(self) -> None:
        """Raises: Reported with a line for each failure."""
        if self.failures:
            raise Reported([line for failure in self.failures for line in sentences(failure)])


def filenames(session: Session) -> list[str]:
    """The values of -f."""
    names: list[str] = getattr(session.options, "filename", [])
    return names


def scope(kind: Kind, namespace: str) -> str:
    """The namespace to ask with: none for kinds that have none."""
    return namespace if kind.namespaced else ""


async def get_all(session: Session, targets: Sequence[tuple[Kind, str, str]]) -> Found:
    """Each named object: (kind, namespace, name)."""
    bound = asyncio.Semaphore(_AT_ONCE)

    async def one(kind: Kind, namespace: str, name: str) -> ApiObject | ApiError:
        async with bound:
            try:
                return await session.client.get(kind, scope(kind, namespace), name)
            except NotFound as error:
                return error

    found = Found(as_list=len(targets) != 1)
    for answer in await asyncio.gather(*(one(*target) for target in targets)):
        (found.failures if isinstance(answer, ApiError) else found.objects).append(answer)
    return found


async def list_all(session: Session, kinds: Sequence[Kind], namespace: str) -> Found:
    """Every object of the kinds that the selectors choose."""
    labels = getattr(session.options, "selector", "")
    fields = getattr(session.options, "field_selector", "")
    lists = await asyncio.gather(
        *(session.client.list(k, scope(k, namespace), labels=labels, fields=fields) for k in kinds)
    )
    return Found([obj for answer in lists for obj in answer.items], as_list=True)


def check_words(session: Session, selection: Selection, *, need_names: bool) -> None:
    """Refuses lines that name nothing, or too much.

    Raises: UsageError.
    """
    options = session.options
    chosen = bool(getattr(options, "selector", "")) or bool(getattr(options, "field_selector", ""))
    everything = bool(getattr(options, "all", False))
    if filenames(session):
        if session.words:
            raise UsageError(
                "when paths are provided as input, you may not specify resource arguments as well"
            )
        return
    if not selection.kinds:
        raise UsageError(
            "you must provide one or more resources by argument or filename: -f FILE, TYPE NAME or TYPE/NAME"
        )
    if selection.targets and chosen:
        raise UsageError("name cannot be provided when a selector is specified")
    if selection.targets and everything:
        raise UsageError("setting 'all' parameter but found a non empty selector or a name")
    if selection.targets and not session.namespace and any(kind.namespaced for kind, _ in selection.targets):
        raise UsageError("a resource cannot be retrieved by name across all namespaces")
    if need_names and not (selection.targets or chosen or everything):
        raise UsageError("resource(s) were provided, but no name was specified")


async def find(session: Session, *, words: Sequence[str] | None = None, need_names: bool = True) -> Found:
    """The objects that the line names, by file, by name, or by kind and selectors.

    Raises: UsageError, ApiError; Reported for manifests with mistakes.
    """
    names = filenames(session)
    selection = Selection() if names else select(session.words if words is None else words)
    if not names or words is None:
        check_words(session, selection, need_names=need_names)
    if names:
        objects = from_files(session, names)
        return await get_all(session, [target_of(obj) for obj in objects])
    if selection.targets:
        return await get_all(session, [(kind, session.namespace, name) for kind, name in selection.targets])
    return await list_all(session, selection.kinds, session.namespace)


def target_of(obj: ApiObject) -> tuple[Kind, str, str]:
    """An object's kind, namespace and name."""
    return kind_of(obj), obj.metadata.namespace, obj.metadata.name


def from_files(session: Session, names: Sequence[str]) -> list[ApiObject]:
    """The objects of manifests, all of them sound.

    Raises: Reported with every mistake of every file.
    """
    from orchestra.cli.files import load, place

    loaded = load(names, recursive=getattr(session.options, "recursive", False))
    if loaded.problems:
        raise Reported(loaded.problems)
    if not loaded.objects:
        raise UsageError("no objects passed")
    place(loaded.objects, session.settings.namespace, session.settings.namespace_given)
    return loaded.objects
