"""The Connect handler: converts between messages and the use case, and counts what it refused and warned of."""

from collections import Counter
from typing import Literal, cast

from connectrpc.request import RequestContext
from protobuf import Oneof

from ingress import error_codes
from ingress.call_context import CallContext, current_call
from ingress.complaints.noting import Complaints
from ingress.decoding.undecoded import DecodedEvents
from ingress.reporting import Tally
from ingress.service import EventLogging, Logged
from shared.errors import EventLoggingError, UncheckedCallerError
from shared.gen.events.v1.event_logging_connect import EventLoggingService
from shared.gen.events.v1.event_logging_pb import (
    LogEventError,
    LogEventOutcome,
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
    Warning,  # noqa: A004 - the message's name
)


class EventLoggingHandler(EventLoggingService):
    """events.v1.EventLoggingService. Raises EventLoggingErrors, which ErrorInterceptor turns into Connect errors."""

    def __init__(self, service: EventLogging, tally: Tally, complaints: Complaints) -> None:
        self._service = service
        self._tally = tally
        self._complaints = complaints

    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del ctx  # the interceptors have put what is needed of it into the current call
        call = current_call()
        event = _with_scope(request, call)
        if isinstance(event, EventLoggingError):
            raise event
        await call.slices.next_piece()
        logged = await self._service.log(event, call.caller, request_id=call.request_id)
        call.log_fields |= {"event_id": logged.event_id, "duplicate": logged.duplicate}
        self._complaints.answered(call, logged)
        return _response(logged)

    async def log_events(
        self, request: LogEventsRequest | DecodedEvents, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        """`request` is always the DecodedEvents that DecodingInterceptor passes on; its list is emptied."""
        del ctx
        call = current_call()
        events = cast("DecodedEvents", request).events
        for index, event in enumerate(events):
            events[index] = _with_scope(event, call)
        outcomes = await self._service.log_many(events, call.caller, call.slices, request_id=call.request_id)
        refused = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, EventLoggingError))
        call.log_fields |= {"events": len(outcomes), "refused": dict(refused)}
        if refused:
            errors = (outcome for outcome in outcomes if isinstance(outcome, EventLoggingError))
            self._tally.answered(error_codes.answer_for(error).code for error in errors)
        converted = []
        for index, outcome in enumerate(outcomes):
            await call.slices.next_piece()
            self._complaints.answered(call, outcome, index)
            converted.append(_outcome(outcome, call.request_id, f"events[{index}]"))
        return LogEventsResponse(outcomes=converted)


def _with_scope(event: LogEventRequest | EventLoggingError, call: CallContext) -> LogEventRequest | EventLoggingError:
    """The event, or UncheckedCallerError if it has a key and the caller's identity, which scopes keys, is unchecked.

    Under another identity a retry would be a second event.
    """
    if call.is_caller_unchecked and isinstance(event, LogEventRequest) and event.idempotency_key.strip():
        return UncheckedCallerError()
    return event


def _response(logged: Logged) -> LogEventResponse:
    return LogEventResponse(
        event_id=logged.event_id,
        duplicate=logged.duplicate,
        warnings=[
            Warning(field=warning.field, reason=warning.reason, description=warning.description)
            for warning in logged.warnings
        ],
    )


def _outcome(outcome: Logged | EventLoggingError, request_id: str, event: str) -> LogEventOutcome:
    if isinstance(outcome, Logged):
        logged: Oneof[Literal["logged"], LogEventResponse] = Oneof(field="logged", value=_response(outcome))
        return LogEventOutcome(outcome=logged)
    refusal = LogEventError(
        code=error_codes.answer_for(outcome).code.value,
        message=error_codes.message_for(outcome, request_id, event=event),
        bad_request=error_codes.bad_request_for(outcome),
        retry_info=error_codes.retry_info_for(outcome),
    )
    error: Oneof[Literal["error"], LogEventError] = Oneof(field="error", value=refusal)
    return LogEventOutcome(outcome=error)
