"""create: from manifests, or a deployment or a namespace from flags."""

from orchestra.base.errors import ApiError, DeadlineExceeded, Unavailable, UsageError
from orchestra.cli import generated
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.errors import sentences
from orchestra.cli.files import load, place
from orchestra.cli.finding import filenames
from orchestra.cli.flags import DRY_RUN, FIELD_MANAGER, FILENAME, MANAGED_FIELDS, OUTPUT, RECURSIVE, Flag
from orchestra.cli.session import Session
from orchestra.objects.kinds import NAMESPACE, ApiObject, kind_of
from orchestra.pb import core


async def _create(session: Session) -> int:
    names = filenames(session)
    if session.words:
        raise UsageError(f"unknown thing to create: {session.words[0]} (deployment, namespace, or -f FILE)")
    if not names:
        raise UsageError("must specify -f: a file, a folder, or - for standard input")
    changes = Changes(session)
    loaded = load(names, recursive=session.options.recursive)
    if not loaded.objects and not loaded.problems:
        raise UsageError("no objects passed to create")
    place(loaded.objects, session.settings.namespace, session.settings.namespace_given)
    failed = list(loaded.problems)
    session.warn_all(failed)
    for obj in sorted(loaded.objects, key=lambda obj: kind_of(obj) is not NAMESPACE):
        try:
            await _send(session, changes, obj)
        except (Unavailable, DeadlineExceeded):
            raise
        except ApiError as error:
            lines = sentences(error)
            session.warn_all(lines)
            failed += lines
    changes.finish()
    return 1 if failed else 0


async def _send(session: Session, changes: Changes, obj: ApiObject) -> None:
    made = obj if changes.client_only else await session.client.create(obj, dry_run=changes.server_only)
    changes.tell(made, "created")


def _one_name(session: Session, what: str) -> str:
    if len(session.words) != 1:
        raise UsageError(f"exactly one NAME is required, got {len(session.words)}: create {what} NAME")
    return session.words[0]


async def _deployment(session: Session) -> int:
    options = session.options
    changes = Changes(session)
    name = _one_name(session, "deployment")
    command = session.trailing or []
    if not options.image and not command:
        raise UsageError("nothing to run: give a command after --, or --image")
    if len(options.image) > 1 and command:
        raise UsageError("cannot specify multiple --image options and command")
    if options.replicas < 0:
        raise UsageError("--replicas must be 0 or more")
    port = generated.port_number(options.port) if options.port else 0
    containers = [
        generated.container(generated.image_name(image) or name, image=image, command=command, port=port)
        for image in options.image
    ] or [generated.container(name, command=command, port=port)]
    await _send(session, changes, generated.deployment(name, session.namespace, containers, options.replicas))
    changes.finish()
    return 0


async def _namespace(session: Session) -> int:
    changes = Changes(session)
    made = core.Namespace()
    made.metadata.name = _one_name(session, "namespace")
    await _send(session, changes, made)
    changes.finish()
    return 0


_COMMON = (DRY_RUN, OUTPUT, MANAGED_FIELDS, FIELD_MANAGER)
_DEPLOYMENT_FLAGS = (
    *_COMMON,
    Flag("image", "The image to run; several make several containers.", shape="list"),
    Flag("port", "The port that the container serves."),
    Flag("replicas", "How many pods.", "r", shape="int", default=1),
)
_DEPLOYMENT_EXAMPLE = "orchestra create deployment web --replicas=3 -- python3 server.py"

COMMANDS = (
    Command(
        "create",
        "Create a resource from a file, from standard input, or from flags.",
        "(-f FILE | deployment NAME | namespace NAME) [options]",
        (*_COMMON, FILENAME, RECURSIVE),
        """
        # From a file, which must not be there yet
        orchestra create -f web.yaml
        # From flags
        orchestra create namespace shop
        orchestra create deployment web --replicas=3 --port=8080 -- python3 server.py
        """,
        _create,
        tuple(
            Command(f"create {word}", "Create a deployment.", "NAME [options] -- [COMMAND] [ARG...]",
                    _DEPLOYMENT_FLAGS, _DEPLOYMENT_EXAMPLE, _deployment)
            for word in ("deployment", "deploy")
        )
        + tuple(
            Command(f"create {word}", "Create a namespace.", "NAME [options]", _COMMON,
                    "orchestra create namespace shop", _namespace)
            for word in ("namespace", "ns")
        ),
    ),
)  # fmt: skip
