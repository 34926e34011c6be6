"""`orchestra master`: a master as a process."""

import asyncio

from orchestra.base import log as logging
from orchestra.base.errors import UsageError
from orchestra.cli.command import Command
from orchestra.cli.masters.settings import FLAGS, settings_of
from orchestra.cli.session import Session


def process(session: Session) -> int:
    """Runs a master."""
    options = session.options
    if session.words:
        raise UsageError(f"master takes no words, got {session.words[0]!r}")
    settings = settings_of(options, session.given)
    logging.configure(options.v + 1)
    from orchestra.cli.masters.running import run_master
    from orchestra.cli.processes import run_until_stopped

    async def main(stop: asyncio.Event) -> int:
        await run_master(settings, stop)
        return 0

    return run_until_stopped(main, with_parent=options.with_parent)


COMMANDS = (
    Command(
        name="master",
        summary="Run a master: the API, the store, the scheduler and the controllers.",
        usage="[options]",
        flags=FLAGS,
        examples="""
    # A master that agents on other machines can reach
    orchestra master --listen 10.0.0.1:7070 --data-dir /var/lib/orchestra

    # The first of three that bear the loss of any one; the same on the others, each with its own name
    orchestra master --name m1 --listen 10.0.0.1:7070 \\
      --initial-cluster m1=10.0.0.1:7071,m2=10.0.0.2:7071,m3=10.0.0.3:7071

    # One more, or one that comes again with an empty disk after `orchestra member remove`
    orchestra master --name m4 --listen 10.0.0.4:7070 --peer-listen 10.0.0.4:7071 --join 10.0.0.1:7070

    # On an etcd cluster
    orchestra master --listen 10.0.0.1:7070 --store etcd://10.0.0.1:2379,10.0.0.2:2379
    """,
        process=process,
    ),
)
