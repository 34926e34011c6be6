"""One run of one verb: what was typed, where it goes, and where the answer is written."""

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from orchestra.base.errors import OrchestraError
from orchestra.cli.config import Settings
from orchestra.cli.flags import Parsed

if TYPE_CHECKING:
    from orchestra.client import Client


def put(out: TextIO, text: str) -> None:
    """Text on a stream, as it is.

    Raises: BrokenPipeError when nobody reads it any more, OrchestraError when it cannot be written.
    """
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OrchestraError(f"cannot write to standard output: {error.strerror}") from error


class Session:
    """What a verb works with.

    The client is made when it is first asked for, so that verbs which need no master (`explain`,
    `--dry-run=client`) run without one.
    """

    def __init__(
        self, parsed: Parsed, settings: Settings, *, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.options: Any = parsed.options
        self.words = parsed.words
        self.trailing = parsed.trailing
        self.given = parsed.given
        self.settings = settings
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The connection to the master; closed with the session."""
        if self._client is None:
            from orchestra.client import Client

            seconds = self.options.request_timeout
            self._client = Client(self.settings.server, **({"deadline_seconds": seconds} if seconds else {}))
        return self._client

    async def close(self) -> None:
        """Closes the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def namespace(self) -> str:
        """The namespace of the request; "" when -A asks for all."""
        return "" if getattr(self.options, "all_namespaces", False) else self.settings.namespace

    def say(self, text: str) -> None:
        """One line on standard output, sent at once: somebody may be watching."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Text on standard output, as it is."""
        put(self.out, text)

    def warn(self, text: str) -> None:
        """One line on standard error."""
        self.out.flush()
        self.err.write(text + "\n")
        self.err.flush()

    def warn_all(self, lines: Iterable[str]) -> None:
        """Several lines on standard error."""
        for line in lines:
            self.warn(line)

    @staticmethod
    def now_ns() -> int:
        """The wall clock, for ages."""
        return time.time_ns()
