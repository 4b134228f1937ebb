"""The one table from EventLoggingErrors to Connect errors: code, message, retry advice, `google.rpc` details.

`interceptors/errors.py` applies it to a call that failed, `handler.py` to each refused event of a LogEvents. Callers
also see errors that never were EventLoggingErrors: `interceptors/errors.py` words those that connectrpc raises (a
deadline, a hang-up, an unknown encoding); `http/heads.py` and `http/guard.py` refuse HTTP heads before any interceptor
runs, and `http/refusals.py` adds the request id; the HTTP server refuses what is not valid HTTP.
"""

from dataclasses import dataclass
from typing import Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from protobuf import Message
from protobuf.wkt import Duration

from shared.errors import (
    CallerOverloadedError,
    DrainingError,
    EventLoggingError,
    IdempotencyConflictError,
    InvalidEventError,
    MalformedRequestError,
    OverloadedError,
    RefusedByRuleError,
    RequestReadTimeoutError,
    RequestTooLargeError,
    StoragePreconditionError,
    StorageUnavailableError,
    UncheckedCallerError,
)
from shared.gen.google.rpc.error_details_pb import BadRequest, RequestInfo, RetryInfo

MAX_MESSAGE_LENGTH: Final = 200
"""Characters of a message, which is meant for a log line. The details are not cut."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a caller sees one class of errors."""

    code: Code
    retry_seconds: int | None = None
    """The delay in RetryInfo. None: no RetryInfo, since waiting does not help."""


ANSWERS: Final[dict[type[EventLoggingError], Answer]] = {
    InvalidEventError: Answer(Code.INVALID_ARGUMENT),
    MalformedRequestError: Answer(Code.INVALID_ARGUMENT),
    RequestTooLargeError: Answer(Code.INVALID_ARGUMENT),
    RefusedByRuleError: Answer(Code.FAILED_PRECONDITION),
    IdempotencyConflictError: Answer(Code.ALREADY_EXISTS),
    OverloadedError: Answer(Code.RESOURCE_EXHAUSTED, retry_seconds=1),
    CallerOverloadedError: Answer(Code.RESOURCE_EXHAUSTED, retry_seconds=1),
    DrainingError: Answer(Code.UNAVAILABLE, retry_seconds=1),
    StorageUnavailableError: Answer(Code.UNAVAILABLE, retry_seconds=2),
    StoragePreconditionError: Answer(Code.UNAVAILABLE, retry_seconds=2),
    UncheckedCallerError: Answer(Code.UNAVAILABLE, retry_seconds=5),
    RequestReadTimeoutError: Answer(Code.DEADLINE_EXCEEDED),
}
"""Looked up by exact class. An error that is not listed, also a subclass of a listed one, is `internal`, with a fixed
text."""

INTERNAL: Final = Answer(Code.INTERNAL)


def answer_for(error: EventLoggingError) -> Answer:
    return ANSWERS.get(type(error), INTERNAL)


def message_for(error: EventLoggingError, request_id: str, *, event: str = "") -> str:
    """The message for a caller. `event` names the event within a LogEvents, for example `events[3]`."""
    if type(error) not in ANSWERS:
        return f"internal error, reference {request_id}"
    match error:
        case InvalidEventError() if event:
            return shortened("; ".join(f"{event}.{v.field}: {v.description}" for v in error.violations))
        case MalformedRequestError() | RequestTooLargeError() if event:
            return f"{event} {error.problem}"
        case _:
            return shortened(str(error))


def shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"


def bad_request_for(error: EventLoggingError) -> BadRequest | None:
    if not isinstance(error, InvalidEventError):
        return None
    return BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=v.field, reason=v.rule.upper(), description=v.description)
            for v in error.violations
        ]
    )


def retry_info_for(error: EventLoggingError) -> RetryInfo | None:
    seconds = answer_for(error).retry_seconds
    return None if seconds is None else RetryInfo(retry_delay=Duration(seconds=seconds))


def to_connect_error(error: EventLoggingError, request_id: str) -> ConnectError:
    details: list[Message] = [RequestInfo(request_id=request_id)]
    details += [detail for detail in (bad_request_for(error), retry_info_for(error)) if detail is not None]
    return ConnectError(answer_for(error).code, message_for(error, request_id), details)
