"""patch: a few fields of a resource, by strategic merge, JSON merge or JSON patch."""

import json
from typing import Any

from orchestra.base.errors import UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.files import read_bytes
from orchestra.cli.finding import find, scope
from orchestra.cli.flags import DRY_RUN, FIELD_MANAGER, FILENAME, OUTPUT, RECURSIVE, Flag
from orchestra.cli.session import Session
from orchestra.objects.kinds import kind_of

_PATCH_BYTES_MAX = 1 << 20


def parse_patch(text: str, kind: str) -> Any:
    """The patch as data; YAML is taken too.

    Raises: UsageError.
    """
    if len(text) > _PATCH_BYTES_MAX:
        raise UsageError(f"the patch is larger than {_PATCH_BYTES_MAX} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        import yaml

        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"unable to parse the patch: {' '.join(str(error).split())}") from None
    if kind == "json" and not isinstance(data, list):
        raise UsageError(
            "a JSON patch is a list of operations: [{op: replace, path: /spec/replicas, value: 3}]"
        )
    if kind != "json" and not isinstance(data, dict):
        raise UsageError(f"a {kind} patch is an object, like {{spec: {{replicas: 3}}}}")
    return data


async def _patch(session: Session) -> int:
    options = session.options
    changes = Changes(session)
    if bool(options.patch) == bool(options.patch_file):
        raise UsageError("must specify --patch or --patch-file, and not both")
    text = options.patch or read_bytes(options.patch_file).decode("utf-8", "replace")
    data = parse_patch(text, options.type)
    found = await find(session)
    for obj in found.objects:
        answer = obj
        if not changes.client_only:
            kind = kind_of(obj)
            answer = await session.client.patch(
                kind,
                scope(kind, obj.metadata.namespace),
                obj.metadata.name,
                data,
                options.type,
                subresource=options.subresource,
                dry_run=changes.server_only,
            )
        same = answer.metadata.resourceVersion == obj.metadata.resourceVersion and not changes.server_only
        changes.tell(answer, "patched (no change)" if same and not changes.client_only else "patched")
    changes.finish()
    found.raise_failures()
    return 0


COMMANDS = (
    Command(
        "patch",
        "Update fields of a resource by a patch, in JSON or YAML.",
        "(-f FILE | TYPE NAME | TYPE/NAME) (-p PATCH | --patch-file FILE) [options]",
        (
            DRY_RUN,
            FIELD_MANAGER,
            FILENAME,
            OUTPUT,
            Flag("patch", "The patch.", "p"),
            Flag("patch-file", "A file that holds the patch."),
            RECURSIVE,
            Flag("subresource", "status, to patch that.", choices=("status",)),
            Flag(
                "type",
                "strategic, merge or json.",
                default="strategic",
                choices=("json", "merge", "strategic"),
            ),
        ),
        """
        orchestra patch deploy/web -p '{"spec":{"minReadySeconds":5}}'
        orchestra patch node n1 --type=json -p '[{"op":"remove","path":"/spec/unschedulable"}]'
        """,
        _patch,
    ),
)
