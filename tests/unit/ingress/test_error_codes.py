"""The table from our errors to Connect's codes."""

from typing import Any

import pytest
from connectrpc.code import Code

from ingress.error_codes import MAX_MESSAGE_LENGTH, message_for, to_connect_error
from shared import errors
from shared.errors import EventLoggingError, FieldViolation, InvalidEventError
from shared.gen.google.rpc.error_details_pb import BadRequest, RequestInfo, RetryInfo

REFERENCE = "5f0c"
BROKEN = (FieldViolation("event_name", "required", "must not be empty"), FieldViolation("metadata", "no_nul", "no NUL"))


def details(error: EventLoggingError) -> dict[str, Any]:
    kinds = {
        "google.rpc.BadRequest": BadRequest,
        "google.rpc.RequestInfo": RequestInfo,
        "google.rpc.RetryInfo": RetryInfo,
    }
    return {
        d.type_name.rpartition(".")[2]: d.value(kinds[d.type_name]) for d in to_connect_error(error, REFERENCE).details
    }


@pytest.mark.parametrize(
    ("error", "code", "retry_seconds"),
    [
        (InvalidEventError(BROKEN), Code.INVALID_ARGUMENT, None),
        (errors.MalformedRequestError("is no JSON"), Code.INVALID_ARGUMENT, None),
        (errors.RequestTooLargeError("is too large"), Code.INVALID_ARGUMENT, None),
        (errors.UncheckedCallerError(), Code.UNAVAILABLE, 5),
        (errors.IdempotencyConflictError(), Code.ALREADY_EXISTS, None),
        (errors.OverloadedError(), Code.RESOURCE_EXHAUSTED, 1),
        (errors.CallerOverloadedError(), Code.RESOURCE_EXHAUSTED, 1),
        (errors.DrainingError(), Code.UNAVAILABLE, 1),
        (errors.StorageUnavailableError("down"), Code.UNAVAILABLE, 2),
        (errors.StoragePreconditionError("read refused"), Code.UNAVAILABLE, 2),
        (errors.RequestReadTimeoutError("slow"), Code.DEADLINE_EXCEEDED, None),
        (errors.StorageRejectedError("refused"), Code.INTERNAL, None),
        (errors.SchemaMismatchError("schema"), Code.INTERNAL, None),
        (errors.PublishFailedError("topic"), Code.INTERNAL, None),
        (EventLoggingError("crash"), Code.INTERNAL, None),
    ],
)
def test_each_error_has_its_code_and_retry_advice(
    error: EventLoggingError, code: Code, retry_seconds: int | None
) -> None:
    mapped = to_connect_error(error, REFERENCE)
    found = details(error)

    assert mapped.code is code
    assert found["RequestInfo"].request_id == REFERENCE
    assert ("RetryInfo" in found) == (retry_seconds is not None)
    if retry_seconds is not None:
        assert (found["RetryInfo"].retry_delay.seconds, found["RetryInfo"].retry_delay.nanos) == (retry_seconds, 0)


def test_only_what_can_help_carries_retry_advice() -> None:
    # A generic client retries what carries RetryInfo; what is wrong in itself must not loop.
    assert "RetryInfo" not in details(InvalidEventError(BROKEN))


def test_an_internal_error_says_nothing_but_its_reference() -> None:
    mapped = to_connect_error(errors.StorageRejectedError("secret text"), REFERENCE)

    assert mapped.message == f"internal error, reference {REFERENCE}"


def test_violations_name_field_and_rule() -> None:
    violations = details(InvalidEventError(BROKEN))["BadRequest"].field_violations

    assert [(v.field, v.reason, v.description) for v in violations] == [
        ("event_name", "REQUIRED", "must not be empty"),
        ("metadata", "NO_NUL", "no NUL"),
    ]


def test_one_of_several_events_is_named_by_its_place() -> None:
    assert message_for(InvalidEventError(BROKEN), "", event="events[3]") == (
        "events[3].event_name: must not be empty; events[3].metadata: no NUL"
    )
    assert message_for(errors.MalformedRequestError("is none"), "", event="events[3]") == "events[3] is none"
    assert message_for(errors.RequestTooLargeError("is large"), "", event="events[3]") == "events[3] is large"
    assert message_for(errors.OverloadedError("full"), "", event="events[3]") == "full"
    assert len(message_for(InvalidEventError(BROKEN * 20), "", event="events[3]")) == MAX_MESSAGE_LENGTH


def test_a_long_message_is_cut_and_the_details_are_not() -> None:
    error = InvalidEventError(BROKEN * 20)
    mapped = to_connect_error(error, REFERENCE)

    assert len(mapped.message) == MAX_MESSAGE_LENGTH
    assert mapped.message.endswith("…")
    assert len(details(error)["BadRequest"].field_violations) == 40


def test_every_error_of_the_tree_has_an_answer() -> None:
    def tree(kind: type[EventLoggingError]) -> set[type[EventLoggingError]]:
        return {kind}.union(*(tree(sub) for sub in kind.__subclasses__()))

    assert {kind.reason for kind in tree(EventLoggingError)} >= {"internal", "invalid_event", "draining"}
    assert len({kind.reason for kind in tree(EventLoggingError)}) == len(tree(EventLoggingError))
