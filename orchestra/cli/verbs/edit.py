"""edit: an object in the person's editor; what was changed is sent as a patch.

A mistake opens the editor again with the mistake as a comment on top, as often as it takes.
"""

import asyncio
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from orchestra.base.errors import ApiError, DeadlineExceeded, OrchestraError, Unavailable, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.finding import find, scope
from orchestra.cli.flags import FIELD_MANAGER, FILENAME, MANAGED_FIELDS, OUTPUT, RECURSIVE, SELECTOR
from orchestra.cli.printing.structured import manifest, yaml_text
from orchestra.cli.session import Session
from orchestra.objects.codec import to_json
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.objects.manifests import load_documents
from orchestra.objects.patches import three_way

_HEADER = """\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
"""
_FILE_BYTES_MAX = 8 << 20


def editor_command(environment: dict[str, str]) -> list[str]:
    """The editor and its arguments.

    Raises: UsageError when none is set and none of the usual ones is there.
    """
    for name in ("ORCHESTRA_EDITOR", "KUBE_EDITOR", "VISUAL", "EDITOR"):
        if environment.get(name, "").strip():
            return shlex.split(environment[name])
    for usual in ("vi", "vim", "nano"):
        if shutil.which(usual):
            return [usual]
    raise UsageError("no editor: set EDITOR")


def with_header(body: str, mistakes: list[str]) -> str:
    """What the editor shows: how it works, the mistakes, the object."""
    said = "".join(f"# {line}\n" for mistake in mistakes for line in mistake.split("\n"))
    return _HEADER + (said + "#\n" if said else "") + body


def body_of(text: str) -> str:
    """What stands under the comments on top."""
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[first:])


async def _open(path: Path) -> None:
    command = [*editor_command(dict(os.environ)), str(path)]
    try:
        process = await asyncio.create_subprocess_exec(*command)
    except OSError as error:
        raise OrchestraError(f"unable to launch the editor {shlex.join(command)}: {error.strerror}") from None
    # An editor is a person's: it takes as long as it takes.
    code = await process.wait()
    if code:
        ended = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
        raise OrchestraError(f"there was a problem with the editor {shlex.join(command[:-1])} ({ended})")


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace")


def _parse(body: str, obj: ApiObject, where: str) -> tuple[ApiObject | None, list[str]]:
    """The edited object, or what is wrong with it."""
    result = load_documents(body.encode(), where)
    mistakes = [str(problem) for problem in result.problems]
    if mistakes:
        return None, mistakes
    if len(result.objects) != 1:
        return None, [f"there must be exactly one object, found {len(result.objects)}"]
    edited = result.objects[0].obj
    for what, before, after in (
        ("kind", kind_of(obj).kind, kind_of(edited).kind),
        ("metadata.name", obj.metadata.name, edited.metadata.name),
        ("metadata.namespace", obj.metadata.namespace, edited.metadata.namespace),
    ):
        if before != after:
            return None, [f"{what}: at least one of apiVersion, kind, name and namespace was changed "
                          f"(from {before} to {after})"]  # fmt: skip
    return edited, []


def patch_between(before: dict[str, Any], edited: ApiObject) -> dict[str, Any]:
    """The strategic merge patch that makes what was shown into what was written."""
    shown = {key: value for key, value in before.items() if key not in ("apiVersion", "kind")}
    return three_way(type(edited), shown, to_json(edited), shown)


async def _edit_one(session: Session, changes: Changes, obj: ApiObject, folder: Path) -> bool:
    """Edits one object; False when nothing was changed."""
    kind, shown = kind_of(obj), manifest(obj, managed_fields=session.options.show_managed_fields)
    path = folder / f"{kind.plural}-{obj.metadata.name[:60]}.yaml"
    original = body = yaml_text(shown)
    mistakes: list[str] = []
    while True:
        path.write_text(with_header(body, mistakes), encoding="utf-8")
        await _open(path)
        written = body_of(_read(path))
        if not written.strip():
            session.warn("Edit cancelled, saved file was empty.")
            return False
        if written.strip() == original.strip():
            session.warn("Edit cancelled, no changes made.")
            return False
        if mistakes and written == body:
            kept = _keep(path)
            raise Reported([*(f"error: {line}" for line in mistakes),
                            f'A copy of your changes has been stored to "{kept}"',
                            "error: Edit cancelled, no valid changes were saved."])  # fmt: skip
        body = written
        edited, mistakes = _parse(body, obj, path.name)
        if edited is None:
            continue
        patch = patch_between(shown, edited)
        if not patch:
            session.warn("Edit cancelled, no changes made.")
            return False
        try:
            answer = await session.client.patch(
                kind, scope(kind, obj.metadata.namespace), obj.metadata.name, patch
            )
        except (Unavailable, DeadlineExceeded):
            session.warn(f'A copy of your changes has been stored to "{_keep(path)}"')
            raise
        except ApiError as error:
            mistakes = sentences(error)
            continue
        changes.tell(answer, "edited")
        return True


def _keep(path: Path) -> Path:
    """Puts what was written where the end of the command does not remove it."""
    handle, name = tempfile.mkstemp(prefix="orchestra-edit-", suffix=".yaml")
    os.close(handle)
    shutil.copyfile(path, name)
    return Path(name)


async def _edit(session: Session) -> int:
    changes = Changes(session)
    if not session.words and not session.options.filename:
        raise UsageError("must specify the resource to edit: TYPE NAME, TYPE/NAME or -f FILE")
    found = await find(session)
    with tempfile.TemporaryDirectory(prefix="orchestra-edit-") as folder:
        for obj in found.objects:
            await _edit_one(session, changes, obj, Path(folder))
    changes.finish()
    found.raise_failures()
    return 0


COMMANDS = (
    Command(
        "edit",
        "Edit a resource in $EDITOR ($ORCHESTRA_EDITOR, $KUBE_EDITOR and $VISUAL come before it).",
        "(TYPE NAME | TYPE/NAME | -f FILE) [options]",
        (FIELD_MANAGER, FILENAME, MANAGED_FIELDS, OUTPUT, RECURSIVE, SELECTOR),
        """
        orchestra edit deploy/web
        EDITOR=nano orchestra edit svc web
        """,
        _edit,
    ),
)
