"""How an ApiError travels: a gRPC status code, a sentence, and google.rpc details; and back again.

The code and the details follow https://google.aip.dev/193. ErrorInfo.reason is Kubernetes' StatusReason and
alone decides which class comes back, because several of ours share a code.
"""

from collections.abc import Mapping
from typing import Final, NoReturn

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from orchestra.aio.rpc.limits import METADATA_BYTES_MAX, RESPONSE_BYTES_MAX
from orchestra.base.errors import (
    API_ERRORS,
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    DeadlineExceeded,
    Expired,
    Forbidden,
    InternalError,
    Invalid,
    NotFound,
    NotSupported,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
    Violation,
    invalid,
)

DOMAIN: Final = "orchestra"
DETAILS_KEY: Final = "grpc-status-details-bin"
# In ErrorInfo.metadata: "no" says that nothing of the request took effect, nor ever will.
_DONE: Final = "done"
_NO: Final = "no"
# Of the sentence in the status itself; the violations are in the details in full.
_MESSAGE_CHARS_MAX: Final = 2048
_CUT: Final = " …"

CODES: Final[Mapping[type[ApiError], grpc.StatusCode]] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Conflict: grpc.StatusCode.ABORTED,
    PreconditionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    Expired: grpc.StatusCode.OUT_OF_RANGE,
    TooManyRequests: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    NotSupported: grpc.StatusCode.UNIMPLEMENTED,
    InternalError: grpc.StatusCode.INTERNAL,
}

_BY_REASON: Final = {cls.reason: cls for cls in API_ERRORS}
# For a status without our details: one that gRPC itself or another server made.
_BY_CODE: Final[Mapping[grpc.StatusCode, type[ApiError]]] = {
    **{code: cls for cls, code in CODES.items() if cls is not Invalid},
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Forbidden,
}
# How gRPC's C core words a call that found no connection to be sent on; it has no code for that.
_NOT_CONNECTED: Final = ("failed to connect", "dns resolution failed", "domain name not found")
# Of what the C core says in several clauses, with addresses, file and function names, what an operator needs.
# The first that fits: the cause in a sentence is more than the fact that there was none to connect to.
_PLAIN: Final = (
    ("connection refused", "nothing listens there"),
    ("no route to host", "there is no way to that address"),
    ("network is unreachable", "there is no way to that network"),
    ("domain name not found", "the host's name is not known"),
    ("dns resolution failed", "the host's name is not known"),
    ("ping timeout", "it does not answer any more"),
    ("keepalive watchdog", "it does not answer any more"),
    ("timed out", "it does not answer"),
    ("timeout occurred", "it does not answer"),
    ("connection reset", "it has gone"),
    ("socket closed", "it has gone"),
    ("broken pipe", "it has gone"),
    ("failed to connect", "it cannot be connected to"),
)
_NAMED: Final = (NotFound, AlreadyExists, Conflict)
_PRECONDITIONS: Final = (PreconditionFailed, Conflict)


def to_status(error: ApiError) -> Status:
    """The error as google.rpc.Status.

    Bound: METADATA_BYTES_MAX; violations beyond it are left out.
    """
    message = error.message
    if len(message) > _MESSAGE_CHARS_MAX:
        message = message[:_MESSAGE_CHARS_MAX] + _CUT
    status = Status(code=code_of(error).value[0], message=message)
    _add(status, details.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_metadata_of(error)))
    if isinstance(error, _NAMED) and (error.kind or error.name):
        _add(
            status,
            details.ResourceInfo(resource_type=error.kind, resource_name=error.name, description=message),
        )
    if isinstance(error, _PRECONDITIONS):
        failed = details.PreconditionFailure.Violation(
            type=error.reason, subject=f"{error.kind}/{error.name}", description=message
        )
        _add(status, details.PreconditionFailure(violations=[failed]))
    if error.violations:
        _add(status, _bad_request(error))
    if error.retry_after_ms is not None:
        seconds, ms = divmod(error.retry_after_ms, 1000)
        _add(status, details.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=ms * 1_000_000)))
    return status


def code_of(error: ApiError) -> grpc.StatusCode:
    """The gRPC code of an error."""
    return CODES.get(type(error), grpc.StatusCode.INTERNAL)


async def abort(context: grpc.aio.ServicerContext, error: ApiError) -> NoReturn:  # type: ignore[type-arg]
    """Ends the call with the error. Raises always (gRPC's AbortError)."""
    status = to_status(error)
    await context.abort(
        code_of(error), status.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),)
    )
    raise AssertionError("abort returned")


