"""Errors as kubectl words them."""

from collections.abc import Sequence

from orchestra.base.errors import ApiError, DeadlineExceeded, Invalid, OrchestraError, Unavailable


class Reported(OrchestraError):
    """Several things failed, each with its own line; the rest of the request was done."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


def sentences(error: Exception) -> list[str]:
    """The lines for standard error."""
    if isinstance(error, Reported):
        return error.lines
    if isinstance(error, Invalid):
        named = f'{error.kind} "{error.name}"' if error.kind else error.message.split(" is invalid", 1)[0]
        if not error.violations:
            return [f"Error from server (Invalid): {error.message}"]
        if len(error.violations) == 1:
            return [f"The {named} is invalid: {error.violations[0]}"]
        return [f"The {named} is invalid: ", *(f"* {violation}" for violation in error.violations)]
    if isinstance(error, Unavailable | DeadlineExceeded):
        return [f"error: {error.message}"]
    if isinstance(error, ApiError):
        return [f"Error from server ({error.reason}): {error.message}"]
    if isinstance(error, OrchestraError):
        return [f"error: {error}"]
    if isinstance(error, OSError) and error.filename and error.strerror:
        return [f"error: {error.filename}: {error.strerror}"]
    said = " ".join(str(error).split())
    return [f"error: {type(error).__name__}: {said}" if said else f"error: {type(error).__name__}"]
