"""Manifests from files, folders and standard input."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.base.errors import UsageError
from orchestra.cli.errors import Reported
from orchestra.objects.kinds import NAMESPACE, ApiObject, kind_of
from orchestra.objects.manifests import BYTES_MAX, load_documents

_EXTENSIONS = (".json", ".yaml", ".yml")
# One byte more than a manifest may have: the loader then says so in its own words.
_READ_BYTES_MAX = BYTES_MAX + 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held: objects, and the sentence of every mistake."""

    objects: list[ApiObject]
    problems: list[str]


def expand(names: Sequence[str], recursive: bool = False) -> Iterator[str]:
    """The files that names of files and folders mean, in a stable order.

    Raises: UsageError for a name that is nothing, or a folder without manifests.
    """
    for name in names:
        if name.startswith(("http://", "https://")):
            raise UsageError(f"{name}: manifests are read from files, folders and -, not from the network")
        path = Path(name)
        if name == "-":
            yield name
        elif path.is_dir():
            found = sorted(path.rglob("*") if recursive else path.iterdir())
            files = [file for file in found if file.suffix in _EXTENSIONS and file.is_file()]
            if not files:
                raise UsageError(f"error reading [{name}]: recognized file extensions are [.json .yaml .yml]")
            yield from map(str, files)
        elif path.exists():
            yield name
        else:
            raise UsageError(f'the path "{name}" does not exist')


def read_bytes(name: str) -> bytes:
    """A file's bytes, or standard input's.

    Raises: UsageError when it cannot be read. Bound: one byte more than a manifest may have.
    """
    try:
        if name == "-":
            return sys.stdin.buffer.read(_READ_BYTES_MAX)
        with open(name, "rb") as file:
            return file.read(_READ_BYTES_MAX)
    except OSError as error:
        raise UsageError(f'cannot read "{name}": {error.strerror}') from error


def load(names: Sequence[str], *, recursive: bool = False) -> Loaded:
    """All objects of all files, and all mistakes."""
    loaded = Loaded([], [])
    for name in expand(names, recursive):
        result = load_documents(read_bytes(name), "standard input" if name == "-" else name)
        loaded.objects.extend(found.obj for found in result.objects)
        loaded.problems.extend(map(str, result.problems))
    return loaded


def place(objects: Sequence[ApiObject], namespace: str, given: bool) -> None:
    """Gives objects without a namespace the request's.

    Raises: Reported when -n says another namespace than an object does.
    """
    wrong = []
    for obj in objects:
        if not kind_of(obj).namespaced:
            continue
        if not obj.metadata.namespace:
            obj.metadata.namespace = namespace
        elif given and obj.metadata.namespace != namespace:
            found = obj.metadata.namespace
            wrong.append(
                f'error: the namespace from the provided object "{found}" does not match the namespace '
                f"\"{namespace}\". You must pass '--namespace={found}' to perform this operation."
            )
    if wrong:
        raise Reported(wrong)


def in_order(objects: Sequence[ApiObject]) -> list[ApiObject]:
    """Namespaces before what lives in them, otherwise as written."""
    return sorted(objects, key=lambda obj: kind_of(obj) is not NAMESPACE)
