"""cordon and uncordon: whether the scheduler may use a node."""

from collections.abc import Awaitable, Callable

from orchestra.base.errors import UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.finding import find
from orchestra.cli.flags import DRY_RUN, SELECTOR
from orchestra.cli.session import Session
from orchestra.objects.kinds import NODE


def _verb(word: str, unschedulable: bool) -> Callable[[Session], Awaitable[int]]:
    async def run(session: Session) -> int:
        changes = Changes(session)
        if not session.words and not session.options.selector:
            raise UsageError(f"one or more nodes must be specified: {word} NODE")
        names = [name.removeprefix("node/").removeprefix("nodes/") for name in session.words]
        session.words = ["nodes", *names]
        found = await find(session)
        for node in found.objects:
            answer = node
            if node.spec.unschedulable == unschedulable:
                changes.tell(answer, f"already {word}ed")
                continue
            if not changes.client_only:
                patch = {"spec": {"unschedulable": True if unschedulable else None}}
                answer = await session.client.patch(
                    NODE, "", node.metadata.name, patch, dry_run=changes.server_only
                )
            changes.tell(answer, f"{word}ed")
        found.raise_failures()
        return 0

    return run


def _command(word: str, unschedulable: bool) -> Command:
    return Command(
        word,
        f"Mark nodes as {'un' if unschedulable else ''}schedulable; pods that run there go on.",
        "NODE... [options]",
        (DRY_RUN, SELECTOR),
        f"orchestra {word} n1",
        _verb(word, unschedulable),
    )


COMMANDS = (_command("cordon", True), _command("uncordon", False))
