"""Logging: one format for every process, constant messages plus key-values.

log = get_logger("scheduler")
log.info("bound pod", pod="default/web-x", node="n1")
"""

import logging
import sys
import time
from typing import Any, TextIO


class Logger:
    """A logger whose calls take a constant message and key-values."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"orchestra.{name}")

    def _say(self, level: int, message: str, values: dict[str, Any], cause: BaseException | None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, extra={"values": values}, exc_info=cause)

    def debug(self, message: str, **values: Any) -> None:
        """Says what only a developer asks for."""
        self._say(logging.DEBUG, message, values, None)

    def info(self, message: str, **values: Any) -> None:
        """Says what an operator would want to see in an ordinary week."""
        self._say(logging.INFO, message, values, None)

    def warning(self, message: str, cause: BaseException | None = None, **values: Any) -> None:
        """Says what may need somebody's attention; `cause` adds its traceback."""
        self._say(logging.WARNING, message, values, cause)

    def error(self, message: str, cause: BaseException | None = None, **values: Any) -> None:
        """Says what went wrong; `cause` adds its traceback."""
        self._say(logging.ERROR, message, values, cause)


def get_logger(name: str) -> Logger:
    """The logger of one part of the house (`scheduler`, `store.wal`)."""
    return Logger(name)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values = getattr(record, "values", None) or {}
        said = "".join(f" {key}={_quoted(value)}" for key, value in values.items())
        name = record.name.removeprefix("orchestra.")
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname[0]} {name}: {record.getMessage()}{said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c in ' "\n=' for c in text) else text


def configure(verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Sends every logger to `stream` (standard error): warnings; with 1 also info; with 2 also debug."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