def from_rpc_error(error: grpc.aio.AioRpcError, target: str = "") -> ApiError:
    """The ApiError that a failed call means, of the class the server raised.

    target: the address dialled, for the sentence about a master that cannot be reached.
    """
    said = _details_of(error)
    if said is None:
        return _foreign(error, target)
    found = {type(part): part for part in _unpacked(said)}
    info = found.get(details.ErrorInfo)
    if not isinstance(info, details.ErrorInfo) or info.domain != DOMAIN:
        return _foreign(error, target)
    cls = _BY_REASON.get(info.reason) or _BY_CODE.get(error.code(), InternalError)
    kind, name = info.metadata.get("kind", ""), info.metadata.get("name", "")
    bad, retry = found.get(details.BadRequest), found.get(details.RetryInfo)
    violations = (
        [Violation(v.field, v.description, v.reason) for v in bad.field_violations]
        if isinstance(bad, details.BadRequest)
        else []
    )
    message = said.message
    if cls is Invalid and message.endswith(_CUT) and violations:
        message = invalid(kind, name, violations).message
    retry_after_ms = None
    if isinstance(retry, details.RetryInfo):
        retry_after_ms = retry.retry_delay.seconds * 1000 + retry.retry_delay.nanos // 1_000_000
    return cls(
        message,
        kind=kind,
        name=name,
        violations=violations,
        retry_after_ms=retry_after_ms,
        not_done=info.metadata.get(_DONE) == _NO,
    )


def plain_cause(error: grpc.aio.AioRpcError) -> str:
    """Why the connection could not be made or was lost, in an operator's words in place of gRPC's."""
    said = error.details() or ""
    lowered = said.lower()
    for gist, words in _PLAIN:
        if gist in lowered:
            return words
    return said or error.code().name.lower().replace("_", " ")


def says_details(error: grpc.aio.AioRpcError) -> bool:
    """Whether one of our own servers has worded the error: the call has reached it."""
    return _details_of(error) is not None


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """True only if the call certainly never left this process: no connection could be made."""
    return (
        error.code() is grpc.StatusCode.UNAVAILABLE
        and _details_of(error) is None
        and any(said in (error.details() or "").lower() for said in _NOT_CONNECTED)
    )


def _metadata_of(error: ApiError) -> dict[str, str]:
    done = _NO if error.not_done else ""
    return {key: value for key, value in (("kind", error.kind), ("name", error.name), (_DONE, done)) if value}


def _bad_request(error: ApiError) -> details.BadRequest:
    left = METADATA_BYTES_MAX // 2
    answer = details.BadRequest()
    for violation in error.violations:
        left -= len(violation.path) + len(violation.message) + len(violation.reason) + 16
        if left < 0:
            break
        answer.field_violations.add(
            field=violation.path, description=violation.message, reason=violation.reason
        )
    return answer


def _add(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


_DETAILS: Final = {
    cls.DESCRIPTOR.full_name: cls
    for cls in (
        details.ErrorInfo,
        details.ResourceInfo,
        details.PreconditionFailure,
        details.BadRequest,
        details.RetryInfo,
    )
}


def _unpacked(status: Status) -> list[Message]:
    parts: list[Message] = []
    for packed in status.details:
        cls = _DETAILS.get(packed.TypeName())
        if cls is not None:
            part = cls()
            packed.Unpack(part)
            parts.append(part)
    return parts


def _details_of(error: grpc.aio.AioRpcError) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return Status.FromString(value if isinstance(value, bytes) else value.encode())
            except DecodeError:
                return None
    return None


def _foreign(error: grpc.aio.AioRpcError, target: str) -> ApiError:
    code, said = error.code(), error.details() or ""
    several = "," in target
    where = f" at {target}" if target else ""
    if never_sent(error) and several:
        return Unavailable(f"cannot reach any master{where}: do they run?")
    if never_sent(error) and "failed to connect" not in said.lower():
        return Unavailable(f"cannot reach the master{where}: the host's name is not known: {said}")
    if never_sent(error):
        return Unavailable(f"cannot reach the master{where}: is it running? (orchestra up starts one)")
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"the connection to the master{where} was lost: {plain_cause(error)}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(
            f"no answer from the master{where} in time: whether the request took effect is not known"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said:
        bound = RESPONSE_BYTES_MAX // (1024 * 1024)
        return BadRequest(
            f"the message is larger than the wire takes (requests 4 MiB, responses {bound} MiB): {said}"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotSupported(f"the server{where} does not know this call: is it an Orchestra master? ({said})")
    return _BY_CODE.get(code, InternalError)(f"the call to the master{where} failed: {said or code.name}")
