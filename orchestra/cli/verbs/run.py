"""run: one pod from the command line."""

from orchestra.base.errors import UsageError
from orchestra.cli import generated
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.flags import DRY_RUN, MANAGED_FIELDS, OUTPUT, Flag
from orchestra.cli.session import Session


async def _run(session: Session) -> int:
    options = session.options
    changes = Changes(session)
    if not session.words:
        raise UsageError("NAME is required for run")
    name, *rest = session.words
    words = [*rest, *(session.trailing or [])]
    if not options.image and not words:
        raise UsageError("nothing to run: give a command after --, or --image")
    # Without an image there is no entrypoint that the words could be arguments of.
    as_command = options.command or not options.image
    made = generated.pod(
        name,
        session.namespace,
        generated.container(
            name,
            image=options.image,
            command=words if as_command else (),
            args=() if as_command else words,
            env=generated.environment(options.env),
            port=generated.port_number(options.port) if options.port else 0,
        ),
        generated.key_values(options.labels, "label"),
        options.restart,
    )
    made.metadata.annotations.update(generated.key_values(",".join(options.annotations), "annotation"))
    obj = made if changes.client_only else await session.client.create(made, dry_run=changes.server_only)
    changes.tell(obj, "created")
    changes.finish()
    return 0


COMMANDS = (
    Command(
        "run",
        "Run one pod: a command from the nodes' own files, or an image.",
        "NAME [--image=IMAGE] [options] -- COMMAND [ARG...]",
        (
            Flag("annotations", "Annotations of the pod (k=v).", shape="list"),
            Flag(
                "command", "With an image: what follows -- is the command, not its arguments.", shape="bool"
            ),
            DRY_RUN,
            Flag("env", "A variable of the container's environment (NAME=value).", shape="array"),
            Flag("image", "The image to run; without one the command runs from the node's files."),
            Flag("labels", "Labels of the pod (k=v,k=v); run=NAME when there are none.", "l"),
            OUTPUT,
            MANAGED_FIELDS,
            Flag("port", "The port that the container serves; it is told which one it got as $PORT."),
            Flag(
                "restart",
                "Always, OnFailure or Never.",
                default="Always",
                choices=("Always", "OnFailure", "Never"),
            ),
        ),
        """
        # A pod that sleeps
        orchestra run sleeper -- sleep 3600
        # With a variable and a port, only to see what would be made
        orchestra run web --env=MODE=test --port=8080 --dry-run=client -o yaml -- python3 server.py
        # Once
        orchestra run once --restart=Never -- sh -c 'echo done'
        """,
        _run,
    ),
)
