"""version: the client's and the server's."""

import platform

from orchestra import __version__
from orchestra.base.errors import ApiError, UsageError
from orchestra.cli.command import Command
from orchestra.cli.errors import sentences
from orchestra.cli.flags import Flag
from orchestra.cli.printing.structured import STRUCTURED
from orchestra.cli.session import Session


async def _version(session: Session) -> int:
    options = session.options
    if options.output not in ("", *STRUCTURED):
        raise UsageError("--output must be 'yaml' or 'json'")
    here = f"{platform.system().lower()}/{platform.machine()}"
    client = _told(__version__, platform.python_version(), here)
    answer: dict[str, object] = {"clientVersion": client}
    failed: ApiError | None = None
    if not options.client:
        try:
            server = await session.client.version()
            answer["serverVersion"] = _told(server.version, server.python, server.platform)
        except ApiError as error:
            failed = error
    if options.output:
        session.write(STRUCTURED[options.output](answer))
    else:
        session.say(f"Client Version: v{__version__}")
        if not options.client and failed is None:
            session.say(f"Server Version: v{server.version}")
    if failed is not None:
        session.warn_all(sentences(failed))
        return 1
    return 0


def _told(version: str, python: str, where: str) -> dict[str, str]:
    """A version in kubectl's words."""
    major, minor = version.split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{version}",
        "pythonVersion": python,
        "platform": where,
    }


COMMANDS = (
    Command(
        "version",
        "Print the client's and the server's version.",
        "[options]",
        (
            Flag("client", "Only the client's: no master is asked.", shape="bool"),
            Flag("output", "json or yaml.", "o"),
        ),
        "orchestra version\norchestra version --client -o json",
        _version,
    ),
)
