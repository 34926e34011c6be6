"""The errors a caller of the API can meet, in Kubernetes' vocabulary.

One hierarchy for the whole house: the store's typed layer raises them, the gRPC adapters turn them into
status codes and details (aio/rpc), the client turns those back. Messages are for people: what, where, and
what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field.

    path: the field as a person writes it (`spec.template.spec.containers[0].image`), "" for the object.
    reason: Kubernetes' cause (`FieldValueRequired`, `FieldValueInvalid`, `FieldValueNotSupported`,
    `FieldValueDuplicate`, `FieldValueForbidden`, `FieldValueTooLong`, `FieldValueTypeInvalid`,
    `FieldValueUnknown`).
    """

    path: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class OrchestraError(Exception):
    """Anything Orchestra raises on purpose. str() is one clear sentence."""


class UsageError(OrchestraError):
    """The words of a command are wrong; the command line exits with 2."""


class ApiError(OrchestraError):
    """An API request failed. `reason` is Kubernetes' StatusReason.

    not_done: whoever raises it knows that nothing of the request took effect, nor ever will, so that it may
    be sent again, even a write. False says nothing.
    """

    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        name: str = "",
        violations: Sequence[Violation] = (),
        retry_after_ms: int | None = None,
        not_done: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.name = name
        self.violations = tuple(violations)
        self.retry_after_ms = retry_after_ms
        self.not_done = not_done


class NotFound(ApiError):
    """There is no such object, or no such kind."""

    reason = "NotFound"


class AlreadyExists(ApiError):
    """A create met an object of the same name."""

    reason = "AlreadyExists"


class Conflict(ApiError):
    """The object has changed since it was read: read it again and retry."""

    reason = "Conflict"


class PreconditionFailed(ApiError):
    """A uid or resourceVersion that the caller demanded is not the object's."""

    reason = "PreconditionFailed"


class Invalid(ApiError):
    """The object breaks rules; `violations` names every field."""

    reason = "Invalid"


class BadRequest(ApiError):
    """The request itself makes no sense (a selector that does not parse, a patch that is not JSON)."""

    reason = "BadRequest"


class Forbidden(ApiError):
    """Well formed, but not allowed in this state (for instance: the namespace is being terminated)."""

    reason = "Forbidden"


class Expired(ApiError):
    """The revision asked for has been compacted: list again, then watch from there."""

    reason = "Expired"


class TooManyRequests(ApiError):
    """A bound is reached; retry after `retry_after_ms`."""

    reason = "TooManyRequests"


class Unavailable(ApiError):
    """The master, or the agent a request needs, cannot be reached now; a retry may succeed."""

    reason = "ServiceUnavailable"


class DeadlineExceeded(ApiError):
    """No answer in time; whether the request took effect is not known."""

    reason = "Timeout"


class NotSupported(ApiError):
    """The server does not do this."""

    reason = "MethodNotAllowed"


class InternalError(ApiError):
    """A defect of ours; the master's log has the cause."""

    reason = "InternalError"


API_ERRORS: tuple[type[ApiError], ...] = (
    NotFound,
    AlreadyExists,
    Conflict,
    PreconditionFailed,
    Invalid,
    BadRequest,
    Forbidden,
    Expired,
    TooManyRequests,
    Unavailable,
    DeadlineExceeded,
    NotSupported,
    InternalError,
)


def invalid(kind: str, name: str, violations: Sequence[Violation]) -> Invalid:
    """The error for an object that breaks rules, worded as Kubernetes words it."""
    said = str(violations[0]) if len(violations) == 1 else "[" + ", ".join(map(str, violations)) + "]"
    return Invalid(f'{kind} "{name}" is invalid: {said}', kind=kind, name=name, violations=violations)


def not_found(resource: str, name: str) -> NotFound:
    """`pods "web" not found`."""
    return NotFound(f'{resource} "{name}" not found', kind=resource, name=name)
